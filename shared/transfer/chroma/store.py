"""Reads the rows of a Chroma store straight from its files, in slices, with bounded memory.

`embeddings` says which rows there are, `embedding_metadata` holds texts and metadata, `CollectionVectors` finds the
vectors. The store must be one that nobody writes; see `snapshot.py`. Anything unexpected raises UnknownFormat, and the
caller falls back to chromadb itself.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFormat
from ..rows import jsonb_text
from ..rows.rows import Rows
from .catalog import Catalog, Collection, open_database
from .log_tail import LogRecord, read_records, with_whole_log
from .vectors import CollectionVectors, select_log

SLICE_ROWS = 1000

_VALUE = """case when m.string_value is not null then json_quote(m.string_value)
    {booleans} when m.int_value is not null then m.int_value else jsonb_number(m.float_value) end"""
_BOOLEANS = "when m.bool_value is not null then case m.bool_value when 0 then 'false' else 'true' end"
# The text form of jsonb (see jsonb_text) is put together by SQLite itself: ten times faster than by Python.
_ROWS = """
select e.id, e.embedding_id,
  (select d.string_value from embedding_metadata d where d.id = e.id and d.key = 'chroma:document'),
  (select group_concat(pair, ', ') from (
      select json_quote(m.key) || ': ' || {value} pair from embedding_metadata m
      where m.id = e.id and m.key <> 'chroma:document'
        and coalesce(m.string_value, m.int_value, m.float_value {boolean}) is not null
      order by length(cast(m.key as blob)), m.key))
from embeddings e where +e.segment_id = ? and {which} order by e.id"""
# The plus keeps SQLite from the index by segment, which would have every slice walk the whole collection.


_Row = tuple[int, bytes, bytes | None, bytes | None]  # key, id, text, metadata without its braces


class ChromaStore:
    """The rows of a store. One collection's vector files are open at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._db = open_database(catalog.path)
        self._db.create_function("jsonb_number", 1, jsonb_text.number, deterministic=True)
        self._current: tuple[str, CollectionVectors] | None = None
        booleans = catalog.has_booleans
        self._sql = _ROWS.replace("{value}", _VALUE.replace("{booleans}", _BOOLEANS if booleans else "")).replace(
            "{boolean}", ", m.bool_value" if booleans else ""
        )

    def __enter__(self) -> "ChromaStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_vectors()
        self._db.close()

    def keys(self, collection: Collection) -> NDArray[np.int64]:
        """Return the keys of a collection's rows, ascending."""
        rows = self._db.execute("select id from embeddings where segment_id = ?", (collection.metadata_segment,))
        keys = np.fromiter((key for (key,) in rows), np.int64)
        keys.sort()
        return keys

    def ids(self, collection: Collection) -> Iterator[bytes]:
        """Yield the ids of a collection's rows."""
        rows = self._db.execute(
            "select embedding_id from embeddings where segment_id = ?", (collection.metadata_segment,)
        )
        return (one for (one,) in rows)

    def read(self, collection: Collection, keys: NDArray[np.int64]) -> Rows:
        """Read the rows with these ascending keys; a few thousand at most."""
        if collection.metadata_lag:
            raise UnknownFormat(
                f"collection {collection.name}: texts and metadata are {collection.metadata_lag} log records behind"
            )
        return self._with_vectors(collection, self._read_metadata(collection, keys))

    def read_ids(self, collection: Collection, ids: list[bytes]) -> Rows:
        """Read the rows with these ids that exist."""
        return self.read(collection, self._keys_of(collection, ids))

    def _keys_of(self, collection: Collection, ids: list[bytes]) -> NDArray[np.int64]:
        keys: list[int] = []
        for at in range(0, len(ids), 500):
            some = [one.decode("utf-8", "surrogateescape") for one in ids[at : at + 500]]
            marks = ",".join("?" * len(some))
            found = self._db.execute(
                f"select id from embeddings where segment_id = ? and embedding_id in ({marks})",
                (collection.metadata_segment, *some),
            )
            keys += [key for (key,) in found]
        return np.array(sorted(keys), np.int64)

    def log_since(self, collection: Collection, since: int) -> list[LogRecord]:
        """Return the log records after `since`; see `chroma.log_tail`."""
        return read_records(self._db, collection, since)

    def read_changed(
        self,
        collection: Collection,
        ids: list[bytes],
        new_vectors: dict[bytes, int],
        known_vectors: Callable[[list[bytes]], dict[bytes, bytes]],
    ) -> Rows:
        """Read rows whose new vectors are in these log records; the others' come from `known_vectors`, else from the
        files."""
        rows = self._read_metadata(collection, self._keys_of(collection, ids))
        there = [row[1] for row in rows]
        unchanged = [one for one in there if one not in new_vectors]
        raw = known_vectors(unchanged) if unchanged else {}
        raw.update(self._log_vectors(collection, {new_vectors[one]: one for one in there if one in new_vectors}))
        if len(raw) < len(there):
            return self._with_vectors(collection, rows)
        vectors = np.frombuffer(b"".join(raw[one] for one in there), "<f4").reshape(
            len(there), collection.dimension or 0
        )
        return _rows(rows, vectors)

    def _log_vectors(self, collection: Collection, wanted: dict[int, bytes]) -> dict[bytes, bytes]:
        if not wanted:
            return {}
        size = 4 * (collection.dimension or 0)
        found = select_log(self._db, "seq_id, vector, encoding", sorted(wanted), collection.topic)
        return {wanted[seq]: raw for seq, raw, encoding in found if encoding == b"FLOAT32" and len(raw) == size}

    def written_since(self, collection: Collection, since: int) -> list[bytes]:
        """Return the ids of rows that were inserted or updated after `since`, as their own seq_id tells."""
        rows = self._db.execute(
            "select embedding_id from embeddings where segment_id = ? and"
            " case typeof(seq_id) when 'blob' then seq_id > ? else seq_id > ? end",
            (collection.metadata_segment, since.to_bytes(8, "big"), since),
        )
        return [one for (one,) in rows]

    def _read_metadata(self, collection: Collection, keys: NDArray[np.int64]) -> list[_Row]:
        if not len(keys):
            return []
        first, last = int(keys[0]), int(keys[-1])
        if last - first + 1 == len(keys):
            which = f"e.id between {first} and {last}"
        else:
            which = f"e.id in ({','.join(map(str, keys.tolist()))})"
        try:
            rows = self._db.execute(self._sql.replace("{which}", which), (collection.metadata_segment,)).fetchall()
        except sqlite3.DatabaseError as error:
            raise UnknownFormat(f"collection {collection.name} cannot be read: {error}") from error
        if self.catalog.has_arrays and rows:
            self._add_lists(rows)
        return rows

    def _add_lists(self, rows: list[_Row]) -> None:
        """Since 1.5 metadata may hold lists: one table row an element, in insertion order."""
        at_key = {row[0]: at for at, row in enumerate(rows)}
        lists: dict[int, dict[str, list[Any]]] = {}
        for key, name, text, integer, real, boolean in self._db.execute(
            "select id, key, string_value, int_value, float_value, bool_value from embedding_metadata_array"
            " where id between ? and ? order by rowid",
            (rows[0][0], rows[-1][0]),
        ):
            if key in at_key:
                value = (
                    text.decode()
                    if text is not None
                    else bool(boolean)
                    if boolean is not None
                    else integer
                    if integer is not None
                    else real
                )
                lists.setdefault(at_key[key], {}).setdefault(name.decode(), []).append(value)
        for at, found in lists.items():
            key, one, text, pairs = rows[at]
            merged = {**json.loads(b"{" + (pairs or b"") + b"}"), **found}
            rows[at] = (key, one, text, jsonb_text.text(merged)[1:-1].encode())

    def _with_vectors(self, collection: Collection, rows: list[_Row]) -> Rows:
        ids = [row[1] for row in rows]
        vectors, found = self._vectors(collection).find(ids)
        read = _rows(rows, vectors)
        if found.all():
            return read
        kept = read.take(np.flatnonzero(found).tolist())
        return Rows(
            kept.keys, kept.ids, kept.vectors, kept.texts, kept.metadatas, [ids[at] for at in np.flatnonzero(~found)]
        )

    def _vectors(self, collection: Collection) -> CollectionVectors:
        if self._current is None or self._current[0] != collection.id:
            self._forget_vectors()
            whole = with_whole_log(self._db, collection)
            self._current = (collection.id, CollectionVectors(self._db, self.catalog.path, whole))
        return self._current[1]

    def _forget_vectors(self) -> None:
        if self._current:
            self._current[1].close()
            self._current = None


def _rows(rows: list[_Row], vectors: NDArray[np.float32]) -> Rows:
    return Rows(
        np.fromiter((row[0] for row in rows), np.int64, len(rows)),
        [row[1] for row in rows],
        vectors,
        [row[2] for row in rows],
        [None if row[3] is None else b"{" + row[3] + b"}" for row in rows],
    )
