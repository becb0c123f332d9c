"""Writes to a stopped Chroma store through chromadb itself, exactly as Open WebUI's own code does.

Only ever on a store that no pod has open: Chroma has one writer. chromadb is in Open WebUI's image and is imported
when something has to be written, which is why an unchanged store costs nothing.

Source: open_webui/retrieval/vector/dbs/chroma.py (`insert`, `delete`), retrieval/vector/utils.py `process_metadata`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PermanentError

SLICE_ROWS = 1000
"""Well under what SQLite and Chroma take in one call."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of document_chunk, its vector without padding, its metadata as Chroma takes it."""

    id: str
    vector: NDArray[np.float32]
    text: str | None
    metadata: dict[str, Any] | None


def chroma_metadata(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return metadata from jsonb as Open WebUI gives it to Chroma: no nulls, nested values as text, None for none."""
    kept = {key: value for key, value in (stored or {}).items() if value is not None}
    return {key: str(value) if isinstance(value, (list, dict)) else value for key, value in kept.items()} or None


class ChromaWriter:
    """Changes collections of one tenant and database."""

    def __init__(self, path: Path, tenant: str, database: str) -> None:
        try:
            import chromadb
            from chromadb.config import Settings
        except ImportError as error:
            raise PermanentError(
                "chromadb is not installed here", hint="run this in Open WebUI's own image, which has it"
            ) from error
        settings = Settings(anonymized_telemetry=False, allow_reset=True)
        self._client = chromadb.PersistentClient(path=str(path), settings=settings, tenant=tenant, database=database)

    def drop(self, name: str) -> None:
        """Delete a whole collection; absent is fine."""
        from chromadb.errors import NotFoundError

        try:
            self._client.delete_collection(name)
        except (NotFoundError, ValueError):  # ValueError: before 0.6
            return

    def remove(self, name: str, ids: Sequence[str]) -> None:
        """Delete these rows, which exist."""
        for at in range(0, len(ids), SLICE_ROWS):
            self._get(name).delete(ids=list(ids[at : at + SLICE_ROWS]))

    def add(self, name: str, chunks: Sequence[Chunk]) -> None:
        """Add rows, which do not exist; the collection is made when it is missing."""
        collection: Any = self._client.get_or_create_collection(
            name=name, metadata={"hnsw:space": "cosine"}, embedding_function=None
        )
        # One call takes texts for all of its rows or for none, and metadata likewise.
        for with_text in (True, False):
            for with_metadata in (True, False):
                some = [c for c in chunks if (c.text is not None, c.metadata is not None) == (with_text, with_metadata)]
                if some:
                    collection.add(
                        ids=[one.id for one in some],
                        embeddings=[one.vector for one in some],
                        documents=[one.text for one in some] if with_text else None,
                        metadatas=[one.metadata for one in some] if with_metadata else None,
                    )

    def read(self, name: str, ids: Sequence[str]) -> dict[str, Chunk]:
        """Return those of these rows that exist."""
        if not ids:
            return {}
        got = self._get(name).get(ids=list(ids), include=["embeddings", "documents", "metadatas"])
        rows = zip(got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True)
        return {
            one: Chunk(one, np.asarray(vector, np.float32), text, dict(metadata) if metadata else None)
            for one, vector, text, metadata in rows
        }

    def count(self, name: str) -> int:
        """Count a collection's rows."""
        return int(self._get(name).count())

    def names(self) -> set[str]:
        """Return the collections' names."""
        return {one if isinstance(one, str) else one.name for one in self._client.list_collections()}

    def id_of(self, name: str) -> str:
        """Return a collection's id."""
        return str(self._get(name).id)

    def _get(self, name: str) -> Any:
        return self._client.get_collection(name, embedding_function=None)
