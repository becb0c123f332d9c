"""Stores, tables and shorthands for the transfer's tests."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.transfer.delta import delta
from shared.transfer.ledger import ledger, ledger_schema
from shared.transfer.load import bulk
from shared.transfer.pgvector import document_chunk
from shared.transfer.pgvector.database import conninfo
from shared.transfer.rows.copy_binary import VectorColumn
from shared.transfer.verify import verification

STORES = Path(__file__).parent / "stores"
VERSIONS = ("0.4.24", "0.5.23", "0.6.3", "1.5.9", "upgraded")
RUN = "test"


@dataclass(frozen=True)
class StoredStore:
    """A store that some chromadb wrote, and what that chromadb says is in it: id → (vector, text, metadata)."""

    path: Path
    truth: dict[str, dict[str, tuple[bytes, str | None, dict[str, Any] | None]]]


@dataclass(frozen=True)
class Target:
    """A database with document_chunk and the ledger, as the phases leave it before a copy."""

    url: str
    superuser_url: str
    column: VectorColumn
    scratch: Path

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(conninfo(self.url), autocommit=True)

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(self.superuser_url, autocommit=True)

    def fresh_scratch(self) -> Path:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        return self.scratch

    def copy(self, store: Path, **options: Any) -> dict[str, Any]:
        return bulk.copy_vectors(self.url, store, self.scratch, run=RUN, **options)

    def copy_delta(self, store: Path, **options: Any) -> dict[str, Any]:
        return delta.copy_delta(self.url, store, self.scratch, run=RUN, **options)

    def verify(self, store: Path, **options: Any) -> dict[str, Any]:
        return verification.verify_vectors(self.url, store, self.scratch, run=RUN, **options)

    def rows(self) -> dict[str, tuple[str, str | None, Any]]:
        """Return id → (collection, text, metadata)."""
        with self.connect() as connection:
            found = connection.execute("select id, collection_name, text, vmetadata from document_chunk").fetchall()
        return {one: (collection, text, metadata) for one, collection, text, metadata in found}


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str], StoredStore]:
    """Return a function that unpacks the store of one version."""

    def unpack(version: str) -> StoredStore:
        folder = tmp_path / version
        with tarfile.open(STORES / f"{version}.tar.xz") as tar:
            tar.extractall(folder, filter="data")
        read = json.loads((folder / "truth.json").read_text())
        return StoredStore(folder / "vector_db", read["collections"])

    return unpack


@pytest.fixture
def make_target(database: Any, tmp_path: Path) -> Callable[..., Target]:
    """Return a function that prepares the database for vectors of a dimension."""

    def make(dimension: int = 16, *, half: bool = False) -> Target:
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute("create extension vector")
            connection.execute(ledger_schema.SCHEMA_SQL)
            connection.execute(ledger_schema.SCHEMA_SQL)  # idempotent, as the phases rely on
            connection.execute(ledger_schema.grant_sql("openwebui"))
        column = VectorColumn(dimension, half=half)
        with psycopg.connect(database.app_url) as connection:
            assert document_chunk.create(connection, column)
            ledger.start_run(connection, RUN, created_table=True)
        target = Target(database.app_url, database.superuser_url, column, tmp_path / "scratch")
        target.fresh_scratch()
        return target

    return make


@pytest.fixture
def target(make_target: Callable[..., Target]) -> Iterator[Target]:
    """Yield a database with vector(16)."""
    yield make_target()
