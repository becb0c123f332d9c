"""Compares only what was written since the last verification, so that its time does not grow with the rest.

The ledger knows the ids and the digest of what each batch wrote. If exactly these rows read back with that digest, and
the collection has as many rows as it should, then what was equal before is equal still: whatever was not written has
not been touched since it was compared, for only the ledger's transactions write here, and the store says by its
watermark that it has not changed there either. Anything else makes the collection a suspect, which is then compared as
a whole.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from ..chroma.catalog import Catalog
from ..chroma.quiet_reading import Reading
from ..chroma.selection import Selection
from ..delta.delta import Carried, Known, carry, changed_since_copy
from ..delta.exchange import read_digests
from ..errors import VerificationFailed
from ..ledger import ledger
from ..pgvector import document_chunk
from ..pgvector.database import connected
from ..pgvector.top_k import search
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn

Written = Mapping[str, ledger.Writes]
_SAMPLES = 5
"""How many of the rows that changed are searched for after the stop."""


def verify_increment(
    connection: "psycopg.Connection", run: str, source_rows: Mapping[str, int], *, samples: int
) -> dict[str, Any] | None:
    """Compare what was written since the last verification and note that it was; return the counts.

    None when it is not equal, or nothing was verified before: then `verify_vectors` has to look at more.
    """
    column = document_chunk.require_table(connection)
    written = ledger.unverified_writes(connection, run)
    if not ledger.was_verified(connection, run) or suspects(connection, run, column, written, source_rows):
        return None
    checked = search_for_changed(connection, column, written, samples)
    ledger.set_verified(connection, run)
    return {
        "equal": True,
        **row_counts(ledger.own_rows(connection, run)),
        "collections_compared": len(written),
        "topk_checked": checked,
        "repaired": 0,
    }


def row_counts(rows: Mapping[str, int]) -> dict[str, Any]:
    """Return the rows by collection as a result line has them."""
    return {
        "rows": sum(rows.values()),
        "collections": [{"name": name, "rows": count} for name, count in sorted(rows.items())],
    }


def suspects(
    connection: "psycopg.Connection",
    run: str,
    column: VectorColumn,
    written: Written,
    source_rows: Mapping[str, int],
) -> set[str]:
    """Return the collections whose new rows do not read back as they were written, or whose rows do not add up."""
    if not written:
        return set()
    expected = ledger.expected(connection, run, written)
    counts = document_chunk.counts(connection, written)
    ids = [one for writes in written.values() for one in writes.ids]
    dimensions = {name: one.dimension for name, one in written.items()}
    found = read_digests(connection, column, dimensions, ids) if ids else {}
    return {
        name
        for name, one in written.items()
        if counts.get(name, 0) != expected.get(name, (0, 0))[0]
        or source_rows.get(name, counts.get(name, 0)) != counts.get(name, 0)
        # Repaired, or written twice: then the batches' digests do not add up.
        or len(set(one.ids)) != len(one.ids)
        or found.get(name, (0, 0)) != (len(one.ids), one.digest)
    }


def search_for_changed(connection: "psycopg.Connection", column: VectorColumn, written: Written, samples: int) -> int:
    """Search the table for some of the rows written since the last verification; each must find itself."""
    names = {one.ids[0]: name for name, one in sorted(written.items()) if one.ids}
    some = list(names)[:samples]
    rows = connection.cursor(binary=True).execute(
        f"select id, {column.name}_send(vector) from document_chunk where id = any(%s) and vector is not null", (some,)
    )
    checked = 0
    for one, sent in rows.fetchall() if some else ():
        vector = np.frombuffer(sent, ">f2" if column.half else ">f4", offset=4).astype(np.float32)
        found = search(connection, names[one], vector, column, exact=False)
        if not found or not any(id_ == one for id_, distance in found if distance <= found[0][1] + 1e-6):
            raise VerificationFailed(f"collection {names[one]}: a search for {one} does not find it")
        checked += 1
    return checked


def carry_and_compare(
    url: str, reading: Reading, scratch: Path | None, run: str, selection: Selection, progress: Progress = silent
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Carry over what changed and compare it, over one connection and in one look at the store.

    Return what `copy_delta` and `verify_vectors` say; None instead of the latter if more has to be compared.
    """
    started = time.perf_counter()
    with connected(url) as connection:

        def use(catalog: Catalog, known: Known) -> tuple[Carried, float, dict[str, Any] | None]:
            carried = carry(connection, run, catalog, known, selection, reading, progress)
            done = time.perf_counter()
            counts = {one.name: one.rows for one in selection.of(catalog)}
            verified = verify_increment(connection, run, counts, samples=_SAMPLES)
            reading.require_still()
            connection.commit()
            return carried, done, verified

        (carried, done, verified), reader = changed_since_copy(
            connection, reading, scratch, run, selection, use, progress
        )
    vectors = {"run": run, **carried.as_json(), "reader": reader, "seconds": round(done - started, 3)}
    seconds = round(time.perf_counter() - done, 3)
    return vectors, verified and {"run": run, **verified, "full": False, "reader": reader, "seconds": seconds}
