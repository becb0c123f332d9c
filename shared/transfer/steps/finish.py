"""The two ends of an online copy: verify the bulk pass while Open WebUI serves, and finish after the stop.

All that grows with the data is compared before the stop, and what changed during the bulk pass or while an approval was
waited for is carried over just before it (`catch_up`). After it, one process carries the last changes of files and
vectors over side by side and compares only what changed, so the time after the stop is short and flat.

Why comparing only that proves the whole: every row was compared with the store after the bulk pass, and what a round or
the delta wrote since was compared when it was written. A collection whose newest log record, as texts, metadata and
vectors have seen it, is still the one that the ledger noted then has not changed in the store, because chromadb enters
every write in its log first; and in the table only the ledger's transactions write, for Open WebUI does not use it yet.
Of a collection that has changed, the touched rows are read back and its rows are counted on both sides. And the files
that all this was read from stood still from before the first look until after the last (`chroma.quiet_reading`).
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..chroma.catalog import read_catalog
from ..chroma.quiet_reading import readable_now
from ..chroma.selection import Selection
from ..errors import UnknownFormat
from ..files.files import copy_files
from ..ledger import ledger
from ..pgvector.database import connected
from ..progress import Progress, silent
from ..verify.increments import carry_and_compare
from ..verify.store_difference import note_foreign_rows
from ..verify.verification import verify_vectors


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
    chosen = selection or Selection()
    with readable_now(store, scratch / "delta", progress=progress) as reading:
        vectors, verification = carry_and_compare(url, reading, scratch, run, chosen, progress)
    return vectors, verification or verify_vectors(
        url, store, scratch, run=run, selection=selection, incremental=True, progress=progress
    )
