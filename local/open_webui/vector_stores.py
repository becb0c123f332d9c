"""The two vector stores behind one face: search, add, delete. Scores are Open WebUI's, (2 − distance) / 2."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from local.open_webui.pools import ConnectionPool
from local.open_webui.settings import Settings, StartError

_SEARCH = sql.SQL("""
    select id, text, vmetadata, vector <=> %(vector)s::{kind} as distance
    from document_chunk where collection_name = %(collection)s order by distance limit %(limit)s
""")
_UPSERT = sql.SQL("""
    insert into document_chunk (id, vector, collection_name, text, vmetadata) values (%s, %s::{kind}, %s, %s, %s)
    on conflict (id) do update set vector = excluded.vector, collection_name = excluded.collection_name,
        text = excluded.text, vmetadata = excluded.vmetadata
""")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document to be stored."""

    id: str
    text: str
    vector: Sequence[float]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A piece of a document that was found."""

    id: str
    text: str | None
    metadata: dict[str, Any] | None
    score: float


class VectorStore(Protocol):
    name: str

    async def vector_of(self, collection: str, chunk: str) -> list[float] | None: ...

    async def search(self, collection: str, vector: Sequence[float], limit: int) -> list[Hit]: ...

    async def add(self, collection: str, chunks: Sequence[Chunk]) -> None: ...

    async def delete_collection(self, collection: str) -> None: ...


class PgvectorStore:
    """`document_chunk`, by the statements that Open WebUI sends."""

    name = "pgvector"

    def __init__(self, pool: ConnectionPool, settings: Settings) -> None:
        self._pool, self._settings = pool, settings
        self._kind = sql.Identifier("halfvec" if settings.half_precision else "vector")

    async def vector_of(self, collection: str, chunk: str) -> list[float] | None:
        statement = "select vector::text from document_chunk where collection_name = %s and id = %s"
        async with self._pool.connection() as connection:
            row = await (await connection.execute(statement, (collection, chunk))).fetchone()
        return None if row is None else [float(number) for number in row[0].strip("[]").split(",")]

    async def search(self, collection: str, vector: Sequence[float], limit: int) -> list[Hit]:
        statement = _SEARCH.format(kind=self._kind)
        values = {"vector": self._literal(vector), "collection": collection, "limit": limit}
        async with self._pool.connection() as connection:
            await self._set_iterative_scan(connection)
            rows = await (await connection.execute(statement, values)).fetchall()
        return [Hit(row[0], row[1], row[2], (2.0 - row[3]) / 2.0) for row in rows]

    async def _set_iterative_scan(self, connection: psycopg.AsyncConnection[Any]) -> None:
        method, mode = self._settings.index_method, self._settings.iterative_scan
        if mode != "off":
            mode = "relaxed_order" if method == "ivfflat" else mode
            await connection.execute(f"set local {method}.iterative_scan = {mode}")

    async def add(self, collection: str, chunks: Sequence[Chunk]) -> None:
        statement = _UPSERT.format(kind=self._kind)
        rows = [
            (chunk.id, self._literal(chunk.vector), collection, chunk.text, Jsonb(chunk.metadata)) for chunk in chunks
        ]
        async with self._pool.connection() as connection:
            await connection.cursor().executemany(statement, rows)

    async def delete_collection(self, collection: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("delete from document_chunk where collection_name = %s", (collection,))

    def _literal(self, vector: Sequence[float]) -> str:
        """Pad with zeros or cut to the column's dimension, as Open WebUI does."""
        dimension = self._settings.dimension
        fitted = [*vector, *[0.0] * (dimension - len(vector))][:dimension]
        return "[" + ",".join(map(repr, fitted)) + "]"


class ChromaStore:
    """The store on disk: its SQLite file is open from the start, the official client from the first request on."""

    name = "chroma"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = open_chroma(directory)
        self._client: Any = None
        self._one_at_a_time = asyncio.Lock()

    async def _collection(self, name: str, *, create: bool = False) -> Any | None:
        """Return a collection of the official client, or None; imported late, because it takes a second and 100 MB."""
        from chromadb import PersistentClient
        from chromadb.config import Settings as ChromaSettings
        from chromadb.errors import NotFoundError

        async with self._one_at_a_time:
            if self._client is None:
                settings = ChromaSettings(anonymized_telemetry=False, allow_reset=True)
                self._client = await asyncio.to_thread(PersistentClient, str(self._directory), settings)
        if create:
            space = {"hnsw:space": "cosine"}
            return await asyncio.to_thread(self._client.get_or_create_collection, name, metadata=space)
        try:
            return await asyncio.to_thread(self._client.get_collection, name, embedding_function=None)
        except NotFoundError:
            return None

    async def vector_of(self, collection: str, chunk: str) -> list[float] | None:
        found = await self._collection(collection)
        if found is None:
            return None
        answer = await asyncio.to_thread(found.get, ids=[chunk], include=["embeddings"])
        return [float(number) for number in answer["embeddings"][0]] if answer["ids"] else None

    async def search(self, collection: str, vector: Sequence[float], limit: int) -> list[Hit]:
        found = await self._collection(collection)
        if found is None:
            return []
        answer = await asyncio.to_thread(found.query, query_embeddings=[list(vector)], n_results=limit)
        columns = (answer["ids"][0], answer["documents"][0], answer["metadatas"][0], answer["distances"][0])
        return [
            Hit(chunk, text, metadata, (2.0 - distance) / 2.0)
            for chunk, text, metadata, distance in zip(*columns, strict=True)
        ]

    async def add(self, collection: str, chunks: Sequence[Chunk]) -> None:
        found = await self._collection(collection, create=True)
        assert found is not None
        await asyncio.to_thread(
            found.upsert,
            ids=[chunk.id for chunk in chunks],
            documents=[chunk.text for chunk in chunks],
            embeddings=[list(chunk.vector) for chunk in chunks],
            metadatas=[chunk.metadata for chunk in chunks],
        )

    async def delete_collection(self, collection: str) -> None:
        if await self._collection(collection) is not None:
            await asyncio.to_thread(self._client.delete_collection, collection)


def open_chroma(directory: Path) -> sqlite3.Connection | None:
    """Open a Chroma store's SQLite file; None when there is none yet. Raises StartError when it is something else."""
    file = directory / "chroma.sqlite3"
    if not file.exists():
        return None
    try:
        connection = sqlite3.connect(file, check_same_thread=False)
        connection.execute("select count(*) from collections").fetchone()
        connection.execute("select count(*) from embeddings_queue").fetchone()
    except sqlite3.Error as error:
        raise StartError(f"{file} is not a Chroma store: {error}") from error
    return connection
