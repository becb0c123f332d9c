"""What one collection's newest log records did, without looking at anything older.

As long as a collection has not been flushed since the bulk pass, the records after its watermark are all in the log.
Replaying only these tells for every touched id whether it is there now and, if its vector changed, which record carries
the new one. A row whose texts or metadata changed, but not its vector, keeps the vector it has at the target: it was
verified there.
"""

import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..errors import UnknownFormat
from .catalog import Collection
from .vectors import ADD, DELETE, UPDATE, UPSERT, select_log


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log."""

    seq: int
    id: bytes
    operation: int
    has_vector: bool


def read_records(db: sqlite3.Connection, collection: Collection, since: int) -> list[LogRecord]:
    """Return a collection's records after `since`, ascending; the catalogue must have looked that far back.

    They are fetched by their numbers: the log has no index by collection, and others may have written far more.
    """
    seqs = collection.log[bisect_right(collection.log, since) :].tolist()
    rows = select_log(db, "seq_id, id, operation, vector is not null", seqs, collection.topic)
    if len(rows) != len(seqs):
        raise UnknownFormat(f"collection {collection.name}: {len(seqs) - len(rows)} records left the log")
    return [LogRecord(seq, one, operation, bool(has_vector)) for seq, one, operation, has_vector in rows]


def with_whole_log(db: sqlite3.Connection, collection: Collection) -> Collection:
    """Return the collection with all the records that its files do not hold: a vector that has not changed since may
    be in any of them, and whether an add or an update counts depends on those before it.

    Costs a pass over the log, so it is only done when a vector is in neither a newer record nor the target.
    """
    if collection.log_from <= collection.flushed_to:
        return collection
    older = db.execute(
        "select seq_id from embeddings_queue where seq_id > ? and seq_id <= ? and topic = ? order by seq_id",
        (collection.flushed_to, collection.log_from, collection.topic),
    )
    return replace(collection, log=array("q", (seq for (seq,) in older)) + collection.log, log_from=0)


def new_vectors(collection: Collection, records: Iterable[LogRecord], there: set[bytes]) -> dict[bytes, int]:
    """Replay records over the ids that were there before them: return which record holds the new vector of an id.

    Chroma ignores an add of an id that exists and an update of one that does not.
    """
    exist = set(there)
    vectors: dict[bytes, int] = {}
    for record in records:
        if record.operation not in (ADD, UPDATE, UPSERT, DELETE):
            raise UnknownFormat(f"collection {collection.name}: the log has operation {record.operation}")
        if record.operation == DELETE:
            exist.discard(record.id)
            vectors.pop(record.id, None)
        elif record.operation == UPSERT or (record.id in exist) == (record.operation == UPDATE):
            exist.add(record.id)
            if record.has_vector:
                vectors[record.id] = record.seq
    return vectors
