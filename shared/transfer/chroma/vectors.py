"""Finds the current vector of any row of one collection: in the log if it changed since the last flush, else in the
HNSW files."""

import sqlite3
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFormat
from .catalog import Collection
from .hnsw import HnswFiles
from .index_metadata import IdMap, read_id_map

ADD, UPDATE, UPSERT, DELETE = range(
    4
)  # Source: chromadb/types.py, Operation; stored as these numbers in embeddings_queue.operation
_DELETED = 0
_CHUNK = 500  # SQL variables a statement: below every SQLite's limit


class CollectionVectors:
    """The vectors of one collection; what it keeps in memory is 24 bytes a row and the changes since the last flush."""

    def __init__(self, db: sqlite3.Connection, path: Path, collection: Collection) -> None:
        self._db = db
        self._collection = collection
        self._open = ExitStack()
        self._ids: IdMap | None = None
        self._files: HnswFiles | None = None
        pickle = path / collection.vector_segment / "index_metadata.pickle"
        if collection.vector_segment and collection.dimension and pickle.is_file():
            self._ids = read_id_map(pickle)
            if len(self._ids):
                self._files = self._open.enter_context(
                    HnswFiles(pickle.parent, collection.dimension, normalised=collection.space == "cosine")
                )
        self._changed = self._overlay()

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    def find(self, ids: list[bytes]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vectors, shape (n, dimension), and which of the ids have one."""
        dimension = self._collection.dimension or 0
        vectors = np.zeros((len(ids), dimension), np.float32)
        labels = self._ids.find(ids) if self._ids else np.full(len(ids), -1, np.int64)
        seqs = np.fromiter((self._changed.get(one, -1) for one in ids), np.int64, len(ids))
        in_files = np.flatnonzero((seqs < 0) & (labels >= 0))
        if len(in_files) and self._files:
            vectors[in_files] = self._files.vectors(labels[in_files])
        in_log = np.flatnonzero(seqs > 0)
        found = np.zeros(len(ids), bool)
        found[in_files] = True
        for at, raw in self._read_log(seqs[in_log], in_log):
            if len(raw) == 4 * dimension:
                vectors[at] = np.frombuffer(raw, "<f4")
                found[at] = True
        return vectors, found

    def _read_log(self, seqs: NDArray[np.int64], positions: NDArray[np.int64]) -> list[tuple[int, bytes]]:
        where = dict(zip(seqs.tolist(), positions.tolist(), strict=True))
        read = []
        for seq, raw, encoding in select_log(
            self._db, "seq_id, vector, encoding", sorted(where), self._collection.topic
        ):
            if encoding != b"FLOAT32":
                raise UnknownFormat(f"collection {self._collection.name} has a vector encoded as {encoding!r}")
            read.append((where[seq], raw))
        if len(read) != len(where):
            raise UnknownFormat(
                f"collection {self._collection.name}: {len(where) - len(read)} records left the log while it was read"
            )
        return read

    def _overlay(self) -> dict[bytes, int]:
        """Replay what the files do not hold yet: id → seq_id of its current vector, or 0 for deleted.

        Chroma ignores an add of an id that exists and an update of one that does not.
        """
        records = select_log(
            self._db, "seq_id, id, operation, vector is not null", self._collection.log.tolist(), self._collection.topic
        )
        ids = [one for _, one, _, _ in records]
        in_files = dict(zip(ids, (self._ids.find(ids) >= 0).tolist(), strict=True)) if self._ids else {}
        changed: dict[bytes, int] = {}
        for seq, one, operation, has_vector in records:
            exists = changed[one] != _DELETED if one in changed else in_files.get(one, False)
            if operation == DELETE:
                changed[one] = _DELETED
            elif operation not in (ADD, UPDATE, UPSERT):
                raise UnknownFormat(f"collection {self._collection.name}: the log has operation {operation}")
            elif has_vector and (operation == UPSERT or exists == (operation == UPDATE)):
                changed[one] = seq
        return changed


def select_log(db: sqlite3.Connection, columns: str, seqs: list[int], topic: str) -> list[tuple]:  # type: ignore[type-arg]
    """Read log records by ascending seq_id: as one range when they lie close together, else by number."""
    if not seqs:
        return []
    first, last = seqs[0], seqs[-1]
    if last - first < 4 * len(seqs):
        wanted = set(seqs)
        rows = db.execute(
            f"select {columns} from embeddings_queue where seq_id between ? and ? and topic = ? order by seq_id",
            (first, last, topic),
        )
        return [row for row in rows if row[0] in wanted]
    found = []
    for at in range(0, len(seqs), _CHUNK):
        some = seqs[at : at + _CHUNK]
        marks = ",".join("?" * len(some))
        found += db.execute(
            f"select {columns} from embeddings_queue where seq_id in ({marks}) order by seq_id", some
        ).fetchall()
    return found
