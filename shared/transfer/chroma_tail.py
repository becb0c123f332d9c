"""What one collection's newest log records did, without looking at anything older.

As long as a collection has not been flushed since the bulk pass, the records after its watermark are all in the log.
Replaying only these tells for every touched id whether it is there now and, if its vector changed, which record carries
the new one. A row whose texts or metadata changed, but not its vector, keeps the vector it has at the target: it was
verified there.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from .chroma_catalog import Collection
from .chroma_vectors import ADD, DELETE, UPDATE, UPSERT
from .errors import UnknownFormat


@dataclass(frozen=True, slots=True)
class Tail:
    """Ids touched since the watermark. `vectors` maps an id to the record with its new vector."""

    touched: tuple[bytes, ...]
    vectors: dict[bytes, int]


def read_tail(
    db: sqlite3.Connection, collection: Collection, since: int, existed: Callable[[list[bytes]], set[bytes]]
) -> Tail:
    """Replay the records after `since`; `existed` tells which ids were there before them."""
    records = db.execute(
        "select seq_id, id, operation, vector is not null from embeddings_queue where seq_id > ? and topic ="
        " ? order by seq_id",
        (since, collection.topic),
    ).fetchall()
    touched = tuple(dict.fromkeys(one for _, one, _, _ in records))
    there = existed(list(touched))
    vectors: dict[bytes, int] = {}
    for seq, one, operation, has_vector in records:
        if operation not in (ADD, UPDATE, UPSERT, DELETE):
            raise UnknownFormat(f"collection {collection.name}: the log has operation {operation}")
        if operation == DELETE:
            there.discard(one)
            vectors.pop(one, None)
        elif operation == UPSERT or (one in there) == (operation == UPDATE):
            there.add(one)
            if has_vector:
                vectors[one] = seq
    return Tail(touched, vectors)
