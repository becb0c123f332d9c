"""Reads a store through chromadb itself, for stores that this package's own reader does not understand.

Slower, and only ever on a private copy: chromadb upgrades what it opens. It has no watermarks, so the store's
fingerprint stands for them: a delta after any change compares every row. Used when `chroma.catalog` or `chroma.store`
raise UnknownFormat and chromadb can be imported, as in Open WebUI's image.

Source: chromadb's `collection.get(limit=, offset=)`; more than 32,766 ids a call fail on SQLite's variable limit.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rows import jsonb_text
from ..rows.rows import Rows
from .catalog import Catalog, Collection

# Keys of this reader never meet those of the other one in the ledger.
FIRST_KEY = 1 << 40
_NEVER = 1 << 62


def _client(path: Path, tenant: str, database: str) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(
        path=str(path), settings=Settings(anonymized_telemetry=False), tenant=tenant, database=database
    )


def read_catalog_by_client(path: Path, fingerprint: str, tenant: str, database: str) -> Catalog:
    """Return the collections of one tenant and database as chromadb lists them."""
    client = _client(path, tenant, database)
    names = [one if isinstance(one, str) else one.name for one in client.list_collections()]
    watermark = int(fingerprint, 16) >> 1
    collections = []
    for name in names:
        collection = client.get_collection(name, embedding_function=None)
        first = collection.get(limit=1, include=["embeddings"])["embeddings"]
        collections.append(
            Collection(
                id=str(collection.id),
                name=name,
                tenant=tenant,
                database=database,
                dimension=len(first[0]) if len(first) else None,
                space=str((collection.metadata or {}).get("hnsw:space", "l2")),
                metadata_segment="",
                vector_segment="",
                topic="",
                rows=collection.count(),
                watermark=watermark,
                metadata_lag=0,
                flushed_to=_NEVER,
                log=array("q"),
            )
        )
    return Catalog(path, "unknown", tuple(collections), False, True, 0, None, 0, reader="chromadb")


class ClientStore:
    """The same interface as ChromaStore; keys are positions."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        first = catalog.collections[0] if catalog.collections else None
        self._client = _client(catalog.path, first.tenant, first.database) if first else None

    def __enter__(self) -> "ClientStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None

    def keys(self, collection: Collection) -> NDArray[np.int64]:
        """Return one key a row."""
        return np.arange(FIRST_KEY, FIRST_KEY + collection.rows, dtype=np.int64)

    def ids(self, collection: Collection) -> Iterator[bytes]:
        """Yield the ids of a collection's rows."""
        for at in range(0, collection.rows, 10_000):
            yield from (one.encode() for one in self._get(collection).get(limit=10_000, offset=at, include=[])["ids"])

    def written_since(self, collection: Collection, since: int) -> list[bytes]:
        """Return every id: chromadb does not tell what changed."""
        return list(self.ids(collection))

    def read(self, collection: Collection, keys: NDArray[np.int64]) -> Rows:
        """Read the rows at these positions."""
        parts = []
        for run in np.split(keys, np.flatnonzero(np.diff(keys) != 1) + 1):
            if len(run):
                got = self._get(collection).get(
                    limit=len(run), offset=int(run[0]) - FIRST_KEY, include=["embeddings", "documents", "metadatas"]
                )
                parts.append(_rows(got, int(run[0]), collection))
        return _joined(parts, collection)

    def read_ids(self, collection: Collection, ids: list[bytes]) -> Rows:
        """Read the rows with these ids that exist."""
        got = self._get(collection).get(
            ids=[one.decode() for one in ids], include=["embeddings", "documents", "metadatas"]
        )
        return _rows(got, FIRST_KEY, collection)

    def _get(self, collection: Collection) -> Any:
        assert self._client is not None
        return self._client.get_collection(collection.name, embedding_function=None)


def _rows(got: Any, first_key: int, collection: Collection) -> Rows:
    count = len(got["ids"])
    return Rows(
        np.arange(first_key, first_key + count, dtype=np.int64),
        [one.encode() for one in got["ids"]],
        np.asarray(got["embeddings"], np.float32).reshape(count, collection.dimension or 0),
        [None if one is None else one.encode("utf-8", "surrogatepass") for one in got["documents"]],
        [jsonb_text.text(one).encode("utf-8", "surrogatepass") if one else None for one in got["metadatas"]],
    )


def _joined(parts: list[Rows], collection: Collection) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.keys for part in parts]) if parts else np.empty(0, np.int64),
        [one for part in parts for one in part.ids],
        np.concatenate([part.vectors for part in parts])
        if parts
        else np.empty((0, collection.dimension or 0), np.float32),
        [one for part in parts for one in part.texts],
        [one for part in parts for one in part.metadatas],
    )
