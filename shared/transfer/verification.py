"""Proves that document_chunk holds what the store holds, names what differs, and mends only that.

Always: for every collection the rows and the digest in the table are those of the ledger (which were taken from the source while copying), the
padding is zero, the source counts the same rows, and sampled queries have the same nearest neighbours. `full` also compares every row, read
back by id. A collection that fails is compared row by row, so the error names ids; `repair` copies exactly these again.

Vectors may differ in the last bits: Chroma keeps cosine vectors normalised with their norm beside, and multiplies when asked, so a row that moved from
its log to its files since it was copied reads back with another rounding.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from . import document_chunk, ledger
from .batches import SLICE_ROWS, copy_slices
from .chroma_catalog import Catalog, Collection, read_catalog
from .chroma_store import ChromaStore
from .cleaning import clean
from .copy_binary import VectorColumn
from .database import connected
from .errors import ConfigurationError, VerificationFailed
from .progress import Progress, silent
from .rows import Rows
from .selection import Selection
from .snapshot import is_private_copy, readable
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
    repair: bool = False,
    samples: int = 20,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare and return the counts. Raises VerificationFailed, naming collections and ids, unless `repair` mended them."""
    started = time.perf_counter()
    with connected(url) as connection:
        if not ledger.exists(connection):
            raise ConfigurationError("there is no ledger", hint="run copy-vectors first")
        with _catalog(connection, store, scratch, run) as catalog, ChromaStore(catalog) as source:
            collections = (selection or Selection()).of(catalog)
            check = _Check(connection, run, source, document_chunk.require_table(connection))
            repaired = _repair(check, collections, full=full, progress=progress) if repair else 0
            differences = check.differences(collections, full=full, progress=progress)
            if differences:
                raise VerificationFailed(
                    f"{len(differences)} of {len(collections)} collections differ: {'; '.join(map(str, differences[:20]))}",
                    hint="verify-vectors --repair copies exactly the named rows again",
                )
            checked = check_top_k(connection, source, collections, check.column, samples, progress)
            connection.execute("update scaleout.run set verified_at = now() where id = %s", (run,))
            rows = check.own_rows()
    return {
        "run": run,
        "equal": True,
        "rows": sum(rows.values()),
        "collections": [{"name": name, "rows": count} for name, count in sorted(rows.items())],
        "topk_checked": checked,
        "repaired": repaired,
        "full": full,
        "seconds": round(time.perf_counter() - started, 3),
    }


@contextmanager
def _catalog(connection: "psycopg.Connection", store: Path, scratch: Path, run: str) -> Iterator[Catalog]:
    """Yield the store in the state that the ledger says was copied: the private copy of the bulk pass, or the store itself."""
    copied = {one.id: one.watermark for one in ledger.copied_collections(connection, run).values()}
    if is_private_copy(scratch):
        catalog = read_catalog(scratch / "vector_db")
        if _is_as_copied(catalog, copied):
            yield catalog
            return
    with readable(store, scratch / "verify") as path:
        catalog = read_catalog(path)
        if not _is_as_copied(catalog, copied):
            raise VerificationFailed(
                "the store has changed since it was copied",
                hint="stop Open WebUI, run copy-vectors --delta, then verify again",
            )
        yield catalog


def _is_as_copied(catalog: Catalog, copied: dict[str, int]) -> bool:
    marks = {one.id: one.watermark for one in catalog.collections if one.rows}
    return all(copied.get(one, mark) == mark for one, mark in marks.items())


class _Check:
    """Compares collections of one run."""

    def __init__(self, connection: "psycopg.Connection", run: str, source: ChromaStore, column: VectorColumn) -> None:
        self._connection = connection
        self._run = run
        self._source = source
        self.column = column

    def own_rows(self) -> dict[str, int]:
        """Return the rows that the run has in the table, by collection name."""
        before = self._before()
        expected = ledger.expected(self._connection, self._run)
        return {name: rows - before.get(name, (0, 0))[0] for name, (rows, _) in expected.items() if rows}

    def differences(self, collections: tuple[Collection, ...], *, full: bool, progress: Progress) -> list[Difference]:
        """Return the collections that are not equal."""
        found = []
        expected = ledger.expected(self._connection, self._run)
        dimensions = {
            one.name: one.dimension for one in ledger.copied_collections(self._connection, self._run).values()
        }
        progress("compare digests", 0, len(dimensions), "collections")
        actual = document_chunk.digests(self._connection, self.column, dimensions)
        by_name = {one.name: one for one in collections}
        for at, name in enumerate(sorted(expected.keys() | actual.keys())):
            rows, digest, wrong_padding = actual.get(name, (0, 0, 0))
            reason = ""
            if (rows, digest) != expected.get(name, (0, 0)):
                reason = (
                    f"{rows:,} rows in the table, {expected.get(name, (0, 0))[0]:,} copied, or their contents differ"
                )
            elif wrong_padding:
                reason = f"{wrong_padding:,} vectors are not padded with zeros"
            elif name in by_name:
                reason = self._count_difference(by_name[name], expected.get(name, (0, 0))[0])
            ids: tuple[str, ...] = ()
            if name in by_name and (reason or full):
                ids = self.compare(by_name[name])
                reason = reason or ("rows differ" if ids else "")
            if reason:
                found.append(Difference(name, reason, ids))
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
                "select distinct f ->> 'id' from scaleout.batch, jsonb_array_elements(left_out) f where run = %s and collection = %s"
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

    def mend(self, collection: Collection, ids: tuple[str, ...]) -> None:
        """Copy exactly these rows again, and bring the ledger to what the table then holds. Commits."""
        execute = self._connection.execute
        execute("delete from document_chunk where id = any(%s)", (list(ids),))
        raw = [one.encode() for one in ids]
        slices = (self._source.read_ids(collection, raw[at : at + SLICE_ROWS]) for at in range(0, len(raw), SLICE_ROWS))
        written = copy_slices(self._connection, collection.name, self.column, slices, run=self._run, careful=False)
        rows, digest, _ = document_chunk.digests(
            self._connection, self.column, {collection.name: collection.dimension or 0}
        ).get(collection.name, (0, 0, 0))
        was_rows, was_digest = ledger.expected(self._connection, self._run).get(collection.name, (0, 0))
        ledger.add_batch(
            self._connection,
            self._run,
            ledger.Batch(collection.id, "repair", rows - was_rows, digest - was_digest, written.ids),
        )
        if self.compare(collection):
            raise VerificationFailed(
                f"collection {collection.name} still differs after {len(ids)} rows were copied again"
            )
        self._connection.commit()

    def _before(self) -> dict[str, tuple[int, int]]:
        rows = self._connection.execute(
            "select collection, sum(rows)::bigint, sum(digest) from scaleout.batch where run = %s and kind = 'before' group by 1",
            (self._run,),
        )
        return {name: (count, int(digest)) for name, count, digest in rows}


def _repair(check: _Check, collections: tuple[Collection, ...], *, full: bool, progress: Progress) -> int:
    """Mend every collection that differs; return the number of rows that were copied again."""
    by_name = {one.name: one for one in collections}
    mended = 0
    for difference in check.differences(collections, full=full, progress=progress):
        if difference.collection in by_name and difference.ids:
            check.mend(by_name[difference.collection], difference.ids)
            mended += len(difference.ids)
    return mended
