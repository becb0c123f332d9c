"""The reader against chromadb's own answers, row by row."""

import base64
import json
import pickle
import shutil
import sqlite3
import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.transfer.chroma.catalog import read_catalog
from shared.transfer.chroma.index_metadata import read_id_map
from shared.transfer.chroma.store import ChromaStore
from shared.transfer.errors import UnknownFormat
from tests.transfer.conftest import VERSIONS, StoredStore

Row = tuple[np.ndarray, str | None, Any]


def read_all(path: Path) -> dict[str, dict[str, Row]]:
    """Read a whole store with our reader."""
    catalog = read_catalog(path)
    found: dict[str, dict[str, Row]] = {}
    with ChromaStore(catalog) as store:
        for collection in catalog.collections:
            keys = store.keys(collection)
            rows: dict[str, Row] = {}
            for at in range(0, len(keys), 300):
                read = store.read(collection, keys[at : at + 300])
                assert not read.without_vector
                for one, vector, text, metadata in zip(read.ids, read.vectors, read.texts, read.metadatas, strict=True):
                    rows[one.decode()] = (
                        vector,
                        None if text is None else text.decode(),
                        None if metadata is None else json.loads(metadata),
                    )
            assert len(rows) == collection.rows
            found[collection.name] = rows
    return found


def assert_same(ours: dict[str, Row], theirs: dict[str, Row]) -> None:
    assert ours.keys() == theirs.keys()
    for one, (vector, text, metadata) in theirs.items():
        assert np.allclose(ours[one][0], vector, rtol=1e-6, atol=1e-6), one
        assert ours[one][1] == text
        expected = None if metadata is None else {key: as_jsonb(value) for key, value in metadata.items()}
        assert ours[one][2] == expected
        for key, value in (expected or {}).items():
            assert type(ours[one][2][key]) is type(value)


def as_jsonb(value: Any) -> Any:
    """jsonb keeps 3.0 apart from 3, but prints 1e+22 in full, as a whole number."""
    return int(Decimal(repr(value))) if isinstance(value, float) and "e+" in repr(value) else value


@pytest.mark.parametrize("version", VERSIONS)
def test_reads_what_the_writing_chromadb_reads(stored: Callable[[str], StoredStore], version: str) -> None:
    store = stored(version)
    ours = read_all(store.path)
    assert ours.keys() == store.truth.keys()
    for name, rows in store.truth.items():
        theirs = {one: (np.frombuffer(base64.b64decode(v), "<f4"), t, m) for one, (v, t, m) in rows.items()}
        assert_same(ours[name], theirs)


def test_leaves_the_store_untouched(stored: Callable[[str], StoredStore]) -> None:
    store = stored("1.5.9")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.path.rglob("*") if path.is_file()}
    for path in store.path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    read_all(store.path)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.path.rglob("*") if p.is_file()}


def test_knows_what_open_webui_uses_a_collection_for(stored: Callable[[str], StoredStore]) -> None:
    kinds = {one.name: one.kind for one in read_catalog(stored("1.5.9").path).collections}
    assert kinds["file-small"] == "file"
    assert kinds["web-search-x"] == "web-search"
    assert kinds["flushed"] == "other"


def _flushed_segment(path: Path) -> Path:
    return next(path.glob("*/index_metadata.pickle")).parent


def _delete_elements(segment: Path) -> None:
    """Mark every element as deleted, though the pickle still has its label."""
    _, _, _, count, size, *_ = struct.unpack_from("<iQQQQQ", (segment / "header.bin").read_bytes())
    elements = bytearray((segment / "data_level0.bin").read_bytes())
    for at in range(count):
        elements[at * size + 2] |= 1
    (segment / "data_level0.bin").write_bytes(elements)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda segment: (segment / "header.bin").write_bytes(b"\2" + (segment / "header.bin").read_bytes()[1:]),
            "header",
        ),
        (lambda segment: (segment / "header.bin").write_bytes(b"short"), "header.bin"),
        (lambda segment: (segment / "data_level0.bin").write_bytes(b"x" * 1000), "shorter"),
        (lambda segment: (segment / "length.bin").write_bytes(b""), "length.bin|norms"),
        (lambda segment: (segment / "length.bin").unlink(), "lacks length.bin"),
        (lambda segment: (segment / "index_metadata.pickle").write_bytes(b"\x80\x04}("), "index_metadata|opcode"),
        (_delete_elements, "is deleted there"),
    ],
)
def test_refuses_damaged_files(
    stored: Callable[[str], StoredStore], damage: Callable[[Path], object], complaint: str
) -> None:
    path = stored("1.5.9").path
    db = sqlite3.connect(path / "chroma.sqlite3")
    cosine = {
        row[0]
        for row in db.execute(
            "select id from segments where collection in (select collection_id from"
            " collection_metadata where str_value = 'cosine')"
        )
    }
    db.close()
    damage(next(one.parent for one in path.glob("*/index_metadata.pickle") if one.parent.name in cosine))
    with pytest.raises(UnknownFormat, match=complaint):
        read_all(path)


def test_refuses_other_segment_types(stored: Callable[[str], StoredStore]) -> None:
    path = stored("1.5.9").path
    with sqlite3.connect(path / "chroma.sqlite3") as db:
        db.execute("update segments set type = 'urn:chroma:segment/vector/spann' where scope = 'VECTOR'")
    with pytest.raises(UnknownFormat, match="spann"):
        read_catalog(path)


def test_refuses_texts_that_are_behind_the_log(stored: Callable[[str], StoredStore]) -> None:
    path = stored("1.5.9").path
    with sqlite3.connect(path / "chroma.sqlite3") as db:
        db.execute(
            "update max_seq_id set seq_id = 1 where segment_id in (select id from segments where scope = 'METADATA')"
        )
    with pytest.raises(UnknownFormat, match="behind"):
        read_all(path)


class _Evil:
    def __reduce__(self) -> Any:
        return (eval, ("1/0",))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_runs_nothing_from_a_pickle(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "index_metadata.pickle"
    path.write_bytes(pickle.dumps({"id_to_label": {"a": 1}, "evil": _Evil()}, protocol))
    with pytest.raises(UnknownFormat):
        read_id_map(path)


@given(
    ids=st.dictionaries(st.text(max_size=300), st.integers(0, 2**40), max_size=200),
    protocol=st.integers(2, 5),
    max_seq_id=st.none() | st.integers(0, 2**60),
)
def test_reads_the_pickles_that_chromadb_writes(
    tmp_path_factory: pytest.TempPathFactory, ids: dict[str, int], protocol: int, max_seq_id: int | None
) -> None:
    path = tmp_path_factory.mktemp("pickles") / "index_metadata.pickle"
    state = {
        "dimensionality": 8,
        "total_elements_added": len(ids),
        "max_seq_id": max_seq_id,
        "id_to_label": ids,
        "label_to_id": {label: one for one, label in ids.items()},
        "id_to_seq_id": dict.fromkeys(ids, 7),
    }
    path.write_bytes(pickle.dumps(state, protocol))
    read = read_id_map(path)
    assert read.max_seq_id == max_seq_id
    names = [one.encode() for one in ids]
    assert read.find([*names, b"nobody\xff"]).tolist() == [*ids.values(), -1]


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("flushed", [False, True], ids=["all in the log", "the first rows in the files"])
def test_follows_what_chromadb_ignores_and_what_it_does_twice(tmp_path: Path, space: str, *, flushed: bool) -> None:
    """Adds of ids that exist, updates of ids that do not, rows that were deleted and came back."""
    path = tmp_path / "vector_db"
    client = chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))
    collection = client.create_collection(
        "odd-cases",
        metadata={"hnsw:space": space, "hnsw:sync_threshold": 20, "hnsw:batch_size": 10},
        embedding_function=None,
    )
    numbers = np.random.default_rng(9)

    def vector() -> list[list[float]]:
        return [(numbers.normal(size=5) * 9).tolist()]

    ids = ["added twice", "retexted", "updated twice", "gone", "back", "back and updated", "upserted", "calm"]
    for one in ids:
        collection.add(ids=[one], embeddings=vector(), documents=[one])
    if flushed:
        collection.add(ids=[f"bulk-{n}" for n in range(25)], embeddings=numbers.normal(size=(25, 5)).tolist())
        assert list(path.glob("*/index_metadata.pickle"))
    collection.update(ids=["nobody"], embeddings=vector(), documents=["there is no such row"])
    collection.update(ids=["added later"], embeddings=vector(), documents=["too early"])
    collection.add(ids=["added later"], embeddings=vector(), documents=["now"])
    collection.add(ids=["added twice"], embeddings=vector(), documents=["the second time"])
    collection.update(ids=["retexted"], metadatas=[{"only": "metadata"}])
    collection.update(ids=["updated twice"], embeddings=vector(), documents=["once"])
    collection.update(ids=["updated twice"], embeddings=vector(), documents=["twice"])
    collection.update(ids=["updated twice"], metadatas=[{"n": 3}])
    collection.delete(ids=["gone", "back", "back and updated"])
    collection.add(ids=["back", "back and updated"], embeddings=[*vector(), *vector()], documents=["b", "b"])
    collection.update(ids=["back and updated"], embeddings=vector(), documents=["u"])
    collection.upsert(ids=["upserted", "nobody"], embeddings=[*vector(), *vector()], documents=["up", "now there is"])
    aside = tmp_path / "aside"
    shutil.copytree(path, aside)
    assert_same(read_all(aside)["odd-cases"], as_read(collection))


_ids = st.sampled_from([f"id-{n}" for n in range(12)])
_values = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
_metadata = st.none() | st.dictionaries(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6),
    _values,
    min_size=1,
    max_size=4,
)
_operation = st.tuples(
    st.sampled_from(["add", "update", "upsert", "delete", "bulk", "retext"]), _ids, _metadata, st.integers(0, 2**30)
)


_any_operations = given(
    operations=st.lists(_operation, min_size=1, max_size=14), space=st.sampled_from(["cosine", "l2", "ip"])
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@_any_operations
def test_follows_any_sequence_of_operations(
    tmp_path_factory: pytest.TempPathFactory, operations: list[Any], space: str
) -> None:
    follow(tmp_path_factory, operations, space)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@_any_operations
def test_follows_very_many_sequences_of_operations(
    tmp_path_factory: pytest.TempPathFactory, operations: list[Any], space: str
) -> None:
    follow(tmp_path_factory, operations, space)


def follow(tmp_path_factory: pytest.TempPathFactory, operations: list[Any], space: str) -> None:
    """Do the operations with chromadb, and compare what it reads with what we read."""
    path = tmp_path_factory.mktemp("random") / "vector_db"
    client = chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))
    collection = client.create_collection(
        "random",
        metadata={"hnsw:space": space, "hnsw:sync_threshold": 20, "hnsw:batch_size": 10},
        embedding_function=None,
    )
    for number, (operation, one, metadata, seed) in enumerate(operations):
        numbers = np.random.default_rng(seed)
        vector = [(numbers.normal(size=5) * 9).astype(np.float32).tolist()]
        if operation == "bulk":
            count = 25
            collection.add(
                ids=[f"bulk-{number}-{n}" for n in range(count)], embeddings=numbers.normal(size=(count, 5)).tolist()
            )
        elif operation == "delete":
            collection.delete(ids=[one])
        elif operation == "retext":
            collection.update(ids=[one], metadatas=[{"later": seed}])
        else:
            getattr(collection, operation)(
                ids=[one], embeddings=vector, documents=[f"text {seed}"], metadatas=[metadata] if metadata else None
            )
    aside = path.parent / "aside"
    shutil.copytree(path, aside)
    assert_same(read_all(aside)["random"], as_read(collection))


def as_read(collection: Any) -> dict[str, Row]:
    """Return a collection's rows as chromadb reads them."""
    got = collection.get(include=["embeddings", "documents", "metadatas"])
    return {
        one: (np.asarray(vector, np.float32), text, metadata)
        for one, vector, text, metadata in zip(
            got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True
        )
    }
