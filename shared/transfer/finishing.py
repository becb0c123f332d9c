"""The ends of an online copy: verify the bulk and catch up while Open WebUI serves, then finish after the stop.

All that grows with the data is compared before the stop, and what changed during the bulk pass or while an approval was
waited for is carried over just before it. After it, one process carries the last changes of files and vectors over side
by side and compares only what changed, so the time after the stop is short and flat.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import ledger
from .chroma_catalog import Catalog, read_catalog
from .database import connected
from .delta import Carried, carry, changed_since_copy, copy_delta
from .errors import UnknownFormat
from .files import copy_files
from .increments import verify_increment
from .progress import Progress, silent
from .reading import readable_now
from .selection import Selection
from .snapshot import private_copy
from .store_difference import note_foreign_rows
from .verification import verify_vectors

_SAMPLES = 5
"""How many of the rows that changed are searched for after the stop."""


def verify_copy(
    url: str,
    store: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    full: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare the private copy that was just moved; return the counts, or that a resumed pass cannot be compared yet.

    A bulk pass that was resumed on a newer private copy holds rows of two moments: then `finish` compares everything.
    """
    with connected(url) as connection:
        note_foreign_rows(connection, run)
        marks = {one.id: one.watermark for one in ledger.copied_collections(connection, run).values()}
    try:
        catalog = read_catalog(scratch / "vector_db")
        moved = any(marks.get(one.id, one.watermark) != one.watermark for one in catalog.collections if one.rows)
    except UnknownFormat:
        moved = False  # verify_vectors falls back to chromadb itself
    if moved:
        return {"equal": None, "postponed": "the copy was resumed; everything is compared after the stop"}
    return verify_vectors(url, store, scratch, run=run, selection=selection, full=full, progress=progress)


def catch_up(
    url: str,
    data: Path,
    share: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Carry over, from a new private copy, what changed since the bulk pass; what changes from now on is `finish`'s."""
    started = time.perf_counter()
    files = copy_files(data, share, progress=progress)
    store, _ = private_copy(data / "vector_db", scratch / "latest", progress=progress)
    vectors = copy_delta(url, store, scratch, run=run, selection=selection, progress=progress)
    verify_vectors(url, store, scratch, run=run, selection=selection, incremental=True, progress=progress)
    return {"files": files, "vectors": vectors, "seconds": round(time.perf_counter() - started, 3)}


def finish(
    url: str,
    data: Path,
    share: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Bring share and table to what the stopped source holds, and verify; return what each of the three steps says."""
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as beside:
        copying = beside.submit(copy_files, data, share, delta=True, look=False)
        vectors, verification = _carry_and_verify(url, data / "vector_db", scratch, run, selection, progress)
        files = copying.result()
    return {
        "files": files,
        "vectors": vectors,
        "verification": verification,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _carry_and_verify(
    url: str, store: Path, scratch: Path, run: str, selection: Selection | None, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do what `copy_delta` and an incremental `verify_vectors` do, over one connection and in one look at the store."""
    started = time.perf_counter()
    chosen = selection or Selection()
    with connected(url) as connection, readable_now(store, scratch / "delta", progress=progress) as reading:

        def use(catalog: Catalog) -> tuple[Carried, float, dict[str, Any] | None]:
            carried = carry(connection, run, catalog, chosen, reading, progress)
            done = time.perf_counter()
            counts = {one.name: one.rows for one in chosen.of(catalog)}
            verified = verify_increment(connection, run, counts, samples=_SAMPLES)
            reading.require_still()
            connection.commit()
            return carried, done, verified

        (carried, done, verified), reader = changed_since_copy(connection, reading, scratch, run, chosen, use, progress)
    vectors = {"run": run, **carried.as_json(), "reader": reader, "seconds": round(done - started, 3)}
    if verified is None:
        return vectors, verify_vectors(
            url, store, scratch, run=run, selection=selection, incremental=True, progress=progress
        )
    seconds = round(time.perf_counter() - done, 3)
    return vectors, {"run": run, **verified, "full": False, "reader": reader, "seconds": seconds}
