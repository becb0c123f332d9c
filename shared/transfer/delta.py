"""After the stop: only what changed since the bulk pass, so that the time does not grow with what did not.

For every collection the ledger knows a watermark, the last log record that the bulk pass saw. If nothing is newer, the
collection is not touched. If its newer records are still in the log, only these are replayed. If the HNSW files were
written meanwhile, chromadb may have purged them: then the rows' own seq_ids tell what was written and the ids what was
deleted, which costs a pass over that collection, and is reported.

One transaction a collection deletes the touched rows, copies the current ones, reads them back, and moves the
watermark. So a killed delta repeats only its last collection.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from . import document_chunk, ledger
from .batches import copy_slices
from .chroma_catalog import Catalog, Collection
from .chroma_store import ChromaStore
from .copy_binary import VectorColumn, digest_sql
from .database import connected
from .errors import ConfigurationError, PermanentError, VerificationFailed
from .progress import Progress, silent
from .selection import Selection, require_movable
from .snapshot import readable
from .sources import Source, open_source, with_fallback

_SLICE = 1000


@dataclass(slots=True)
class Changes:
    """What the delta did."""

    written: int = 0
    deleted: int = 0
    collections: int = 0
    by_comparison: int = 0
    unchanged: int = 0
    whole_log: bool = False


def copy_delta(
    url: str, store: Path, scratch: Path, *, run: str, selection: Selection | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Bring document_chunk to what the stopped store holds now; return counts and seconds. Safe to run again."""
    started = time.perf_counter()
    chosen = selection or Selection()
    with connected(url) as connection:
        if not ledger.exists(connection) or not ledger.copied_collections(connection, run):
            raise ConfigurationError(
                f"there is no bulk pass of run {run}", hint="run copy-vectors without --delta first"
            )
        head = ledger.log_head(connection, run)
    with readable(store, scratch / "delta", progress=progress) as path:
        changes, reader = with_fallback(
            store,
            path,
            scratch,
            lambda catalog: _apply_all(url, run, catalog, chosen.of(catalog), progress),
            selection=chosen,
            since=head,
            progress=progress,
        )
    return {
        "run": run,
        "written": changes.written,
        "deleted": changes.deleted,
        "collections_changed": changes.collections,
        "collections_unchanged": changes.unchanged,
        "collections_compared": changes.by_comparison,
        "whole_log_read": changes.whole_log,
        "reader": reader,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _apply_all(
    url: str, run: str, catalog: Catalog, collections: tuple[Collection, ...], progress: Progress
) -> Changes:
    with connected(url) as connection, open_source(catalog) as source:
        column = document_chunk.require_table(connection)
        known = ledger.copied_collections(connection, run)
        changed = [one for one in collections if one.id not in known or known[one.id].watermark != one.watermark]
        _require_fit(collections, column)
        if any(one.id not in known for one in changed):
            require_movable(catalog, collections, column)
        delta = _Delta(connection, run, source, column)
        there = {one.id for one in collections}
        for one in known.values():
            if one.id not in there:
                delta.drop(one)
        for at, collection in enumerate(changed):
            progress("copy changes", at, len(changed), "collections")
            delta.apply(collection, known.get(collection.id))
        progress("copy changes", len(changed), len(changed), "collections")
        ledger.set_log_head(connection, run, catalog.head, keep_first=False)
    delta.changes.unchanged = len(collections) - len(changed)
    delta.changes.whole_log = catalog.complete_log
    return delta.changes


def _require_fit(collections: tuple[Collection, ...], column: VectorColumn) -> None:
    too_long = [one.name for one in collections if (one.dimension or 0) > column.dimension]
    if too_long:
        raise PermanentError(f"{len(too_long)} collections no longer fit {column.sql}: {', '.join(too_long[:20])}")


class _Delta:
    """Applies changes, one collection and one transaction at a time."""

    def __init__(self, connection: "psycopg.Connection", run: str, source: Source, column: VectorColumn) -> None:
        self._connection = connection
        self._run = run
        self._source = source
        self.column = column
        self.changes = Changes()

    def drop(self, known: ledger.CopiedCollection) -> None:
        """Delete what was copied from a collection that no longer exists."""
        ids = [
            one
            for (one,) in self._connection.execute(
                "select distinct unnest(ids) from scaleout.batch where run = %s and collection = %s",
                (self._run, known.id),
            )
        ]
        rows, digest = self._delete(ids, known.name, known.dimension)
        if rows:
            ledger.add_batch(
                self._connection, self._run, ledger.Batch(known.id, "delta", -rows, -digest, [], written=0)
            )
            self.changes.deleted += rows
            self.changes.collections += 1
        self._connection.commit()

    def apply(self, collection: Collection, known: ledger.CopiedCollection | None) -> None:
        """Bring one collection up to date and commit."""
        if known is None:
            entry = ledger.CopiedCollection(collection.id, collection.name, collection.dimension or 0, 0)
            ledger.add_collections(self._connection, self._run, [entry])
        elif not known.dimension and collection.dimension:
            self._connection.execute(
                "update scaleout.collection set dimension = %s where run = %s and id = %s",
                (collection.dimension, self._run, collection.id),
            )
        since = known.watermark if known else 0
        self.changes.collections += 1
        touched, new_vectors = self._touched(collection, since)
        touched = self._without_foreign(collection, touched)
        for at in range(0, len(touched), 5 * _SLICE):
            self._exchange(collection, touched[at : at + 5 * _SLICE], new_vectors)
        ledger.move_watermark(self._connection, self._run, collection.id, collection.watermark)
        self._connection.commit()

    def _touched(self, collection: Collection, since: int) -> tuple[list[bytes], dict[bytes, int] | None]:
        """Return the ids to look at, and where their new vectors are; None when all vectors have to be read anew."""
        if isinstance(self._source, ChromaStore) and since and collection.flushed_to <= since < collection.watermark:
            tail = self._source.tail(collection, since, lambda ids: self._existed(collection, ids))
            return list(tail.touched), tail.vectors
        at_target = set(self._copied_ids(collection))
        now = set(self._source.ids(collection))
        if since and collection.watermark > since:
            self.changes.by_comparison += 1
            return self._source.written_since(collection, since) + sorted(at_target - now), None
        # New, or its log was rewound: everything.
        return sorted(now | at_target), None

    def _existed(self, collection: Collection, ids: list[bytes]) -> set[bytes]:
        names = [one.decode("utf-8", "replace") for one in ids]
        copied = self._connection.execute(
            "select id from document_chunk where id = any(%s) and collection_name = %s", (names, collection.name)
        ).fetchall()
        left_out = self._connection.execute(
            "select f ->> 'id' from scaleout.batch, jsonb_array_elements(left_out) f"
            " where run = %s and collection = %s and left_out <> '[]' and f ->> 'id' = any(%s)",
            (self._run, collection.id, names),
        ).fetchall()
        return {one.encode() for (one,) in [*copied, *left_out]}

    def _copied_ids(self, collection: Collection) -> Iterator[bytes]:
        rows = self._connection.execute("select id from document_chunk where collection_name = %s", (collection.name,))
        return (one.encode() for (one,) in rows)

    def _without_foreign(self, collection: Collection, touched: list[bytes]) -> list[bytes]:
        """Rows that were there before the run are respected."""
        before = self._connection.execute(
            "select exists (select 1 from scaleout.batch where run = %s and kind = 'before')", (self._run,)
        ).fetchone()
        if not (before and before[0]) or not touched:
            return touched
        names = [one.decode("utf-8", "replace") for one in touched]
        there = {
            one for (one,) in self._connection.execute("select id from document_chunk where id = any(%s)", (names,))
        }
        foreign = there - ledger.own_ids(self._connection, self._run, there)
        return [one for one, name in zip(touched, names, strict=True) if name not in foreign]

    def _exchange(self, collection: Collection, touched: list[bytes], new_vectors: dict[bytes, int] | None) -> None:
        """Replace these rows at the target by what the source has now."""
        if new_vectors is None or not isinstance(self._source, ChromaStore):
            slices = [
                self._source.read_ids(collection, touched[at : at + _SLICE]) for at in range(0, len(touched), _SLICE)
            ]
        else:
            slices = [
                self._source.read_changed(collection, touched, new_vectors, lambda ids: self._vectors(collection, ids))
            ]
        names = [one.decode("utf-8", "replace").replace("\0", "") for one in touched]
        gone_rows, gone_digest = self._delete(names, collection.name, collection.dimension or 0)
        written = copy_slices(
            self._connection, collection.name, self.column, iter(slices), run=self._run, careful=False
        )
        batch = ledger.Batch(
            collection=collection.id,
            kind="delta",
            rows=len(written.ids) - gone_rows,
            digest=written.digest - gone_digest,
            written=written.digest,
            ids=written.ids,
            left_out=tuple(asdict(finding) for finding in written.findings),
        )
        ledger.add_batch(self._connection, self._run, batch)
        self._read_back(collection, written.ids, written.digest)
        self.changes.written += len(written.ids)
        self.changes.deleted += max(0, gone_rows - len(written.ids))

    def _vectors(self, collection: Collection, ids: list[bytes]) -> dict[bytes, bytes]:
        """Return vectors from the target, as the embedding's little-endian float32: they have not changed since they
        were copied."""
        if self.column.half:
            return {}
        rows = self._connection.cursor(binary=True).execute(
            "select id, vector_send(subvector(vector, 1, %s)) from document_chunk where id = any(%s) and"
            " collection_name = %s",
            (collection.dimension, [one.decode("utf-8", "replace") for one in ids], collection.name),
        )
        return {one.encode(): np.frombuffer(sent, ">f4", offset=4).astype("<f4").tobytes() for one, sent in rows}

    def _delete(self, ids: list[str], name: str, dimension: int) -> tuple[int, int]:
        """Delete rows and return how many and their digest."""
        if not ids:
            return 0, 0
        row = self._connection.execute(
            "with gone as (delete from document_chunk where id = any(%s) and collection_name = %s returning *)"
            f" select count(*), coalesce(sum({digest_sql(self.column, str(dimension))}), 0) from gone",
            (ids, name),
        ).fetchone()
        assert row is not None
        return row[0], int(row[1])

    def _read_back(self, collection: Collection, ids: list[str], digest: int) -> None:
        row = self._connection.execute(
            f"select count(*), coalesce(sum({digest_sql(self.column, str(collection.dimension or 0))}), 0)"
            " from document_chunk"
            " where id = any(%s) and collection_name = %s",
            (ids, collection.name),
        ).fetchone()
        if row is None or (row[0], int(row[1])) != (len(ids), digest):
            raise VerificationFailed(
                f"collection {collection.name}: {len(ids)} changed rows read back differently",
                hint="run verify-vectors --repair",
            )
