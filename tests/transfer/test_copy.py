"""The bulk pass, the delta and the verification, end to end on a real PostgreSQL."""

import base64
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from shared.transfer.chroma.selection import Selection
from shared.transfer.errors import ConfigurationError, PermanentError, TransientError, VerificationFailed
from shared.transfer.load import removal
from tests.transfer.conftest import RUN, VERSIONS, StoredStore, Target

WEB_SEARCH = Selection(web_search=True)


def client_of(path: Path) -> Any:
    return chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))


def make_store(path: Path, rows: int = 60, dimension: int = 8, names: tuple[str, ...] = ("file-a", "file-b")) -> Path:
    """Make a store as Open WebUI does, one collection a file."""
    client = client_of(path)
    for name in names:
        collection = client.create_collection(name, metadata={"hnsw:space": "cosine"}, embedding_function=None)
        fill(collection, [f"{name}-{n}" for n in range(rows)], dimension)
    return path


def fill(collection: Any, ids: list[str], dimension: int = 8) -> None:
    numbers = np.random.default_rng(len(ids))
    for at in range(0, len(ids), 500):
        some = ids[at : at + 500]
        collection.add(
            ids=some,
            embeddings=numbers.normal(size=(len(some), dimension)).tolist(),
            documents=[f"text of {one}" for one in some],
            metadatas=[{"name": one, "n": n} for n, one in enumerate(some)],
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_copies_every_row_of_every_version(stored: Callable[[str], StoredStore], target: Target, version: str) -> None:
    store = stored(version)
    result = target.copy(store.path, selection=WEB_SEARCH, workers=2)
    assert result["reader"] == "files"
    truth = {one: (name, row) for name, rows in store.truth.items() for one, row in rows.items()}
    with target.connect() as connection:
        found = connection.execute(
            "select id, collection_name, vector::text, text, vmetadata from document_chunk"
        ).fetchall()
    assert len(found) == len(truth) == result["rows"]
    for one, collection, vector, text, metadata in found:
        name, (raw, document, meta) = truth[one]
        assert (collection, text, metadata) == (name, document, meta)
        wanted = np.frombuffer(base64.b64decode(raw), "<f4")
        stored_vector = np.array(json.loads(vector), np.float32)
        assert np.allclose(stored_vector[: len(wanted)], wanted, rtol=1e-6, atol=1e-6)
        assert not stored_vector[len(wanted) :].any()
    assert target.verify(store.path, full=True, selection=WEB_SEARCH)["rows"] == len(truth)


def test_leaves_web_searches_out_by_default(stored: Callable[[str], StoredStore], target: Target) -> None:
    store = stored("1.5.9")
    assert target.copy(store.path)["left_out_collections"] == 1
    assert not [one for one in target.rows() if one.startswith("web-search")]
    assert target.verify(store.path)["equal"]


def test_half_precision_is_verified_as_stored(
    stored: Callable[[str], StoredStore], make_target: Callable[..., Target]
) -> None:
    target = make_target(16, half=True)
    store = stored("1.5.9")
    target.copy(store.path)
    assert target.verify(store.path, full=True)["equal"]


def test_a_second_run_copies_nothing(target: Target, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    assert target.copy(store)["copied_now"] == 120
    again = target.copy(store)
    assert (again["copied_now"], again["rows"]) == (0, 120)


def test_rows_that_were_there_before_stay_as_they_are(target: Target, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    with target.connect() as connection:
        connection.execute(
            "insert into document_chunk (id, collection_name, text, vector) values"
            " ('file-a-3', 'file-a', 'mine', array_fill(1, array[16])::real[]::vector),"
            " ('mine', 'file-a', 'mine too', array_fill(1, array[16])::real[]::vector)"
        )
    result = target.copy(store)
    assert result["findings"] == [{"collection": "file-a", "id": "file-a-3", "code": "already_there"}]
    assert result["rows"] == 119
    assert target.rows()["file-a-3"][1] == "mine"
    assert target.verify(store, full=True)["rows"] == 119
    client_of(store).get_collection("file-a", embedding_function=None).delete(ids=["file-a-3", "file-a-4"])
    target.copy_delta(store)
    assert target.rows()["file-a-3"][1] == "mine"
    removal.remove_vectors(target.url, run=RUN)
    assert set(target.rows()) == {"file-a-3", "mine"}


def test_rows_that_postgresql_would_refuse_are_cleaned_or_kept_out_by_name(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "store"
    collection = client_of(path).create_collection("file-x", metadata={"hnsw:space": "l2"}, embedding_function=None)
    fill(collection, [f"good-{n}" for n in range(5)])
    collection.add(
        ids=["nul"], embeddings=[[1.0] * 8], documents=["be\0fore"], metadatas=[{"k": "v\0w", "s": "\\u0000"}]
    )
    collection.add(ids=["zero"], embeddings=[[0.0] * 8], documents=["zero"])
    collection.add(ids=["bare"], embeddings=[[2.0] * 8])
    words = " ".join(f"{random.Random(n).getrandbits(64):x}" for n in range(90_000))
    collection.add(ids=["huge"], embeddings=[[3.0] * 8], documents=[words])
    result = target.copy(path)
    assert {(one["id"], one["code"]) for one in result["findings"]} == {
        ("nul", "nul"),
        ("zero", "zero_vector"),
        ("bare", "missing_text"),
        ("huge", "oversize_text"),
    }
    rows = target.rows()
    assert rows["nul"][1:] == ("before", {"k": "vw", "s": "\\u0000"})
    assert rows["bare"][1:] == (None, None)
    assert not {"zero", "huge"} & rows.keys()
    assert target.verify(path, full=True)["rows"] == 7


def test_ids_in_two_collections_stop_it_before_it_starts(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    fill(client_of(path).get_collection("file-b", embedding_function=None), ["file-a-1", "file-a-2"])
    with pytest.raises(PermanentError, match=r"2 ids .* file-a-1 in file-a and file-b"):
        target.copy(path)
    assert not target.rows()


def test_embeddings_longer_than_the_column_stop_it(target: Target, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"longer than vector\(16\): file-a \(17\), file-b \(17\)"):
        target.copy(make_store(tmp_path / "store", dimension=17))


def test_a_table_of_someone_else_is_refused(target: Target, tmp_path: Path) -> None:
    with target.superuser() as connection:
        connection.execute("alter table document_chunk owner to current_user")
    with pytest.raises(ConfigurationError, match="must own it"):
        target.copy(make_store(tmp_path / "store"))


def test_asks_chromadb_for_what_it_does_not_understand(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", rows=1100, names=("file-a",))
    expected = set(client_of(path).get_collection("file-a", embedding_function=None).get(include=[])["ids"])
    with sqlite3.connect(path / "chroma.sqlite3") as db:  # as after a crash between the log and the texts
        db.execute(
            "delete from embedding_fulltext_search where rowid in (select id from embeddings order by id desc limit 40)"
        )
        db.execute("delete from embedding_metadata where id in (select id from embeddings order by id desc limit 40)")
        db.execute("delete from embeddings where id in (select id from embeddings order by id desc limit 40)")
        db.execute(
            "update max_seq_id set seq_id = (select max(cast(seq_id as integer)) from embeddings) where segment_id in"
            " (select id from segments where scope = 'METADATA')"
        )
    result = target.copy(path)
    assert result["reader"].startswith("chromadb, because texts and metadata are behind the log")
    assert set(target.rows()) == expected
    assert target.copy(path)["copied_now"] == 0


def change(path: Path, flushed: int = 0) -> None:
    """Do to a store everything that users can do to one; `flushed` rows make chromadb write its files and purge its
    log."""
    client = client_of(path)
    client.delete_collection("file-gone")
    client.delete_collection("file-again")
    fill(
        client.create_collection("file-again", metadata={"hnsw:space": "cosine"}, embedding_function=None),
        ["again-new"],
    )
    fill(client.create_collection("file-new", metadata={"hnsw:space": "cosine"}, embedding_function=None), ["n1", "n2"])
    for name in ("file-a", "file-b"):
        collection = client.get_collection(name, embedding_function=None)
        fill(collection, [f"{name}-more-{n}" for n in range(flushed + 3)])
        collection.update(ids=[f"{name}-1"], metadatas=[{"only": "metadata"}])
        collection.update(ids=[f"{name}-2"], embeddings=[[5.0] * 8], documents=["moved"])
        collection.upsert(ids=[f"{name}-3", f"{name}-up"], embeddings=[[6.0] * 8, [7.0] * 8], documents=["u", "v"])
        collection.delete(ids=[f"{name}-4", f"{name}-5"])
        collection.add(ids=[f"{name}-5"], embeddings=[[8.0] * 8], documents=["back"])
        collection.add(ids=[f"{name}-6"], embeddings=[[9.0] * 8], documents=["ignored, it exists"])
        collection.update(ids=["nobody"], embeddings=[[9.0] * 8], documents=["ignored, it does not"])
        collection.add(ids=[f"{name}-brief"], embeddings=[[9.0] * 8], documents=["gone at once"])
        collection.delete(ids=[f"{name}-brief"])


@pytest.mark.parametrize("flushed", [0, 1200], ids=["from the log", "after a purge"])
def test_the_delta_brings_exactly_what_changed(target: Target, tmp_path: Path, flushed: int) -> None:
    path = make_store(tmp_path / "store", names=("file-a", "file-b", "file-gone", "file-again", "file-same"))
    target.copy(path)
    change(path, flushed)
    result = target.copy_delta(path)
    assert result["collections_compared"] == (2 if flushed else 0)
    assert (result["collections_unchanged"], result["whole_log_read"]) == (1, False)
    delta_rows = target.rows()
    again = target.copy_delta(path)
    assert (again["written"], again["deleted"], again["collections_changed"]) == (0, 0, 0)
    assert target.verify(path, full=True)["equal"]
    fresh = {
        one: (name, text, metadata)
        for name in ("file-a", "file-b", "file-again", "file-new", "file-same")
        for one, text, metadata in _everything(path, name)
    }
    assert delta_rows == fresh
    assert removal.remove_vectors(target.url, run=RUN)["table_dropped"]


def _everything(path: Path, name: str) -> list[tuple[str, str, Any]]:
    got = client_of(path).get_collection(name, embedding_function=None).get()
    return list(zip(got["ids"], got["documents"], got["metadatas"], strict=True))


def test_the_delta_reads_all_of_the_log_when_its_mark_is_gone(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", names=("file-a", "file-b", "file-gone", "file-again"))
    target.copy(path)
    with target.connect() as connection:
        connection.execute("update scaleout.run set log_head = jsonb_set(log_head, '{id}', '\"other\"')")
    change(path)
    assert target.copy_delta(path)["whole_log_read"]
    assert target.verify(path, full=True)["equal"]


def test_a_delta_needs_a_bulk_pass(target: Target, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no bulk pass"):
        target.copy_delta(make_store(tmp_path / "store"))


def test_the_bulk_pass_goes_on_with_another_copy_of_a_changed_store(target: Target, tmp_path: Path) -> None:
    """The scratch directory of the first attempt is gone, the store has changed: the delta mends both."""
    path = make_store(tmp_path / "store", names=("file-a", "file-b", "file-gone", "file-again"))
    target.copy(path)
    with target.connect() as connection:
        gone = connection.execute(
            "delete from scaleout.batch where collection = (select id from scaleout.collection"
            " where name = 'file-b') returning ids"
        ).fetchone()
        assert gone
        connection.execute("delete from document_chunk where id = any(%s)", (gone[0],))
    change(path)
    target.fresh_scratch()
    target.copy(path)
    target.copy_delta(path)
    assert target.verify(path, full=True)["equal"]
    assert len(target.rows()) == sum(len(_everything(path, n)) for n in ("file-a", "file-b", "file-again", "file-new"))


@pytest.mark.parametrize(
    "damage",
    [
        "update document_chunk set text = text || '!' where id = 'file-a-7'",
        "update document_chunk set vmetadata = vmetadata || '{\"x\": 1}' where id = 'file-a-7'",
        "update document_chunk set collection_name = 'file-b' where id = 'file-a-7'",
        "update document_chunk set vector = array_fill(1, array[16])::real[]::vector where id = 'file-a-7'",
        "update document_chunk set vector = vector + (array_fill(0, array[15]) || 1)::real[]::vector"
        " where id = 'file-a-7'",
        "delete from document_chunk where id = 'file-a-7'",
    ],
)
def test_verification_names_and_mends_the_row_that_differs(target: Target, tmp_path: Path, damage: str) -> None:
    path = make_store(tmp_path / "store")
    target.copy(path)
    before = target.rows()
    with target.connect() as connection:
        assert connection.execute(damage).rowcount == 1
    with pytest.raises(VerificationFailed, match="file-a-7"):
        target.verify(path)
    mended = target.verify(path, repair=True)
    assert mended["repaired"] in (1, 2)
    assert target.verify(path, full=True)["equal"]
    assert target.rows() == before


def test_verification_notices_a_store_that_changed_since(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    target.copy(path)
    fill(client_of(path).get_collection("file-a", embedding_function=None), ["late"])
    assert target.verify(path)["equal"]  # the private copy is still what was copied
    target.fresh_scratch()
    with pytest.raises(VerificationFailed, match="changed since"):
        target.verify(path)


def test_an_incremental_verification_looks_only_at_what_changed(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", names=("file-a", "file-b", "file-c"))
    target.copy(path)
    assert target.verify(path, incremental=True)["collections_compared"] == 3
    fill(client_of(path).get_collection("file-a", embedding_function=None), ["late"])
    target.copy_delta(path)
    with target.connect() as connection:
        connection.execute("update document_chunk set text = 'x' where id = 'late'")
    with pytest.raises(VerificationFailed, match="late"):
        target.verify(path, incremental=True)
    target.verify(path, incremental=True, repair=True)
    assert target.verify(path, incremental=True)["collections_compared"] == 0
    assert target.verify(path, full=True)["rows"] == 181


def test_undo_removes_exactly_the_copied_rows_and_its_own_table(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    target.copy(path)
    with target.connect() as connection:
        connection.execute(
            "insert into document_chunk (id, collection_name, text) values ('written later', 'file-a', 't')"
        )
    assert removal.remove_vectors(target.url, run=RUN) == {"run": RUN, "deleted": 120, "table_dropped": False}
    assert list(target.rows()) == ["written later"]
    assert removal.remove_vectors(target.url, run=RUN)["deleted"] == 0


def test_undo_drops_an_empty_table_that_it_made(target: Target, tmp_path: Path) -> None:
    target.copy(make_store(tmp_path / "store"))
    assert removal.remove_vectors(target.url, run=RUN)["table_dropped"]
    with target.connect() as connection:
        assert connection.execute("select to_regclass('document_chunk')").fetchone() == (None,)


def test_a_throttle_slows_it_down(target: Target, tmp_path: Path) -> None:
    result = target.copy(make_store(tmp_path / "store"), rows_per_second=200, workers=2)
    assert result["seconds"] >= 0.5


def test_a_store_without_collections_is_copied_and_verified(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "store"
    client_of(path).list_collections()
    assert target.copy(path)["rows"] == 0
    assert target.verify(path)["equal"]
    shutil.rmtree(path)


def test_a_stopped_store_is_read_in_place(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    assert target.copy(path, stopped=True)["rows"] == 120
    assert not list(target.scratch.iterdir())
    assert target.verify(path, full=True)["equal"]


def test_what_was_read_from_a_store_that_was_not_stopped_is_taken_back(target: Target, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store")
    with target.connect() as connection:
        connection.execute("insert into document_chunk (id, collection_name, text) values ('mine', 'file-a', 't')")

    def write_meanwhile(step: str, done: int, total: int, unit: str) -> None:
        (path / "chroma.sqlite3").touch()

    with pytest.raises(TransientError, match="was written while"):
        target.copy(path, stopped=True, progress=write_meanwhile)
    assert set(target.rows()) == {"mine"}
    assert target.copy(path, stopped=True)["rows"] == 120
