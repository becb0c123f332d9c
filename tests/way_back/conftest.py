"""A migrated Open WebUI in miniature: a stopped Chroma store and disk, the copied database and share."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import psycopg
import pytest
from chromadb.config import Settings
from psycopg.types.json import Jsonb

from shared.transfer.delta import delta
from shared.transfer.files import files
from shared.transfer.ledger import ledger, ledger_schema
from shared.transfer.load import bulk
from shared.transfer.pgvector import document_chunk
from shared.transfer.pgvector.database import conninfo
from shared.transfer.rows.copy_binary import VectorColumn
from shared.transfer.steps import carry_back
from shared.transfer.verify import store_difference, verification

RUN = "run-1"
DIMENSION = 8
type Row = tuple[tuple[float, ...], str | None, dict[str, Any] | None]


def client_of(store: Path) -> Any:
    return chromadb.PersistentClient(path=str(store), settings=Settings(anonymized_telemetry=False, allow_reset=True))


def vector_of(seed: int, dimension: int = DIMENSION) -> list[float]:
    return [float(number) for number in np.random.default_rng(seed).normal(size=dimension).astype(np.float32)]


@dataclass(frozen=True)
class Migrated:
    """What stands after a switch: `disk` is the old side, `share` and the database are the new one."""

    url: str
    disk: Path
    share: Path
    scratch: Path
    column: VectorColumn

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(conninfo(self.url), autocommit=True)

    def insert(self, collection: str, one: str, seed: int, text: str | None, metadata: dict[str, Any] | None) -> None:
        """Write a chunk as Open WebUI does with VECTOR_DB=pgvector: the vector padded with zeros."""
        self.insert_vector(collection, one, vector_of(seed), text, metadata)

    def insert_vector(
        self, collection: str, one: str, vector: list[float], text: str | None, metadata: dict[str, Any] | None
    ) -> None:
        padded = vector + [0.0] * (self.column.dimension - len(vector))
        value = "[" + ",".join(map(repr, padded)) + "]"
        with self.connect() as connection:
            connection.execute(
                "insert into document_chunk (id, vector, collection_name, text, vmetadata)"
                f" values (%s, %s::{self.column.name}, %s, %s, %s) on conflict (id) do update set"
                " vector = excluded.vector, text = excluded.text, vmetadata = excluded.vmetadata",
                (one, value, collection, text, Jsonb(metadata) if metadata is not None else None),
            )

    def delete(self, *ids: str) -> None:
        with self.connect() as connection:
            connection.execute("delete from document_chunk where id = any(%s)", (list(ids),))

    def delete_collection(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute("delete from document_chunk where collection_name = %s", (name,))

    def carry_back(self, **options: Any) -> dict[str, Any]:
        shutil.rmtree(self.scratch, ignore_errors=True)
        return carry_back.carry_back(self.url, self.disk, self.share, self.scratch, run=RUN, **options)

    def new_side(self) -> dict[str, dict[str, Row]]:
        """Collection → id → row of document_chunk, vectors with their padding cut off."""
        found: dict[str, dict[str, Row]] = {}
        with self.connect() as connection:
            for one, name, vector, text, metadata in connection.execute(
                "select id, collection_name, vector::text, text, vmetadata from document_chunk"
            ):
                numbers = [float(number) for number in vector.strip("[]").split(",")]
                found.setdefault(name, {})[one] = (tuple(numbers), text, metadata)
        return found

    def old_side(self) -> dict[str, dict[str, Row]]:
        """The same of the Chroma store, as chromadb itself reads it, padded to be compared."""
        found = {}
        for collection in client_of(self.disk / "vector_db").list_collections():
            got = collection.get(include=["embeddings", "documents", "metadatas"])
            found[collection.name] = {
                one: (tuple(map(float, vector)) + (0.0,) * (self.column.dimension - len(vector)), text, metadata)
                for one, vector, text, metadata in zip(
                    got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True
                )
            }
        return {name: rows for name, rows in found.items() if rows}


def assert_equal_rows(old: dict[str, dict[str, Row]], new: dict[str, dict[str, Row]]) -> None:
    """Every row of every collection is the same on both sides, vectors but for rounding."""
    assert old.keys() == new.keys()
    for name, rows in new.items():
        assert old[name].keys() == rows.keys(), name
        for one, (vector, text, metadata) in rows.items():
            there = old[name][one]
            assert there[1:] == (text, metadata), one
            assert np.allclose(there[0], vector, rtol=1e-5, atol=1e-5), one


@pytest.fixture(scope="session")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, int], str], Path]:
    """Return a function that makes a disk once and gives it to everybody who wants the same, to be copied."""
    made: dict[str, Path] = {}

    def make(collections: dict[str, int], zero_vector: str) -> Path:
        key = repr((collections, zero_vector))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("disk") / "disk"
            fill_disk(made[key], collections, zero_vector)
        return made[key]

    return make


@pytest.fixture
def migrate(database: Any, tmp_path: Path, full_disk: Callable[[dict[str, int], str], Path]) -> Callable[..., Migrated]:
    """Return a function that makes a store, a disk and a share, and copies all of it as a run does."""

    def make(
        collections: dict[str, int],
        *,
        column_dimension: int = 16,
        half: bool = False,
        foreign: bool = False,
        zero_vector: str = "",
    ) -> Migrated:
        disk, share = tmp_path / "disk", tmp_path / "share"
        share.mkdir()
        shutil.copytree(full_disk(collections, zero_vector), disk)
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute("create extension vector")
            connection.execute(ledger_schema.SCHEMA_SQL)
            connection.execute(ledger_schema.grant_sql("openwebui"))
        column = VectorColumn(column_dimension, half=half)
        with psycopg.connect(database.app_url) as connection:
            document_chunk.create(connection, column)
            ledger.start_run(connection, RUN, created_table=True)
        made = Migrated(database.app_url, disk, share, tmp_path / "scratch", column)
        if foreign:
            made.insert("others", "foreign-1", 99, "was there before", {"a": 1})
        files.copy_files(disk, share)
        scratch = tmp_path / "bulk"
        scratch.mkdir()
        store = disk / "vector_db"
        bulk.copy_vectors(made.url, store, scratch, run=RUN)
        delta.copy_delta(made.url, store, scratch, run=RUN)
        verification.verify_vectors(made.url, store, scratch, run=RUN)
        with psycopg.connect(database.app_url) as connection:
            store_difference.note_foreign_rows(connection, RUN)
        return made

    return make


def fill_disk(disk: Path, collections: dict[str, int], zero_vector: str = "") -> None:
    """Make uploads, a cache and a store in which collection `name` has `rows` chunks `name-0` …

    `zero_vector`: a collection that also has the chunk `nought`, which no copy takes.
    """
    client = client_of(disk / "vector_db")
    for name, rows in collections.items():
        made = client.get_or_create_collection(name, metadata={"hnsw:space": "cosine"}, embedding_function=None)
        if rows:
            made.add(
                ids=[f"{name}-{n}" for n in range(rows)],
                embeddings=[vector_of(n) for n in range(rows)],
                documents=[f"text {n} of {name}" for n in range(rows)],
                metadatas=[{"name": name, "n": n, "share": n / 2, "even": n % 2 == 0} for n in range(rows)],
            )
    if zero_vector:
        made = client.get_collection(zero_vector, embedding_function=None)
        made.add(ids=["nought"], embeddings=[[0.0] * DIMENSION], documents=["a zero vector"])
    for n in range(5):
        path = disk / "uploads" / f"{n}_ünïcödé {n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"upload {n}")
    model = disk / "cache" / "embedding" / "models" / "weights.bin"
    model.parent.mkdir(parents=True)
    model.write_bytes(bytes(range(256)) * 40)


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative path → content of everything that users own."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for root in ("uploads", "cache")
        for path in sorted((folder / root).rglob("*"))
        if path.is_file()
    }
