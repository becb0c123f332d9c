"""The Open WebUI stand-in as a process: its checks at start, its connections, its answers."""

import asyncio
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from local.open_webui.pools import connect
from local.open_webui.settings import Pool, StartError, in_the_container, on_this_machine, read_pool, read_settings
from local.open_webui.startup import prepare_document_chunk
from local.sample import SamplePaths, extract, load_sql
from tests.fix_postgres import Database
from tests.local_kubelet.fix_open_webui import copy_of_sample, environment, replica, start_failure

PGVECTOR = {
    "VECTOR_DB": "pgvector",
    "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": "384",
    "PGVECTOR_CREATE_EXTENSION": "false",
}
SMALL = {"DATABASE_POOL_SIZE": "1", "DATABASE_POOL_MAX_OVERFLOW": "2", "PGVECTOR_POOL_SIZE": "1"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    return extract(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def app(database: Database, sample: SamplePaths) -> str:
    """Return the URL of a migrated database with the vector extension, as phase 1 leaves it."""
    load_sql(sample.app_sql, database.app_url)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("create extension vector")
    return database.app_url


def connections(url: str) -> int:
    statement = """select count(*) from pg_stat_activity
                   where application_name = 'open-webui' and datname = current_database()"""
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def test_it_serves_files_and_answers_from_chroma_as_it_lies(app: str, sample: SamplePaths, tmp_path: Path) -> None:
    data = copy_of_sample(sample.data, tmp_path / "data")
    began = time.monotonic()
    with replica(app, data, **SMALL) as server:
        assert time.monotonic() - began < 5, "it starts in about a second"
        status, headers, _ = server.ask("/ready")
        assert (status, headers["x-pod"], headers["x-store"]) == (200, "open-webui-1", "chroma")
        files = server.json("/api/v1/files/")
        assert len(files) == 24
        for file in files[:3]:
            on_disk = data / "uploads" / Path(file["path"]).name
            assert server.ask(f"/api/v1/files/{file['id']}/content")[2] == on_disk.read_bytes()
        known = {"collection_name": "knowledge-bases", "query": "id:94020b47-ac56-4ff6-8a16-59c4814726f8", "k": 2}
        found = server.json("/api/v1/retrieval/query/doc", known)
        assert found["ids"][0][0] == "94020b47-ac56-4ff6-8a16-59c4814726f8"
        assert found["distances"][0][0] == pytest.approx(1.0, abs=1e-5)
        assert "ERROR" not in server.log.read_text()
        assert '"GET /ready HTTP/1.1" 200 OK' in server.log.read_text()


def test_an_upload_is_found_again_and_gone_when_deleted(app: str, tmp_path: Path) -> None:
    with replica(app, tmp_path, **PGVECTOR, **SMALL) as server:
        text = b"Quarterly report: the penguins march on Tuesday."
        file = server.upload("report \xe9.txt", text)
        assert file["path"] == f"/app/backend/data/uploads/{file['id']}_report é.txt"
        assert server.ask(f"/api/v1/files/{file['id']}/content")[2] == text
        query = {"collection_name": f"file-{file['id']}", "query": "penguins march", "k": 1}
        status, headers, _ = server.ask("/api/v1/retrieval/query/doc", query)
        assert (status, headers["x-store"]) == (200, "pgvector")
        found = server.json("/api/v1/retrieval/query/doc", query)
        assert found["documents"] == [[text.decode()]]
        assert 0.5 < found["distances"][0][0] < 1
        assert found["metadatas"][0][0]["file_id"] == file["id"]
        assert server.ask(f"/api/v1/files/{file['id']}", method="DELETE")[0] == 200
        assert server.ask(f"/api/v1/files/{file['id']}/content")[0] == 404
        assert server.json("/api/v1/retrieval/query/doc", query)["ids"] == [[]]


def test_the_same_upload_scores_the_same_in_both_stores(app: str, tmp_path: Path) -> None:
    found = []
    for name, store in (("c", {"VECTOR_DB": "chroma"}), ("p", PGVECTOR)):
        (tmp_path / name).mkdir()
        with replica(app, tmp_path / name, **store, **SMALL) as server:
            file = server.upload("a.txt", b"alpha beta gamma " * 200)
            query = {"collection_name": f"file-{file['id']}", "query": "beta delta", "k": 3}
            found.append(server.json("/api/v1/retrieval/query/doc", query))
    chroma, pgvector = found
    assert sorted(chroma["documents"][0]) == sorted(pgvector["documents"][0])
    assert chroma["distances"][0] == pytest.approx(pgvector["distances"][0], abs=1e-6)


def test_it_holds_as_many_connections_as_its_pools_say(app: str, tmp_path: Path) -> None:
    sizes = {"DATABASE_POOL_SIZE": "2", "DATABASE_POOL_MAX_OVERFLOW": "3", "PGVECTOR_POOL_SIZE": "1"}
    with replica(app, tmp_path, **PGVECTOR, **sizes, PGVECTOR_POOL_MAX_OVERFLOW="2") as server:
        assert connections(app) == 2 + 2 + 1
        file = server.upload("a.txt", b"words " * 50)
        query = {"collection_name": f"file-{file['id']}", "query": "words", "k": 1}
        with psycopg.connect(app) as blocker, ThreadPoolExecutor(20) as crowd:
            blocker.execute("lock table document_chunk in access exclusive mode")
            answers = [crowd.submit(server.ask, "/api/v1/retrieval/query/doc", query) for _ in range(20)]
            most, deadline = 0, time.monotonic() + 5
            while most < 2 + (2 + 3) + (1 + 2) and time.monotonic() < deadline:
                most = max(most, connections(app))
            blocker.rollback()
            assert {answer.result()[0] for answer in answers} == {200}
        assert most == 2 + (2 + 3) + (1 + 2), "the sync engine's overflow has no use here"
        deadline = time.monotonic() + 10
        while connections(app) > 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert connections(app) == 5, "the overflow is given back"


def test_it_can_be_made_to_leak_and_to_sit_in_a_transaction(app: str, tmp_path: Path) -> None:
    asked = {"STANDIN_LEAK_CONNECTIONS": "2", "STANDIN_IDLE_IN_TRANSACTION": "1"}
    with replica(app, tmp_path, **SMALL, **asked):
        assert connections(app) == 2 + 3
        with psycopg.connect(app) as connection:
            row = connection.execute(
                """select count(*) from pg_stat_activity
                   where state = 'idle in transaction' and datname = current_database()"""
            ).fetchone()
        assert row == (1,)


def test_it_does_not_start_on_a_database_that_does_not_fit(app: str, tmp_path: Path) -> None:
    with psycopg.connect(app) as connection:
        connection.execute("drop table chat cascade")
    said = start_failure(app, tmp_path, ENABLE_DB_MIGRATIONS="false")
    assert 'relation "chat" does not exist' in said
    assert "ERROR" in said


TABLE = "create table document_chunk (id text primary key, vector vector(384), collection_name text, text text)"
HNSW = "create index idx_document_chunk_vector on document_chunk using hnsw (vector vector_cosine_ops)"


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("create table document_chunk (id text, vector vector(1536))", "does not match existing vector column"),
        ("create table document_chunk (id text, vector text)", "column type does not match the expected type"),
        ("create table document_chunk (id text)", "'vector' column does not exist"),
        (f"{TABLE}; {HNSW}", "uses method 'hnsw' but configuration now requires 'ivfflat'"),
        (f"reset role; {TABLE}; grant all on document_chunk to public", "must be owner of table document_chunk"),
    ],
)
def test_a_vector_table_that_does_not_fit_is_refused(database: Database, before: str, said: str) -> None:
    settings = read_settings({"DATABASE_URL": database.app_url, **PGVECTOR})

    async def prepare() -> None:
        async with await connect(database.app_url, autocommit=True) as connection:
            await prepare_document_chunk(connection, settings)

    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute(f"create extension vector; set role openwebui; {before}")
    with pytest.raises(StartError, match=re.escape(said)):
        asyncio.run(prepare())


def test_it_does_not_take_anything_for_a_chroma_store(app: str, tmp_path: Path) -> None:
    (tmp_path / "vector_db").mkdir()
    (tmp_path / "vector_db" / "chroma.sqlite3").write_bytes(b"not a database, but long enough to look at" * 100)
    assert "is not a Chroma store" in start_failure(app, tmp_path)


def test_one_process_migrates_a_fresh_database_and_two_at_once_do_not(database: Database, tmp_path: Path) -> None:
    """Open WebUI takes no lock: 2 of 3 replicas crashed on a fresh database, and all start on a migrated one."""
    variables = [environment(database.app_url, tmp_path, **SMALL) for _ in range(2)]
    command = [sys.executable, "-m", "local.open_webui"]
    with psycopg.connect(database.app_url) as holder:
        holder.execute("create table chat (id text)")  # not committed: whoever gets that far first waits here
        both = [subprocess.Popen(command, env=each, stdout=subprocess.PIPE, text=True) for each in variables]
        try:
            deadline = time.monotonic() + 30
            while all(each.poll() is None for each in both) and time.monotonic() < deadline:
                time.sleep(0.05)
            holder.rollback()
            crashed = [each for each in both if each.poll() is not None]
            assert len(crashed) == 1
            for each, said in (
                (crashed[0], "already exists"),
                (next(x for x in both if x not in crashed), "serves from"),
            ):
                assert each.stdout is not None
                assert said in each.stdout.readline()
        finally:
            for each in both:
                each.terminate()
                each.wait(10)
    with replica(database.app_url, tmp_path, **SMALL), replica(database.app_url, tmp_path, **SMALL):
        pass


def test_it_is_not_ready_without_database_redis_or_files(app: str, database: Database, tmp_path: Path) -> None:
    asked = {"STANDIN_UNREADY_FILE": str(tmp_path / "unready"), "REDIS_URL": "redis://127.0.0.1:1/0"}
    with replica(app, tmp_path, **SMALL, **asked) as server:
        assert server.ask("/ready")[::2] == (503, b'{"detail": "Redis not ready"}')
        (tmp_path / "unready").touch()
        assert server.ask("/ready")[::2] == (503, b'{"detail": "Asked not to be ready"}')
        assert server.ask("/health")[0] == 200
    with replica(app, tmp_path, **SMALL) as server:
        assert server.ask("/ready")[0] == 200
        (tmp_path / "uploads").rename(tmp_path / "moved")
        with psycopg.connect(database.superuser_url.replace(database.name, "postgres"), autocommit=True) as connection:
            connection.execute(f"alter database {database.name} allow_connections false")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (database.name,)
            )
            assert server.ask("/ready")[::2] == (503, b'{"detail": "Database not ready"}')
            assert server.ask("/api/v1/files/")[0] == 500
            assert server.ask("/health")[0] == 200
            connection.execute(f"alter database {database.name} allow_connections true")
        deadline = time.monotonic() + 20
        while server.ask("/ready")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert server.ask("/ready")[0] == 200


def test_replicas_without_one_key_refuse_each_others_tokens(app: str, tmp_path: Path) -> None:
    def token_of(server: object) -> str:
        return str(server.json("/api/v1/auths/signin", {"email": "admin@example.com", "password": "x"})["token"])

    with (
        replica(app, tmp_path, **SMALL, WEBUI_SECRET_KEY="one") as first,
        replica(app, tmp_path, **SMALL, WEBUI_SECRET_KEY="one") as second,
        replica(app, tmp_path, **SMALL) as other,
    ):
        token = {"Authorization": f"Bearer {token_of(first)}"}
        assert second.ask("/api/v1/files/", **token)[0] == 200
        assert other.ask("/api/v1/files/", **token)[0] == 401
        assert other.ask("/api/v1/files/", Authorization="Bearer anything else")[0] == 200


@pytest.mark.parametrize(
    ("given", "pool"),
    [
        ({}, Pool(5, 10)),
        ({"DATABASE_POOL_MAX_OVERFLOW": "3"}, Pool(5, 10)),
        ({"DATABASE_POOL_SIZE": "4"}, Pool(4, 0)),
        ({"DATABASE_POOL_SIZE": "4", "DATABASE_POOL_MAX_OVERFLOW": "2"}, Pool(4, 2)),
        ({"DATABASE_POOL_SIZE": "0", "DATABASE_POOL_MAX_OVERFLOW": "2"}, Pool(0, 0)),
        ({"DATABASE_POOL_SIZE": "many"}, Pool(5, 10)),
    ],
)
def test_pool_settings_mean_what_they_mean_to_open_webui(given: dict[str, str], pool: Pool) -> None:
    assert read_pool(given, "DATABASE", 1) == pool
    assert read_pool(given, "DATABASE", 2) == Pool(pool.size * 2, pool.overflow * 2)


def test_every_problem_of_the_settings_is_told_at_once() -> None:
    with pytest.raises(StartError) as error:
        read_settings({"VECTOR_DB": "milvus", "PORT": "web", "PGVECTOR_INDEX_METHOD": "flat"})
    for name in ("DATABASE_URL", "VECTOR_DB", "PORT", "PGVECTOR_INDEX_METHOD"):
        assert name in str(error.value)


def test_file_paths_are_translated_both_ways() -> None:
    mounts = {"/app/backend/data": "/k/v", "/app/backend/data/cache": "/k/c"}
    for path, directory in (("/app/backend/data/uploads/x", "/k/v/uploads/x"), ("/app/backend/data/cache/y", "/k/c/y")):
        assert on_this_machine(path, mounts) == Path(directory)
        assert in_the_container(Path(directory), mounts) == path
    assert on_this_machine("/elsewhere/x", mounts) == Path("/elsewhere/x")
