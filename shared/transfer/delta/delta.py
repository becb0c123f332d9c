"""After the stop: only what changed since the bulk pass, so that the time does not grow with what did not.

For every collection the ledger knows a watermark, the last log record that the copy has seen. Every write enters
Chroma's log before anything else, so a collection whose newest record is still that one holds what was copied, and
verified, then: neither its rows nor its files are looked at. Of the others only what was written or deleted since is
read (`changes`) and exchanged (`exchange`), many collections in one transaction, which also moves their watermarks. So
a killed delta repeats only its last transaction.

What is read is read where it lies if the store stands still. Whether it does is asked before every commit
(`chroma.quiet_reading`): nothing is committed that was read from files in motion.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from ..chroma.catalog import Catalog, Collection
from ..chroma.quiet_reading import Reading, readable_now
from ..chroma.selection import Selection
from ..chroma.sources import open_source, read_movable, with_fallback
from ..errors import ConfigurationError, PermanentError
from ..ledger import ledger, ledger_schema
from ..pgvector import document_chunk
from ..pgvector.database import connected
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn
from .changes import Change, Changes
from .exchange import Exchange

Result = TypeVar("Result")
Known = Mapping[str, ledger.CopiedCollection]
"""What the ledger knows, by Chroma's id of the collection."""


@dataclass(slots=True)
class Carried:
    """What the delta did."""

    written: int = 0
    deleted: int = 0
    collections: int = 0
    by_comparison: int = 0
    unchanged: int = 0
    whole_log: bool = False

    @property
    def rows(self) -> int:
        """Count the rows that were written or deleted."""
        return self.written + self.deleted

    def as_json(self) -> dict[str, Any]:
        """Return it for a result line."""
        return {
            "written": self.written,
            "deleted": self.deleted,
            "collections_changed": self.collections,
            "collections_unchanged": self.unchanged,
            "collections_compared": self.by_comparison,
            "whole_log_read": self.whole_log,
        }


def copy_delta(
    url: str, store: Path, scratch: Path, *, run: str, selection: Selection | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Bring document_chunk to what the stopped store holds now; return counts and seconds. Safe to run again."""
    started = time.perf_counter()
    chosen = selection or Selection()
    with connected(url) as connection, readable_now(store, scratch / "delta", progress=progress) as reading:

        def use(catalog: Catalog, known: Known) -> Carried:
            return carry(connection, run, catalog, known, chosen, reading, progress)

        carried, reader = changed_since_copy(connection, reading, scratch, run, chosen, use, progress)
    seconds = round(time.perf_counter() - started, 3)
    return {"run": run, **carried.as_json(), "reader": reader, "seconds": seconds}


def changed_since_copy(
    connection: "psycopg.Connection",
    reading: Reading,
    scratch: Path | None,
    run: str,
    selection: Selection,
    use: Callable[[Catalog, Known], Result],
    progress: Progress = silent,
) -> tuple[Result, str]:
    """Call `use` with a catalogue of the collections that changed since they were copied, and what the ledger knows of
    all; see `with_fallback`.

    Without a scratch directory there is no falling back: UnknownFormat is raised.
    """
    if not ledger_schema.exists(connection) or not (known := ledger.copied_collections(connection, run)):
        raise ConfigurationError(f"there is no bulk pass of run {run}", hint="run copy-vectors without --delta first")
    head = ledger.log_head(connection, run)
    copied = {one.id: (one.name, one.watermark) for one in known.values()}

    def undisturbed(catalog: Catalog) -> Result:
        if catalog.path == reading.path:
            reading.include(one.vector_segment for one in selection.of(catalog))
            return use(catalog, known)
        connection.rollback()  # of what the attempt to read the files left; it may have carried some of it over
        return use(catalog, ledger.copied_collections(connection, run))

    if scratch is None:
        return undisturbed(read_movable(reading.path, selection, since=head, copied=copied)), "files"
    return with_fallback(
        reading.store,
        reading.path,
        scratch,
        undisturbed,
        selection=selection,
        since=head,
        copied=copied,
        progress=progress,
    )


def carry(
    connection: "psycopg.Connection",
    run: str,
    catalog: Catalog,
    copied: Known,
    selection: Selection,
    reading: Reading,
    progress: Progress = silent,
) -> Carried:
    """Bring document_chunk to what a catalogue's changed collections hold now, and commit."""
    carried = Carried(whole_log=catalog.complete_log)
    column = document_chunk.require_table(connection)
    known = dict(copied)
    collections = selection.of(catalog)
    _require_fit(collections, column)
    changed = [one for one in collections if not _is_as_copied(one, known.get(one.id))]
    carried.unchanged = len(catalog.unchanged & known.keys()) + len(collections) - len(changed)
    with open_source(catalog) as source:
        exchange = Exchange(connection, run, source, column, reading.require_still)
        for one in _gone(known, catalog, collections):
            carried.deleted += exchange.drop(one)
            carried.collections += 1
            del known[one.id]
        for group in Changes(connection, run, source).groups(changed, known):
            progress("copy changes", carried.collections, len(changed), "collections")
            _count(carried, group, exchange.apply(group))
    progress("copy changes", len(changed), len(changed), "collections")
    ledger.set_log_head(connection, run, catalog.head, keep_first=False)
    reading.require_still()
    connection.commit()
    return carried


def _gone(known: Known, catalog: Catalog, collections: tuple[Collection, ...]) -> list[ledger.CopiedCollection]:
    """Return what is no longer there under the name it was copied by; a renamed collection is then copied anew."""
    stay = {one.id: one.name for one in collections}
    there = (one for one in known.values() if one.watermark != ledger.GONE and one.id not in catalog.unchanged)
    return [one for one in there if stay.get(one.id) != one.name]


def _count(carried: Carried, group: list[Change], rows: tuple[int, int]) -> None:
    carried.written += rows[0]
    carried.deleted += rows[1]
    carried.collections += len(group)
    carried.by_comparison += sum(one.compared for one in group)


def _is_as_copied(collection: Collection, known: ledger.CopiedCollection | None) -> bool:
    return known is not None and (known.name, known.watermark) == (collection.name, collection.watermark)


def _require_fit(collections: tuple[Collection, ...], column: VectorColumn) -> None:
    too_long = [one.name for one in collections if (one.dimension or 0) > column.dimension]
    if too_long:
        raise PermanentError(f"{len(too_long)} collections no longer fit {column.sql}: {', '.join(too_long[:20])}")
