"""What a Chroma store holds: its collections, their segments, and how far the log runs ahead of the files.

A store is a directory with `chroma.sqlite3` and one folder per vector segment. tenants → databases → collections; a
collection has a METADATA segment (rows of `embeddings`) and a VECTOR segment (a folder). Writes go to the log
`embeddings_queue` first; a segment has applied the log up to its `max_seq_id`. The HNSW files are only written every
1,000 records, so small collections live wholly in the log.

The database is opened `immutable`: SQLite then takes no lock and can neither write nor recover. That is safe for a
store that nobody writes (a private copy, or a stopped store without a journal); `snapshot.py` decides which.

Source: chromadb 0.4.24 – 1.5.9, migrations/{sysdb,metadb,embeddings_queue}; segment/impl/.
"""

import sqlite3
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import NotAStore, UnknownFormat
from .index_metadata import read_id_map
from .schema import SPACES, as_text, collection_rows, columns_of, configured_space, tables_of, version_hint

DATABASE_FILE = "chroma.sqlite3"

_SEGMENT_KINDS = {
    b"urn:chroma:segment/metadata/sqlite",
    b"urn:chroma:segment/vector/hnsw-local-persisted",
    b"urn:chroma:segment/vector/hnsw-local-memory",
}
_SCOPES = {b"METADATA": "METADATA", b"VECTOR": "VECTOR"}
_MOST_MAPPED = 1 << 40  # SQLite cuts it down to its own limit, 2 GiB as a rule


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection. `log` are the seq_ids not yet in the HNSW files; `watermark` is the last change it has seen at
    all."""

    id: str
    name: str
    tenant: str
    database: str
    dimension: int | None
    space: str
    metadata_segment: str
    vector_segment: str
    topic: str
    rows: int
    watermark: int
    metadata_lag: int
    flushed_to: int
    log: "array[int]" = field(repr=False, compare=False)
    log_from: int = 0
    """Records up to this one are not in `log`, though the files may not hold them; 0 when there are none."""

    @property
    def kind(self) -> str:
        """Return what Open WebUI uses it for."""
        return kind_of(self.name)


def kind_of(name: str) -> str:
    """Return what Open WebUI uses a collection for. Source: open_webui/retrieval and routers, where they are named."""
    for prefix, kind in (("file-", "file"), ("user-memory-", "memory"), ("web-search-", "web-search")):
        if name.startswith(prefix):
            return kind
    if name == "knowledge-bases":
        return "knowledge-bases"
    return "knowledge" if len(name) == 36 and name.count("-") == 4 else "other"


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest record of the log. While it is still there, everything newer has a greater seq_id."""

    seq: int
    topic: str
    id: str


Copied = tuple[str, int]
"""The name and the watermark of a collection when it was copied."""

Includes = Callable[[str, str, str], bool]
"""Tells by tenant, database and name whether a collection is wanted."""

_NOTHING: "array[int]" = array("q")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that reading rows needs to know about a store; made once and shared by the workers."""

    path: Path
    version_hint: str
    collections: tuple[Collection, ...]
    has_arrays: bool
    has_booleans: bool
    log_rows: int
    head: LogHead | None
    log_start: int
    """Records up to this one were not looked at; 0 when all were."""
    reader: str = "files"
    unchanged: frozenset[str] = frozenset()
    """Ids of collections that are as they were copied; they are not among `collections`."""

    @property
    def complete_log(self) -> bool:
        """Tell whether all of the log was looked at."""
        return self.log_start == 0

    @property
    def rows(self) -> int:
        """Count the rows of all collections."""
        return sum(collection.rows for collection in self.collections)


def is_store(path: Path) -> bool:
    """Tell whether a directory holds a Chroma store of chromadb 0.4 or later."""
    return (path / DATABASE_FILE).is_file()


def open_database(path: Path, *, cache_kib: int = 16384, mapped: bool = False) -> sqlite3.Connection:
    """Open `chroma.sqlite3` so that nothing can be written. Text comes as bytes: nothing is decoded that is only passed
    on.

    `mapped` halves the time of a scan; the pages it touches count as the process's own memory until they are needed.
    """
    connection = sqlite3.connect(
        f"file:{quote(str((path / DATABASE_FILE).absolute()))}?mode=ro&immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = bytes
    connection.execute("pragma query_only = 1")
    connection.execute(f"pragma cache_size = -{cache_kib}")
    connection.execute(f"pragma mmap_size = {_MOST_MAPPED if mapped else 0}").fetchone()
    return connection


def read_catalog(
    path: Path,
    *,
    since: LogHead | None = None,
    copied: Mapping[str, Copied] | None = None,
    includes: Includes = lambda tenant, database, name: True,
) -> Catalog:
    """Read the catalogue of a store that nobody writes. Raises NotAStore or UnknownFormat for anything but a local
    store of 0.4 – 1.x.

    With `since`, only the log after that record is looked at, so the time does not grow with the log; if the record is
    gone, all of it. With `copied`, only collections are listed whose name or last change is another one, and with
    `includes` only the wanted; neither the rows nor the files of the others are looked at.
    """
    try:
        # A catch-up looks at the live store, whose database may shrink under it; it scans nothing long either.
        connection = open_database(path, mapped=since is None)
        try:
            return _read(connection, path, since, copied, includes)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise NotAStore(f"{DATABASE_FILE} cannot be read: {error}", hint="restore the store from a backup") from error


def _read(
    db: sqlite3.Connection,
    path: Path,
    since: LogHead | None,
    copied: Mapping[str, Copied] | None,
    includes: Includes,
) -> Catalog:
    tables = tables_of(db)
    columns = {name: columns_of(db, name) for name in ("collections", "embedding_metadata")}
    start = since.seq if since and _record(db, "seq_id = ?", since.seq) == since else 0
    store = _Store.read(db, path, start, columns["collections"])
    listed = collection_rows(db, columns["collections"], tables)
    rows = [row for row in listed if includes(row["tenant"], row["database"], row["name"])]
    changed = [row for row in rows if not (copied and store.is_as_copied(row, copied.get(row["id"])))]
    counts = store.counts([row["id"] for row in changed] if copied else None)
    return Catalog(
        path=path,
        version_hint=version_hint(columns["collections"], tables),
        collections=tuple(
            store.collection(row, counts, None if copied is None else row["id"] in copied) for row in changed
        ),
        has_arrays="embedding_metadata_array" in tables
        and bool(db.execute("select exists (select 1 from embedding_metadata_array)").fetchone()[0]),
        has_booleans="bool_value" in columns["embedding_metadata"],
        log_rows=sum(map(len, store.log.values())),
        head=_record(db, "seq_id = (select max(seq_id) from embeddings_queue) and ?", 1),
        log_start=start,
        unchanged=frozenset({row["id"] for row in rows} - {row["id"] for row in changed}),
    )


def _record(db: sqlite3.Connection, where: str, value: int) -> LogHead | None:
    row = db.execute(f"select seq_id, topic, id from embeddings_queue where {where}", (value,)).fetchone()
    return LogHead(row[0], row[1].decode(), row[2].decode("utf-8", "replace")) if row else None


def seq_id(value: Any) -> int:
    """Return a seq_id: big-endian bytes in 0.4 – 0.6, a number in 1.x; upgraded stores mix both."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)


@dataclass(frozen=True, slots=True)
class _Store:
    """What is read once for all collections: their segments, how far these are, and the log."""

    db: sqlite3.Connection
    path: Path
    segments: dict[str, dict[str, str]]
    applied: dict[str, int]
    log: "dict[str, array[int]]"
    start: int
    columns: set[str]

    @classmethod
    def read(cls, db: sqlite3.Connection, path: Path, start: int, columns: set[str]) -> "_Store":
        applied = db.execute("select segment_id, seq_id from max_seq_id")
        return cls(
            db=db,
            path=path,
            segments=_segments(db),
            applied={segment.decode(): seq_id(value) for segment, value in applied},
            log=_read_log(db, start),
            start=start,
            columns=columns,
        )

    def is_as_copied(self, row: dict[str, Any], copied: Copied | None) -> bool:
        """Tell whether a collection has its name and its last change still.

        A write enters the log before anything else, so no write is newer than what log and segments have seen. How far
        the HNSW files reach does not matter: they only hold what was in the log.
        """
        metadata, vector = self._segments_of(row)
        marks = (*self._seqs(row)[-1:], self.applied.get(metadata, 0), self.applied.get(vector, 0))
        return copied == (row["name"], max(marks))

    def collection(self, row: dict[str, Any], counts: dict[str, int], known: bool | None) -> Collection:
        metadata, vector = self._segments_of(row)
        applied, seqs = self.applied.get(metadata, 0), self._seqs(row)
        flushed = self.applied[vector] if vector in self.applied else _flushed_by_pickle(self.path / vector)
        return Collection(
            id=row["id"],
            name=row["name"],
            tenant=row["tenant"],
            database=row["database"],
            dimension=row["dimension"],
            space=self._space(row),
            metadata_segment=metadata,
            vector_segment=vector,
            topic=_topic(row),
            rows=counts.get(metadata, 0),
            watermark=max(*seqs[-1:], applied, flushed),
            metadata_lag=len(seqs) - bisect_right(seqs, applied),
            flushed_to=flushed,
            log=seqs[bisect_right(seqs, flushed) :],
            log_from=0 if known is False and self._is_newer(metadata) else self.start,
        )

    def _is_newer(self, segment: str) -> bool:
        """Tell whether no row is older than what was looked at of the log; of a collection that was not copied then,
        nothing is older."""
        row = self.db.execute(
            "select exists (select 1 from embeddings where segment_id = ? and"
            " case typeof(seq_id) when 'blob' then seq_id <= ? else seq_id <= ? end)",
            (segment, self.start.to_bytes(8, "big"), self.start),
        ).fetchone()
        return not row[0]

    def _space(self, row: dict[str, Any]) -> str:
        """Return the distance: from the collection's metadata, else as it is configured, else l2."""
        wanted = "select str_value from collection_metadata where collection_id = ? and key = 'hnsw:space'"
        value = self.db.execute(wanted, (row["id"],)).fetchone()
        space = as_text(value and value[0]) or configured_space(self.db, self.columns, row["id"]) or "l2"
        if space not in SPACES:
            raise UnknownFormat(f"collection {row['name']} has the distance {space}")
        return space

    def counts(self, ids: list[str] | None) -> dict[str, int]:
        """Count rows by metadata segment; of these collections only, if they are given."""
        if ids is None:
            found = self.db.execute("select segment_id, count(*) from embeddings group by segment_id").fetchall()
            return {segment.decode(): rows for segment, rows in found}
        segments = [self.segments[one]["METADATA"] for one in ids if one in self.segments]
        count = "select count(*) from embeddings where segment_id = ?"
        return {one: self.db.execute(count, (one,)).fetchone()[0] for one in segments}

    def _segments_of(self, row: dict[str, Any]) -> tuple[str, str]:
        found = self.segments.get(row["id"], {})
        return found.get("METADATA", ""), found.get("VECTOR", "")

    def _seqs(self, row: dict[str, Any]) -> "array[int]":
        return self.log.get(_topic(row), _NOTHING) if self.log else _NOTHING


def _topic(row: dict[str, Any]) -> str:
    return str(row["topic"] or f"persistent://default/default/{row['id']}")


def _segments(db: sqlite3.Connection) -> dict[str, dict[str, str]]:
    """Return for every collection the ids of its METADATA and VECTOR segments, as far as they are there yet."""
    found: dict[str, dict[str, str]] = defaultdict(lambda: {"METADATA": "", "VECTOR": ""})
    for collection, segment, kind, scope in db.execute(
        "select collection, id, type, scope from segments where collection is not null"
    ):
        name = _SCOPES.get(scope)
        if name is None or kind not in _SEGMENT_KINDS:
            what = f"a segment of type {as_text(kind)}, scope {as_text(scope)}"
            raise UnknownFormat(f"collection {as_text(collection)} has {what}")
        found[collection.decode()][name] = segment.decode()
    return found


def _flushed_by_pickle(folder: Path) -> int:
    """In 0.4 only the pickle knows how far the HNSW files reach."""
    pickle = folder / "index_metadata.pickle"
    return (read_id_map(pickle).max_seq_id or 0) if folder.name and pickle.is_file() else 0


def _read_log(db: sqlite3.Connection, start: int) -> "dict[str, array[int]]":
    """Return the records after `start`, ascending, by topic. One scan of the log; the vectors in it are not touched."""
    seen: dict[bytes, array[int]] = defaultdict(lambda: array("q"))
    for seq, topic in db.execute(
        "select seq_id, topic from embeddings_queue where seq_id > ? order by seq_id", (start,)
    ):
        seen[topic].append(seq)
    return {topic.decode(): seqs for topic, seqs in seen.items()}
