"""What a Chroma store holds: its collections, their segments, and how far the log runs ahead of the files.

A store is a directory with `chroma.sqlite3` and one folder per vector segment. tenants → databases → collections; a
collection has a METADATA segment (rows of `embeddings`) and a VECTOR segment (a folder). Writes go to the log
`embeddings_queue` first; a segment has applied the log up to its `max_seq_id`. The HNSW files are only written every
1,000 records, so small collections live wholly in the log.

The database is opened `immutable`: SQLite then takes no lock and can neither write nor recover. That is safe for a
store that nobody writes (a private copy, or a stopped store without a journal); `snapshot.py` decides which.

Source: chromadb 0.4.24 – 1.5.9, migrations/{sysdb,metadb,embeddings_queue}; segment/impl/.
"""

import json
import sqlite3
from array import array
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .chroma_pickle import read_id_map
from .errors import NotAStore, UnknownFormat

DATABASE_FILE = "chroma.sqlite3"
DEFAULT_TENANT, DEFAULT_DATABASE = "default_tenant", "default_database"

_TABLES = {"collections", "segments", "embeddings", "embedding_metadata", "embeddings_queue", "max_seq_id"}
_METADATA_SEGMENT = "urn:chroma:segment/metadata/sqlite"
_VECTOR_SEGMENTS = {"urn:chroma:segment/vector/hnsw-local-persisted", "urn:chroma:segment/vector/hnsw-local-memory"}
_SPACES = {"cosine", "l2", "ip"}


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

    @property
    def kind(self) -> str:
        """Return what Open WebUI uses it for. Source: open_webui/retrieval and routers, where collections are named."""
        for prefix, kind in (("file-", "file"), ("user-memory-", "memory"), ("web-search-", "web-search")):
            if self.name.startswith(prefix):
                return kind
        if self.name == "knowledge-bases":
            return "knowledge-bases"
        return "knowledge" if len(self.name) == 36 and self.name.count("-") == 4 else "other"


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest record of the log. While it is still there, everything newer has a greater seq_id."""

    seq: int
    topic: str
    id: str


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


def open_database(path: Path, *, cache_kib: int = 16384) -> sqlite3.Connection:
    """Open `chroma.sqlite3` so that nothing can be written. Text comes as bytes: nothing is decoded that is only passed
    on."""
    connection = sqlite3.connect(
        f"file:{quote(str((path / DATABASE_FILE).absolute()))}?mode=ro&immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = bytes
    connection.execute("pragma query_only = 1")
    connection.execute(f"pragma cache_size = -{cache_kib}")
    return connection


def read_catalog(path: Path, *, since: LogHead | None = None) -> Catalog:
    """Read the catalogue of a store that nobody writes. Raises NotAStore or UnknownFormat for anything but a local
    store of 0.4 – 1.x.

    With `since`, only the log after that record is looked at, so the time does not grow with the log; if the record is
    gone, all of it.
    """
    try:
        connection = open_database(path)
        try:
            return _read(connection, path, since)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise NotAStore(f"{DATABASE_FILE} cannot be read: {error}", hint="restore the store from a backup") from error


def _read(db: sqlite3.Connection, path: Path, since: LogHead | None) -> Catalog:
    tables = {name.decode() for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if missing := sorted(_TABLES - tables):
        raise NotAStore(
            f"{DATABASE_FILE} lacks the tables {', '.join(missing)}",
            hint="--data is the directory that holds vector_db",
        )
    columns = {name: _columns(db, name) for name in ("collections", "embedding_metadata")}
    applied = {
        segment.decode(): seq_id(value) for segment, value in db.execute("select segment_id, seq_id from max_seq_id")
    }
    counts = {
        segment.decode(): rows
        for segment, rows in db.execute("select segment_id, count(*) from embeddings group by segment_id")
    }
    found = [
        _Found.read(db, path, row, applied, counts) for row in _collection_rows(db, columns["collections"], tables)
    ]
    start = since.seq if since and _record(db, "seq_id = ?", since.seq) == since else 0
    log_rows = _read_log(db, {one.topic: one for one in found}, start)
    return Catalog(
        path=path,
        version_hint=_version_hint(columns["collections"], tables),
        collections=tuple(one.collection() for one in found),
        has_arrays="embedding_metadata_array" in tables
        and bool(db.execute("select exists (select 1 from embedding_metadata_array)").fetchone()[0]),
        has_booleans="bool_value" in columns["embedding_metadata"],
        log_rows=log_rows,
        head=_record(db, "seq_id = (select max(seq_id) from embeddings_queue) and ?", 1),
        log_start=start,
    )


def _record(db: sqlite3.Connection, where: str, value: int) -> LogHead | None:
    row = db.execute(f"select seq_id, topic, id from embeddings_queue where {where}", (value,)).fetchone()
    return LogHead(row[0], row[1].decode(), row[2].decode("utf-8", "replace")) if row else None


def seq_id(value: Any) -> int:
    """Return a seq_id: big-endian bytes in 0.4 – 0.6, a number in 1.x; upgraded stores mix both."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1].decode() for row in db.execute(f"pragma table_info({table})")}


def _collection_rows(db: sqlite3.Connection, columns: set[str], tables: set[str]) -> list[dict[str, Any]]:
    """Return collections with their tenant, database and configuration, whatever the schema's age."""
    config = "c.config_json_str" if "config_json_str" in columns else "null"
    schema = "c.schema_str" if "schema_str" in columns else "null"
    topic = "c.topic" if "topic" in columns else "null"
    if "databases" in tables and "database_id" in columns:
        owner, join = "d.tenant_id, d.name", "left join databases d on d.id = c.database_id"
    else:
        owner, join = f"'{DEFAULT_TENANT}', '{DEFAULT_DATABASE}'", ""
    names = ("id", "name", "dimension", "tenant", "database", "topic", "config", "schema")
    rows = db.execute(
        f"select c.id, c.name, c.dimension, {owner}, {topic}, {config}, {schema} from collections c {join}"
        " order by c.rowid"
    )
    return [dict(zip(names, map(_text, row), strict=True)) for row in rows]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@dataclass(slots=True)
class _Found:
    """A collection while the log is being read."""

    row: dict[str, Any]
    space: str
    metadata_segment: str
    vector_segment: str
    rows: int
    applied_metadata: int
    flushed_to: int
    topic: str
    log: "array[int]" = field(default_factory=lambda: array("q"))
    last: int = 0
    lag: int = 0

    @classmethod
    def read(
        cls, db: sqlite3.Connection, path: Path, row: dict[str, Any], applied: dict[str, int], counts: dict[str, int]
    ) -> "_Found":
        metadata, vector = _segments(db, row)
        return cls(
            row=row,
            space=_space(db, row),
            metadata_segment=metadata,
            vector_segment=vector,
            rows=counts.get(metadata, 0),
            applied_metadata=applied.get(metadata, 0),
            flushed_to=applied[vector] if vector in applied else _flushed_by_pickle(path / vector),
            topic=row["topic"] or f"persistent://default/default/{row['id']}",
        )

    def see(self, seqs: "array[int]") -> None:
        """Note the records of the log, ascending."""
        self.last = seqs[-1] if seqs else 0
        self.log = seqs[bisect_right(seqs, self.flushed_to) :]
        self.lag = len(seqs) - bisect_right(seqs, self.applied_metadata)

    def collection(self) -> Collection:
        row = self.row
        return Collection(
            id=row["id"],
            name=row["name"],
            tenant=row["tenant"] or DEFAULT_TENANT,
            database=row["database"] or DEFAULT_DATABASE,
            dimension=row["dimension"],
            space=self.space,
            metadata_segment=self.metadata_segment,
            vector_segment=self.vector_segment,
            topic=self.topic,
            rows=self.rows,
            watermark=max(self.last, self.applied_metadata, self.flushed_to),
            metadata_lag=self.lag,
            flushed_to=self.flushed_to,
            log=self.log,
        )


def _segments(db: sqlite3.Connection, row: dict[str, Any]) -> tuple[str, str]:
    """Return the ids of the METADATA and the VECTOR segment ('' where there is none yet)."""
    found = {"METADATA": "", "VECTOR": ""}
    for raw in db.execute("select id, type, scope from segments where collection = ?", (row["id"],)):
        segment, kind, scope = (value.decode() for value in raw)
        if scope not in found or (kind != _METADATA_SEGMENT and kind not in _VECTOR_SEGMENTS):
            raise UnknownFormat(f"collection {row['name']} has a segment of type {kind}, scope {scope}")
        found[scope] = segment
    return found["METADATA"], found["VECTOR"]


def _space(db: sqlite3.Connection, row: dict[str, Any]) -> str:
    """Return the distance: from the collection's metadata, else its configuration (0.6), else its schema (1.x), else
    l2."""
    stored = db.execute(
        "select str_value from collection_metadata where collection_id = ? and key = 'hnsw:space'", (row["id"],)
    ).fetchone()
    space = _text(stored[0]) if stored and stored[0] else None
    if space is None and row["config"]:
        config = json.loads(row["config"])
        space = (config.get("hnsw") or config.get("hnsw_configuration") or {}).get("space")
    if space is None and row["schema"]:
        space = next((one for one in _SPACES if f'"space":"{one}"' in row["schema"].replace(" ", "")), None)
    if space is not None and space not in _SPACES:
        raise UnknownFormat(f"collection {row['name']} has the distance {space}")
    return space or "l2"


def _flushed_by_pickle(folder: Path) -> int:
    """In 0.4 only the pickle knows how far the HNSW files reach."""
    pickle = folder / "index_metadata.pickle"
    return (read_id_map(pickle).max_seq_id or 0) if folder.name and pickle.is_file() else 0


def _read_log(db: sqlite3.Connection, by_topic: dict[str, _Found], start: int) -> int:
    """Note for each collection what its files do not hold yet. One scan of the log; the vectors in it are not
    touched."""
    seen: dict[bytes, array[int]] = defaultdict(lambda: array("q"))
    for seq, topic in db.execute(
        "select seq_id, topic from embeddings_queue where seq_id > ? order by seq_id", (start,)
    ):
        seen[topic].append(seq)
    for topic, one in by_topic.items():
        one.see(seen.get(topic.encode(), array("q")))
    return sum(map(len, seen.values()))


def _version_hint(columns: set[str], tables: set[str]) -> str:
    if "embedding_metadata_array" in tables:
        return "1.5"
    if "schema_str" in columns:
        return "1.x"
    if "config_json_str" in columns:
        return "0.6" if "embeddings_queue_config" in tables else "0.5"
    return "0.5" if "databases" in tables and "topic" not in columns else "0.4"
