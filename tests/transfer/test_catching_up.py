"""Catching up with a live store, and finishing after the stop: what is carried, what is looked at, what is refused."""

import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings

from shared.transfer.errors import PermanentError, TransientError, VerificationFailed
from shared.transfer.steps.catch_up import FEW_ROWS, MOST_ROUNDS, Round, catch_up, is_last
from shared.transfer.steps.finish import finish, verify_copy
from tests.transfer.conftest import RUN, Target
from tests.transfer.test_copy import change, client_of, fill, make_store

WRITER = """
import random, sys, time, chromadb, numpy as np
from chromadb.config import Settings
client = chromadb.PersistentClient(path=sys.argv[1], settings=Settings(anonymized_telemetry=False))
chance, numbers = random.Random(7), np.random.default_rng(7)
busy = [
    client.get_or_create_collection(
        name,
        metadata={"hnsw:space": "cosine", "hnsw:sync_threshold": 60, "hnsw:batch_size": 30},
        embedding_function=None,
    )
    for name in ("file-busy", "file-calm")
]
alive = [[], []]
print("ready", flush=True)
for number in range(10**6):
    which = 0 if chance.random() < 0.9 else 1
    collection, ids = busy[which], alive[which]
    known = chance.sample(ids, min(4, len(ids)))
    vectors = numbers.normal(size=(4, 8)).tolist()
    kind = chance.choice(["add", "add", "update", "retext", "upsert", "delete"]) if len(ids) > 20 else "add"
    if kind == "add":
        fresh = [f"{which}-{number}-{n}" for n in range(4)]
        collection.add(ids=fresh, embeddings=vectors, documents=fresh)
        ids += fresh
    elif kind == "update":
        collection.update(ids=known, embeddings=vectors, documents=[f"updated {number}"] * 4)
    elif kind == "retext":
        collection.update(ids=known, metadatas=[{"number": number}] * 4)
    elif kind == "upsert":
        collection.upsert(ids=known, embeddings=vectors, documents=[f"upserted {number}"] * 4)
    else:
        collection.delete(ids=known)
        alive[which] = [one for one in ids if one not in known]
    time.sleep(chance.choice([0, 0, 0.02, 0.3]))
    if not sys.stdin.readable() or (number % 5 == 0 and __import__("select").select([sys.stdin], [], [], 0)[0]):
        break
print("ended", flush=True)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a DATA_DIR with one uploaded file."""
    folder = tmp_path / "data"
    (folder / "uploads").mkdir(parents=True)
    (folder / "uploads" / "a.txt").write_text("a")
    return folder


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """Return an empty share."""
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


def bulk(target: Target, data: Path, share: Path) -> tuple[str, Path, Path, Path]:
    """Do the bulk pass; return where everything is."""
    target.copy(data / "vector_db")
    verify_copy(target.url, data / "vector_db", target.scratch, run=RUN)
    return target.url, data, share, target.scratch


def everything(path: Path) -> dict[str, tuple[str, Any, Any]]:
    """Return id → (collection, text, metadata), as chromadb reads it."""
    client = chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))
    found = {}
    for collection in client.list_collections():
        got = collection.get()
        found |= {
            one: (collection.name, text, metadata)
            for one, text, metadata in zip(got["ids"], got["documents"], got["metadatas"], strict=True)
        }
    return found


def test_follows_a_store_that_is_being_written_and_ends_equal(target: Target, data: Path, share: Path) -> None:
    make_store(data / "vector_db", names=("file-a",))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(data / "vector_db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout and writer.stdin and writer.stdout.readline()
        time.sleep(1)
        where = bulk(target, data, share)
        time.sleep(1)
        caught_up = catch_up(*where, run=RUN)
        writer.stdin.write("stop\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "ended\n"
    finally:
        writer.kill()
        writer.communicate()
    assert 1 <= len(caught_up["rounds"]) <= MOST_ROUNDS
    assert caught_up["vectors"]["written"] == sum(one["written"] for one in caught_up["rounds"])
    finished = finish(*where, run=RUN)
    assert finished["verification"]["equal"]
    shutil.copytree(data / "vector_db", data / "aside")
    assert target.rows() == everything(data / "aside")
    target.fresh_scratch()
    assert target.verify(data / "vector_db", full=True)["equal"]


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        ([5000], False),
        ([FEW_ROWS], False),
        ([FEW_ROWS - 1], True),
        ([0], True),
        ([5000, 400], False),
        ([5000, 5000], True),
        ([500, 5000], True),
        ([5000, 400, 300, 200], True),
    ],
)
def test_rounds_end_when_little_is_left_or_it_no_longer_gets_less(rows: list[int], last: bool) -> None:
    assert is_last([Round(one, 0, 1, True, 0.1) for one in rows]) is last


def test_a_quiet_store_needs_no_copy_to_catch_up(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db", names=("file-a", "file-b", "file-gone", "file-again"))
    where = bulk(target, data, share)
    target.fresh_scratch()
    change(path)
    caught_up = catch_up(*where, run=RUN)
    assert all(one["in_place"] for one in caught_up["rounds"])
    assert not list(target.scratch.iterdir())
    finished = finish(*where, run=RUN)
    assert (finished["vectors"]["written"], finished["vectors"]["deleted"]) == (0, 0)
    assert target.rows() == everything(path)


def test_what_no_moment_allows_to_read_in_place_is_read_from_a_copy(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    fill(client_of(path).get_collection("file-a", embedding_function=None), ["late"])
    (path / "chroma.sqlite3-journal").write_bytes(b"\0" * 512)  # as of a transaction that was cut off
    caught_up = catch_up(*where, run=RUN)
    assert [one["in_place"] for one in caught_up["rounds"]] == [False]
    assert "late" in target.rows()
    assert finish(*where, run=RUN)["verification"]["equal"]


def test_after_the_stop_unchanged_collections_are_not_looked_at(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db", rows=1100, names=("file-a", "file-b"))
    where = bulk(target, data, share)
    fill(client_of(path).get_collection("file-a", embedding_function=None), ["late"])
    with sqlite3.connect(path / "chroma.sqlite3") as db:  # whoever looks at file-b's rows or files now, fails
        db.execute("delete from embeddings where embedding_id like 'file-b%'")
        (folder,) = db.execute(
            "select s.id from segments s join collections c on c.id = s.collection"
            " where s.scope = 'VECTOR' and c.name = 'file-b'"
        ).fetchone()
    db.close()
    shutil.rmtree(path / folder)
    finished = finish(*where, run=RUN)
    assert (finished["vectors"]["written"], finished["vectors"]["collections_unchanged"]) == (1, 1)
    assert (finished["verification"]["rows"], finished["verification"]["collections_compared"]) == (2201, 1)


def test_nothing_is_committed_that_was_read_from_a_store_in_motion(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    before = target.rows()
    change_one = client_of(path).get_collection("file-a", embedding_function=None)
    fill(change_one, ["late"])

    def write_meanwhile(step: str, done: int, total: int, unit: str) -> None:
        if step == "copy changes":
            (path / "chroma.sqlite3").touch()

    with pytest.raises(TransientError, match="was written while"):
        finish(*where, run=RUN, progress=write_meanwhile)
    assert target.rows() == before
    assert finish(*where, run=RUN)["vectors"]["written"] == 1


def test_an_id_that_moved_to_another_collection_moves(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    client = client_of(path)
    client.get_collection("file-b", embedding_function=None).delete(ids=["file-b-7"])
    fill(client.get_collection("file-a", embedding_function=None), ["file-b-7"])
    assert finish(*where, run=RUN)["verification"]["equal"]
    assert target.rows()["file-b-7"][0] == "file-a"


def test_an_id_that_two_collections_have_now_is_named(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    fill(client_of(path).create_collection("file-c", embedding_function=None), ["file-b-7"])
    with pytest.raises(PermanentError, match="file-b-7 in file-b and file-c"):
        finish(*where, run=RUN)
    assert target.rows()["file-b-7"][0] == "file-b"


def test_a_renamed_collection_is_carried_under_its_new_name(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    client_of(path).get_collection("file-b", embedding_function=None).modify(name="file-renamed")
    assert finish(*where, run=RUN)["verification"]["equal"]
    assert target.rows() == everything(path)
    assert finish(*where, run=RUN)["vectors"]["collections_changed"] == 0


def test_rows_that_only_grew_are_not_compared_by_id(target: Target, data: Path, share: Path) -> None:
    """The files were written and the log purged, so the rows have to tell what is new."""
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    collection = client_of(path).get_collection("file-a", embedding_function=None)
    fill(collection, [f"more-{n}" for n in range(1200)])
    collection.update(ids=["file-a-3"], embeddings=[[5.0] * 8], documents=["another"])
    finished = finish(*where, run=RUN)
    assert (finished["vectors"]["written"], finished["vectors"]["collections_compared"]) == (1201, 0)
    collection.delete(ids=["file-a-4"])
    fill(collection, [f"yet-more-{n}" for n in range(1200)])
    finished = finish(*where, run=RUN)
    assert (finished["vectors"]["deleted"], finished["vectors"]["collections_compared"]) == (1, 1)
    assert target.rows() == everything(path)


def test_chromadb_is_asked_about_the_store_as_it_is_now(target: Target, data: Path, share: Path) -> None:
    """A copy that chromadb opened for the bulk pass must not answer for the store after it."""
    path = make_store(data / "vector_db", names=("file-a",))

    def spoil() -> None:  # as after a crash between the log and the texts
        with sqlite3.connect(path / "chroma.sqlite3") as db:
            db.execute(
                "update max_seq_id set seq_id = 1"
                " where segment_id in (select id from segments where scope = 'METADATA')"
            )
        db.close()

    aside = path.with_name("whole")
    shutil.copytree(path, aside)
    spoil()
    where = bulk(target, data, share)
    assert len(target.rows()) == 60
    shutil.rmtree(path)
    fill(client_of(aside).get_collection("file-a", embedding_function=None), ["late"])
    aside.rename(path)
    spoil()
    assert "chromadb" in target.copy_delta(path)["reader"]
    assert "late" in target.rows()
    assert where


def test_an_old_vector_is_found_though_only_the_newest_log_was_looked_at(
    make_target: Any, data: Path, share: Path
) -> None:
    """With half precision the target's vectors are rounded, so they are read from the store again: also one that is
    neither in the newest records nor as the files have it."""
    target = make_target(16, half=True)
    path = make_store(data / "vector_db", rows=1100, names=("file-a",))
    collection = client_of(path).get_collection("file-a", embedding_function=None)
    collection.update(ids=["file-a-1", "file-a-1099"], embeddings=[[5.0] * 8, [6.0] * 8], documents=["x", "y"])
    where = bulk(target, data, share)
    collection.update(ids=["file-a-1", "file-a-1099", "file-a-7"], metadatas=[{"later": 1}] * 3)
    finished = finish(*where, run=RUN)
    assert (finished["vectors"]["written"], finished["vectors"]["whole_log_read"]) == (3, False)
    target.fresh_scratch()
    assert target.verify(path, full=True)["rows"] == 1100


def test_a_row_that_the_log_does_not_tell_of_is_missed_by_the_count(target: Target, data: Path, share: Path) -> None:
    path = make_store(data / "vector_db")
    where = bulk(target, data, share)
    fill(client_of(path).get_collection("file-a", embedding_function=None), ["late"])
    with sqlite3.connect(path / "chroma.sqlite3") as db:
        db.execute(
            "insert into embeddings (segment_id, embedding_id, seq_id)"
            " select segment_id, 'ghost', seq_id from embeddings where embedding_id = 'file-a-3'"
        )
    db.close()
    with pytest.raises(VerificationFailed, match="file-a: 62 rows in the store, 61 copied"):
        finish(*where, run=RUN)
