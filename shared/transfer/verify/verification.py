"""Proves that document_chunk holds what the store holds, names what differs, and mends only that.

Always: for every collection the rows and the digest in the table are those of the ledger (which were taken from the
source while copying), the padding is zero, the source counts the same rows, and sampled queries have the same nearest
neighbours. `full` also compares every row, read back by id. A collection that fails is compared row by row, so the
error names ids; `repair` copies exactly these again.

"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ..chroma.catalog import Catalog, Collection, read_catalog
from ..chroma.selection import Selection
from ..chroma.snapshot import is_private_copy, readable
from ..chroma.sources import Source, open_source, with_fallback
from ..errors import ConfigurationError, UnknownFormat, VerificationFailed
from ..ledger import ledger, ledger_schema
from ..pgvector import document_chunk
from ..pgvector.database import connected
from ..pgvector.top_k import check_top_k
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn
from .comparison import RowComparison
from .increments import row_counts, search_for_changed, suspects
from .repair import Repair


@dataclass(frozen=True, slots=True)
class Difference:
    """One collection that is not equal, and the ids that differ (missing, extra or changed)."""

    collection: str
    reason: str
    ids: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(self.ids[:20])
        return f"{self.collection}: {self.reason}" + (f" ({len(self.ids)} ids: {named})" if self.ids else "")


def verify_vectors(
    url: str,
    store: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    full: bool = False,
    incremental: bool = False,
    repair: bool = False,
    samples: int = 20,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare and return the counts. Raises VerificationFailed, naming collections and ids, unless `repair` mended
    them."""
    started = time.perf_counter()
    chosen = selection or Selection()
    with connected(url) as connection:
        if not ledger_schema.exists(connection):
            raise ConfigurationError("there is no ledger", hint="run copy-vectors first")
        copied = {one.id: one.watermark for one in ledger.copied_collections(connection, run).values()}
        head = ledger.log_head(connection, run) if ledger.was_verified(connection, run) else None

    def verify(catalog: Catalog) -> dict[str, Any] | None:
        if catalog.reader == "files" and not _is_as_copied(catalog, copied):
            raise VerificationFailed(
                "the store has changed since it was copied",
                hint="stop Open WebUI, run copy-vectors --delta, then verify again",
            )
        with connected(url) as connection, open_source(catalog) as source:
            check = _Check(connection, run, source, document_chunk.require_table(connection), scope)
            if not catalog.complete_log and check.suspects(chosen.of(catalog)):
                return None  # older records of the log are needed to say what differs
            return _verify(check, chosen.of(catalog), repair=repair, samples=samples, progress=progress)

    scope = Scope(full=full, incremental=incremental)
    # What was verified needs no second look, nor does the log that was copied then.
    since = head if incremental and not (full or repair) else None
    with _as_copied(store, scratch if since is None else None, copied) as path:
        result, reader = with_fallback(store, path, scratch, verify, selection=chosen, since=since, progress=progress)
        if result is None:
            result, reader = with_fallback(store, path, scratch, verify, selection=chosen, progress=progress)
        assert result is not None
    return {"run": run, **result, "full": full, "reader": reader, "seconds": round(time.perf_counter() - started, 3)}


def _verify(
    check: "_Check", collections: tuple[Collection, ...], *, repair: bool, samples: int, progress: Progress
) -> dict[str, Any]:
    repaired = check.repair(collections, progress=progress) if repair else 0
    differences = check.differences(collections, progress=progress)
    if differences:
        raise VerificationFailed(
            f"{len(differences)} of {len(collections)} collections differ: {'; '.join(map(str, differences[:20]))}",
            hint="verify-vectors --repair copies exactly the named rows again",
        )
    return {"equal": True, **check.finish(collections, samples, progress), "repaired": repaired}


@contextmanager
def _as_copied(store: Path, scratch: Path | None, copied: dict[str, int]) -> Iterator[Path]:
    """Yield the store in the state that the ledger says was copied: the bulk pass's private copy, or the store
    itself."""
    if scratch is not None and is_private_copy(scratch):
        with suppress(UnknownFormat):
            if _is_as_copied(read_catalog(scratch / "vector_db"), copied):
                yield scratch / "vector_db"
                return
    with readable(store, (scratch or Path(tempfile.gettempdir())) / "verify") as path:
        yield path


def _is_as_copied(catalog: Catalog, copied: dict[str, int]) -> bool:
    marks = {one.id: one.watermark for one in catalog.collections if one.rows}
    return all(copied.get(one, mark) == mark for one, mark in marks.items())


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is compared: every row (`full`), or digests only of what changed since the last verification
    (`incremental`)."""

    full: bool = False
    incremental: bool = False


class _Check:
    """Compares collections of one run."""

    def __init__(
        self, connection: "psycopg.Connection", run: str, source: Source, column: VectorColumn, scope: Scope
    ) -> None:
        self._scope = scope
        self._connection = connection
        self._run = run
        self._source = source
        self._column = column
        self._rows = RowComparison(connection, run, source, column)

    def finish(self, collections: tuple[Collection, ...], samples: int, progress: Progress) -> dict[str, Any]:
        """Compare searches, note in the ledger that everything was compared, and return the rows.

        After an incremental comparison the table is searched for some of the rows that changed; otherwise source and
        table are asked the same questions. Where other rows were before, the nearest neighbours are others too.
        """
        before = self._before()
        if self._scope.incremental and ledger.was_verified(self._connection, self._run):
            written = ledger.unverified_writes(self._connection, self._run)
            checked = search_for_changed(self._connection, self._column, written, samples)
        else:
            asked = tuple(one for one in collections if one.name not in before)
            checked = check_top_k(
                self._connection, self._source, asked, self._column, samples=samples, progress=progress
            )
        compared = len(ledger.unverified(self._connection, self._run))
        ledger.set_verified(self._connection, self._run)
        rows = ledger.own_rows(self._connection, self._run)
        return {
            **row_counts(rows),
            "collections_compared": compared if self._scope.incremental else len(rows),
            "topk_checked": checked,
        }

    def differences(self, collections: tuple[Collection, ...], *, progress: Progress) -> list[Difference]:
        """Return the collections that are not equal."""
        by_name = {one.name: one for one in collections}
        before = self._before()
        expected = ledger.expected(self._connection, self._run)
        known = ledger.copied_collections(self._connection, self._run).values()
        dimensions = {one.name: one.dimension for one in known}
        names = {name for name, (rows, _) in expected.items() if rows} | dimensions.keys()
        if self._scope.incremental and ledger.was_verified(self._connection, self._run):
            names = self.suspects(collections)
        progress("compare digests", 0, len(names), "collections")
        found = []
        digests = document_chunk.digests(
            self._connection, self._column, {one: dimension for one, dimension in dimensions.items() if one in names}
        )
        for at, name in enumerate(sorted(names)):
            rows, digest = expected.get(name, (0, 0))
            reason = _difference(digests.get(name, (0, 0, 0)), rows, digest, before.get(name, (0, 0))[0])
            if name in by_name:
                reason = reason or self._count_difference(by_name[name], rows)
            ids = self._rows.differing(by_name[name]) if name in by_name and (reason or self._scope.full) else ()
            if reason or ids:
                found.append(Difference(name, reason or "rows differ", ids))
            progress("compare digests", at + 1, len(names), "collections")
        return found

    def suspects(self, collections: tuple[Collection, ...]) -> set[str]:
        """Return the collections that an incremental comparison cannot pass as they are."""
        counted = {one.name: one.rows for one in collections}
        written = ledger.unverified_writes(self._connection, self._run)
        return suspects(self._connection, self._run, self._column, written, counted)

    def repair(self, collections: tuple[Collection, ...], *, progress: Progress) -> int:
        """Mend every collection that differs; return the number of rows that were copied again."""
        by_name = {one.name: one for one in collections}
        differing = {
            by_name[one.collection]: one.ids
            for one in self.differences(collections, progress=progress)
            if one.collection in by_name and one.ids
        }
        Repair(self._connection, self._run, self._source, self._column).mend(differing)
        return sum(map(len, differing.values()))

    def _count_difference(self, collection: Collection, copied: int) -> str:
        """The source's count must be that of the copied rows and those a policy kept out."""
        own = copied - self._before().get(collection.name, (0, 0))[0]
        if collection.rows == own:
            return ""
        kept_out = self._rows.kept_out(collection)
        if collection.rows == own + len(kept_out):
            return ""
        return f"{collection.rows:,} rows in the store, {own:,} copied, {len(kept_out):,} kept out"

    def _before(self) -> dict[str, tuple[int, int]]:
        rows = self._connection.execute(
            "select collection, sum(rows)::bigint, sum(digest) from scaleout.batch where run = %s and kind ="
            " 'before' group by 1",
            (self._run,),
        )
        return {name: (count, int(digest)) for name, count, digest in rows}


def _difference(found: tuple[int, int, int], rows: int, digest: int, rows_before: int) -> str:
    if found[0] != rows:
        return f"{found[0]:,} rows in the table, {rows:,} copied"
    if found[1] != digest:
        return "the contents differ"
    # Rows that were there before may be of another embedding model, and longer.
    return f"{found[2]:,} vectors are not padded with zeros" if found[2] > rows_before else ""
