"""Proves that document_chunk holds what the store holds, names what differs, and mends only that.

Always: for every collection the rows and the digest in the table are those of the ledger (which were taken from the
source while copying), the padding is zero, the source counts the same rows, and sampled queries have the same nearest
neighbours. `full` also compares every row, read back by id. A collection that fails is compared row by row, so the
error names ids; `repair` copies exactly these again.

Vectors may differ in the last bits: Chroma keeps cosine vectors normalised with their norm beside, and multiplies when
asked, so a row that moved from its log to its files since it was copied reads back with another rounding.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from . import document_chunk, ledger
from .batches import SLICE_ROWS, copy_slices
from .chroma_catalog import Catalog, Collection, read_catalog
from .cleaning import clean
from .copy_binary import VectorColumn
from .database import connected
from .errors import ConfigurationError, UnknownFormat, VerificationFailed
from .progress import Progress, silent
from .rows import Rows
from .selection import Selection
from .snapshot import is_private_copy, readable
from .sources import Source, open_source, with_fallback
from .top_k import check_top_k

_RELATIVE_ERROR = 1e-5


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
        if not ledger.exists(connection):
            raise ConfigurationError("there is no ledger", hint="run copy-vectors first")
        copied = {one.id: one.watermark for one in ledger.copied_collections(connection, run).values()}

    def verify(catalog: Catalog) -> dict[str, Any]:
        if catalog.reader == "files" and not _is_as_copied(catalog, copied):
            raise VerificationFailed(
                "the store has changed since it was copied",
                hint="stop Open WebUI, run copy-vectors --delta, then verify again",
            )
        with connected(url) as connection, open_source(catalog) as source:
            check = _Check(connection, run, source, document_chunk.require_table(connection), scope)
            return _verify(check, chosen.of(catalog), repair=repair, samples=samples, progress=progress)

    scope = Scope(full=full, incremental=incremental)
    with _as_copied(store, scratch, copied) as path:
        result, reader = with_fallback(store, path, scratch, verify, selection=chosen, progress=progress)
    return {"run": run, **result, "full": full, "reader": reader, "seconds": round(time.perf_counter() - started, 3)}


def _verify(
    check: "_Check", collections: tuple[Collection, ...], *, repair: bool, samples: int, progress: Progress
) -> dict[str, Any]:
    repaired = _repair(check, collections, progress=progress) if repair else 0
    differences = check.differences(collections, progress=progress)
    if differences:
        raise VerificationFailed(
            f"{len(differences)} of {len(collections)} collections differ: {'; '.join(map(str, differences[:20]))}",
            hint="verify-vectors --repair copies exactly the named rows again",
        )
    return {"equal": True, **check.finish(collections, samples, progress), "repaired": repaired}


@contextmanager
def _as_copied(store: Path, scratch: Path, copied: dict[str, int]) -> Iterator[Path]:
    """Yield the store in the state that the ledger says was copied: the bulk pass's private copy, or the store
    itself."""
    if is_private_copy(scratch):
        with suppress(UnknownFormat):
            if _is_as_copied(read_catalog(scratch / "vector_db"), copied):
                yield scratch / "vector_db"
                return
    with readable(store, scratch / "verify") as path:
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
        self.column = column

    def own_rows(self) -> dict[str, int]:
        """Return the rows that the run has in the table, by collection name."""
        before = self._before()
        expected = ledger.expected(self._connection, self._run)
        return {name: rows - before.get(name, (0, 0))[0] for name, (rows, _) in expected.items() if rows}

    def finish(self, collections: tuple[Collection, ...], samples: int, progress: Progress) -> dict[str, Any]:
        """Compare searches, note in the ledger that everything was compared, and return the rows."""
        changed = ledger.unverified(self._connection, self._run)
        before = self._before()  # where other rows are, the nearest neighbours are others too
        asked = tuple(
            one
            for one in collections
            if one.name not in before and (one.name in changed or not self._scope.incremental)
        )
        checked = check_top_k(self._connection, self._source, asked, self.column, samples=samples, progress=progress)
        ledger.set_verified(self._connection, self._run)
        rows = self.own_rows()
        return {
            "rows": sum(rows.values()),
            "collections": [{"name": name, "rows": count} for name, count in sorted(rows.items())],
            "collections_compared": len(changed) if self._scope.incremental else len(rows),
            "topk_checked": checked,
        }

    def differences(self, collections: tuple[Collection, ...], *, progress: Progress) -> list[Difference]:
        """Return the collections that are not equal."""
        expected = ledger.expected(self._connection, self._run)
        dimensions = {
            one.name: one.dimension for one in ledger.copied_collections(self._connection, self._run).values()
        }
        if self._scope.incremental:
            changed = ledger.unverified(self._connection, self._run)
            dimensions = {name: dimension for name, dimension in dimensions.items() if name in changed}
        progress("compare digests", 0, len(dimensions), "collections")
        digests = document_chunk.digests(self._connection, self.column, dimensions)
        counts = document_chunk.counts(self._connection)
        by_name = {one.name: one for one in collections}
        before = self._before()
        found = []
        for at, name in enumerate(sorted(expected.keys() | digests.keys())):
            rows, digest = expected.get(name, (0, 0))
            reason = (
                f"{counts.get(name, 0):,} rows in the table, {rows:,} copied" if counts.get(name, 0) != rows else ""
            )
            if name in dimensions:
                reason = reason or _digest_difference(digests.get(name, (0, 0, 0)), digest, before.get(name, (0, 0))[0])
            if name in by_name:
                reason = reason or self._count_difference(by_name[name], rows)
            ids = self.compare(by_name[name]) if name in by_name and (reason or self._scope.full) else ()
            if reason or ids:
                found.append(Difference(name, reason or "rows differ", ids))
            progress("compare digests", at + 1, len(expected), "collections")
        return found

    def _count_difference(self, collection: Collection, copied: int) -> str:
        """The source's count must be that of the copied rows and those a policy kept out."""
        own = copied - self._before().get(collection.name, (0, 0))[0]
        if collection.rows == own:
            return ""
        kept_out = self._kept_out(collection)
        if collection.rows == own + len(kept_out):
            return ""
        return f"{collection.rows:,} rows in the store, {own:,} copied, {len(kept_out):,} kept out"

    def _kept_out(self, collection: Collection) -> set[str]:
        """Return the ids of rows in the store that are not in the table on purpose."""
        named = {
            one
            for (one,) in self._connection.execute(
                "select distinct f ->> 'id' from scaleout.batch, jsonb_array_elements(left_out) f where run"
                " = %s and collection = %s"
                " and left_out <> '[]'",
                (self._run, collection.id),
            )
        }
        there = {
            one
            for (one,) in self._connection.execute("select id from document_chunk where id = any(%s)", (list(named),))
        }
        own = ledger.own_ids(self._connection, self._run, there) if there else set()
        return {
            one
            for one in (raw.decode("utf-8", "replace") for raw in self._source.ids(collection))
            if one in named - own
        }

    def compare(self, collection: Collection) -> tuple[str, ...]:
        """Compare one collection row by row; return the ids that are missing, extra or different."""
        kept_out = self._kept_out(collection)
        wrong: list[str] = []
        seen: set[str] = set()
        keys = self._source.keys(collection)
        for at in range(0, len(keys), SLICE_ROWS):
            rows, _ = clean(self._source.read(collection, keys[at : at + SLICE_ROWS]))
            names = [one.decode() for one in rows.ids]
            seen.update(names)
            equal = self._equal(collection, rows, names)
            wrong += [name for name, same in zip(names, equal, strict=True) if not same and name not in kept_out]
        own = ledger.expected(self._connection, self._run).get(collection.name, (0, 0))[0]
        if own or wrong:
            there = {
                one
                for (one,) in self._connection.execute(
                    "select id from document_chunk where collection_name = %s", (collection.name,)
                )
            }
            extra = there - seen
            wrong += sorted(ledger.own_ids(self._connection, self._run, extra) if extra else ())
        return tuple(wrong)

    def _equal(self, collection: Collection, rows: Rows, names: list[str]) -> list[bool]:
        found = self._connection.cursor(binary=True).execute(
            f"select id, {self.column.name}_send(vector), convert_to(text, 'UTF8'), convert_to(vmetadata::text, 'UTF8')"
            " from document_chunk where id = any(%s) and collection_name = %s",
            (names, collection.name),
        )
        stored = {one: (vector, text, metadata) for one, vector, text, metadata in found}
        element = ">f2" if self.column.half else ">f4"
        equal = []
        for name, vector, text, metadata in zip(names, rows.vectors, rows.texts, rows.metadatas, strict=True):
            there = stored.get(name)
            if there is None:
                equal.append(False)
                continue
            sent = np.frombuffer(there[0], element, offset=4).astype(np.float32)
            wanted = vector.astype(element).astype(np.float32)
            limit = _RELATIVE_ERROR * float(np.abs(wanted).max())
            same_vector = float(np.abs(sent[: len(wanted)] - wanted).max()) <= limit and not sent[len(wanted) :].any()
            equal.append(same_vector and (text, metadata) == there[1:])
        return equal

    def mend(self, differing: dict[Collection, tuple[str, ...]]) -> None:
        """Copy exactly these rows again, and bring the ledger to what the table then holds. All or nothing; commits.

        First all of them are deleted: a row may have been found under another collection than its own.
        """
        for ids in differing.values():
            self._connection.execute("delete from document_chunk where id = any(%s)", (list(ids),))
        for collection, ids in differing.items():
            raw = [one.encode() for one in ids]
            slices = (
                self._source.read_ids(collection, raw[at : at + SLICE_ROWS]) for at in range(0, len(raw), SLICE_ROWS)
            )
            written = copy_slices(self._connection, collection.name, self.column, slices, run=self._run, careful=False)
            self._correct_ledger(collection, written.ids)
        for collection, ids in differing.items():
            if self.compare(collection):
                raise VerificationFailed(
                    f"collection {collection.name} still differs after {len(ids)} rows were copied again"
                )
        self._connection.commit()

    def _correct_ledger(self, collection: Collection, ids: list[str]) -> None:
        dimensions = {collection.name: collection.dimension or 0}
        found = document_chunk.digests(self._connection, self.column, dimensions)
        rows, digest, _ = found.get(collection.name, (0, 0, 0))
        was_rows, was_digest = ledger.expected(self._connection, self._run).get(collection.name, (0, 0))
        correction = ledger.Batch(collection.id, "repair", rows - was_rows, digest - was_digest, ids)
        ledger.add_batch(self._connection, self._run, correction)

    def _before(self) -> dict[str, tuple[int, int]]:
        rows = self._connection.execute(
            "select collection, sum(rows)::bigint, sum(digest) from scaleout.batch where run = %s and kind ="
            " 'before' group by 1",
            (self._run,),
        )
        return {name: (count, int(digest)) for name, count, digest in rows}


def _digest_difference(found: tuple[int, int, int], digest: int, rows_before: int) -> str:
    if found[1] != digest:
        return "the contents differ"
    # Rows that were there before may be of another embedding model, and longer.
    return f"{found[2]:,} vectors are not padded with zeros" if found[2] > rows_before else ""


def _repair(check: _Check, collections: tuple[Collection, ...], *, progress: Progress) -> int:
    """Mend every collection that differs; return the number of rows that were copied again."""
    by_name = {one.name: one for one in collections}
    differing = {
        by_name[one.collection]: one.ids
        for one in check.differences(collections, progress=progress)
        if one.collection in by_name and one.ids
    }
    check.mend(differing)
    return sum(map(len, differing.values()))
