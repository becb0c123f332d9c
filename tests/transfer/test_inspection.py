"""What the inspection reports, on the shipped sample and on stores with every defect."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local.sample import extract, generate, load_sql
from shared.transfer.inspect.inspection import inspect
from shared.transfer.pgvector.top_k import search
from shared.transfer.rows.copy_binary import VectorColumn
from tests.transfer.conftest import StoredStore, Target


def codes(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["code"]: one for one in found["problems"]}


def test_reports_the_shipped_sample_without_a_problem(tmp_path: Path) -> None:
    sample = extract(tmp_path / "sample")
    expected = json.loads(sample.expected.read_text())["chroma"]["collections"]
    found = inspect(sample.data, tmp_path / "scratch")
    assert {one["name"]: (one["rows"], one["dimension"]) for one in found["chroma"]["collections"]} == {
        name: (one["count"], one["dim"]) for name, one in expected.items()
    }
    assert found["chroma"]["rows"] == sum(one["count"] for one in expected.values())
    assert found["files"]["uploads"]["files"] == 24
    assert found["files"]["embedding_models"] == ["all-MiniLM-L6-v2"]
    assert not [one for one in found["problems"] if one["severity"] != "note"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_shipped_sample_answers_as_open_webui_did(target_384: Target, tmp_path: Path) -> None:
    sample = extract(tmp_path / "sample")
    expected = json.loads(sample.expected.read_text())
    target_384.copy(sample.data / "vector_db")
    assert target_384.verify(sample.data / "vector_db", full=True)["rows"] == 2619
    rows = target_384.rows()
    for query in (one for one in expected["queries"].values() if one["ids"]):
        for one, text, metadata in zip(query["ids"], query["documents"], query["metadatas"], strict=True):
            assert rows[one][1:] == (text, metadata)


@pytest.fixture
def target_384(make_target: Callable[..., Target]) -> Target:
    """Return a database with vector(1536), as Open WebUI makes it by default."""
    return make_target(1536)


def test_every_stored_vector_finds_itself_first(target_384: Target, tmp_path: Path) -> None:
    sample = extract(tmp_path / "sample")
    target_384.copy(sample.data / "vector_db")
    with target_384.connect() as connection:
        some = connection.execute(
            "select id, collection_name, vector::text from document_chunk order by md5(id) limit 20"
        ).fetchall()

        for one, collection, text in some:
            vector = np.array(json.loads(text), np.float32)
            found = search(connection, collection, vector, VectorColumn(1536), exact=True, k=3)
            assert one in {name for name, distance in found if distance <= found[0][1] + 1e-6}


def test_names_every_defect(tmp_path: Path) -> None:
    defects = ["duplicate-ids", "nul-text", "other-dimension", "zero-vector", "throw-away", "huge-text", "deleted"]
    store = generate(tmp_path / "made", chunks=120, dimension=8, defects=[*defects, "empty-collection"])
    found = codes(inspect(store.data, tmp_path / "scratch"))
    assert found["duplicate_id"]["severity"] == found["vector_too_long"]["severity"] == "blocking"
    assert found["duplicate_id"]["count"] == len(found["duplicate_id"]["ids"]) == 3
    assert found["duplicate_id"]["message"].count(" and ") == 3
    assert "3072" in found["vector_too_long"]["message"]
    assert found["nul"]["policy"] == "clean"
    assert found["zero_vector"]["policy"] == found["oversize_text"]["policy"] == "keep_out"
    assert (found["zero_vector"]["count"], found["nul"]["count"]) == (1, 3)
    assert found["web_search"]["count"] == 1
    assert found["mixed_dimension"]["severity"] == "note"


def test_a_wider_column_takes_longer_embeddings(tmp_path: Path) -> None:
    store = generate(tmp_path / "made", chunks=30, dimension=8, defects=["other-dimension"])
    assert "vector_too_long" not in codes(inspect(store.data, tmp_path / "scratch", column_dimension=3072))


@pytest.mark.parametrize("content", [None, b"not a database at all", b""])
def test_something_else_than_a_store_is_a_problem_not_a_crash(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "data" / "vector_db").mkdir(parents=True)
    if content is not None:
        (tmp_path / "data" / "vector_db" / "chroma.sqlite3").write_bytes(content)
    found = inspect(tmp_path / "data", tmp_path / "scratch")
    assert codes(found)["not_a_chroma_store"]["severity"] == "blocking"
    assert found["chroma"]["rows"] == 0


def test_looks_at_the_database_too(
    target: Target, stored: Callable[[str], StoredStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", target.url)
    monkeypatch.delenv("PGVECTOR_DB_URL", raising=False)
    store = stored("1.5.9").path
    with target.connect() as connection:
        connection.execute("create table file (id text)")
        connection.execute("create table knowledge (id text)")
        connection.execute("insert into knowledge values ('flushed'), ('euclid')")
        connection.execute("insert into document_chunk (id, collection_name) values ('x', 'y')")
    found = inspect(store.parent, tmp_path / "scratch", database=True)
    state = found["database"]["document_chunk"]
    assert (state["rows"], state["dimension"], state["type"]) == (1, 16, "vector")
    assert state["indexes"] == ["document_chunk_pkey"]
    assert found["database"]["orphans"] == ["emptied", "file-small", "inner"]
    assert codes(found)["orphan"]["severity"] == "note"
    assert codes(found)["rows_before"]["severity"] == "warning"
    with target.superuser() as connection:
        connection.execute("alter table document_chunk owner to current_user")
        connection.execute("grant all on document_chunk to public")
    assert codes(inspect(store.parent, tmp_path / "scratch", database=True))["not_owner"]["severity"] == "blocking"


def test_the_sample_has_no_orphans(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = extract(tmp_path / "sample")
    load_sql(sample.app_sql, database.app_url)
    monkeypatch.setenv("DATABASE_URL", database.app_url)
    monkeypatch.delenv("PGVECTOR_DB_URL", raising=False)
    found = inspect(sample.data, tmp_path / "scratch", database=True)
    assert found["database"] == {"document_chunk": None, "orphans": []}
