"""The bulk pass: every row of a private copy of the store into `document_chunk`, by several processes.

Work is cut into batches of some thousand rows, taken by whichever worker is free and committed at once. Their ledger
rows are in the same transaction, so a killed run has whole batches and nothing else, and a rerun reads the ledger and
copies the rest. What changed in the store
between two runs is the delta's affair: the ledger keeps the first watermark.
"""

import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import psycopg

from ..chroma.catalog import Catalog, Collection
from ..chroma.selection import Selection, require_movable
from ..chroma.snapshot import private_copy, readable, store_fingerprint
from ..chroma.sources import open_source, with_fallback
from ..errors import TransferError, TransientError
from ..ledger import ledger, ledger_schema
from ..pgvector import document_chunk, toast
from ..pgvector.database import connected, translated
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn
from .batches import Batch, BatchWriter, Part, batch_rows, batches_of, rows_of
from .removal import remove_batches


@dataclass(frozen=True, slots=True)
class Load:
    """What every worker needs to know."""

    url: str
    run: str
    catalog: Catalog
    column: VectorColumn
    careful: bool
    rows_per_second: float


def copy_vectors(
    url: str,
    store: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    workers: int = 2,
    rows_per_second: float = 0,
    stopped: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Copy what is not copied yet; return counts, findings and seconds. Safe to run again after any failure.

    A store that is `stopped` is read in place; should it be written meanwhile after all, what this call copied is
    removed again and TransientError raised.
    """
    started = time.perf_counter()
    chosen = selection or Selection()

    with connected(url) as connection:
        ledger_schema.require(connection)
        rows_before = ledger.summary(connection, run).rows
        newest = ledger.newest_entry(connection)

    def load(catalog: Catalog) -> tuple[int, int, float]:
        collections = chosen.of(catalog)
        column, parts, careful = _begin(url, run, catalog, collections)
        several = workers if catalog.reader == "files" else 1
        rows = batch_rows(rows_of(parts), several, rows_per_second, careful=careful)
        limit = rows_per_second / several
        batches = list(batches_of(parts, rows))
        peak = _run_workers(Load(url, run, catalog, column, careful, limit), batches, several, progress)
        return len(collections), len(catalog.collections), peak

    try:
        found, reader, fingerprint = _of_one_moment(store, scratch, load, chosen, stopped=stopped, progress=progress)
    except TransientError:
        if stopped:
            remove_batches(url, run=run, newer_than=newest)
        raise
    moved, listed, peak = found
    with connected(url) as connection:
        toast.reset(connection)
        summary = ledger.summary(connection, run)
    return {
        "run": run,
        "rows": summary.rows,
        "copied_now": summary.rows - rows_before,
        "collections": moved,
        "left_out_collections": listed - moved,
        "findings": list(summary.findings),
        "finding_counts": summary.counts,
        "fingerprint": fingerprint,
        "reader": reader,
        "worker_peak_mb": round(peak),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _of_one_moment(
    store: Path,
    scratch: Path,
    load: Callable[[Catalog], tuple[int, int, float]],
    selection: Selection,
    *,
    stopped: bool,
    progress: Progress,
) -> tuple[tuple[int, int, float], str, str]:
    """Load from the store as it is at one moment: what `load` returned, which reader it was, the store's fingerprint.

    Raises TransientError when a store that is `stopped` was written meanwhile.
    """
    if not stopped:
        copy, fingerprint = private_copy(store, scratch, progress=progress)
        return *with_fallback(store, copy, scratch, load, selection=selection, progress=progress), fingerprint
    fingerprint = store_fingerprint(store)
    with readable(store, scratch / "stopped", progress=progress) as path:
        found, reader = with_fallback(store, path, scratch, load, selection=selection, progress=progress)
    return found, reader, fingerprint


def _begin(
    url: str, run: str, catalog: Catalog, collections: tuple[Collection, ...]
) -> tuple[VectorColumn, Batch, bool]:
    """Note the run in the ledger; return the table's column, what is not copied yet, and whether it needs care."""
    with connected(url) as connection:
        column = document_chunk.require_table(connection)
        require_movable(catalog, collections, column)
        toast.keep_in_line(connection, column)
        careful = _start(connection, run, catalog, collections, column) or catalog.reader != "files"
        connection.commit()
        return column, remaining_parts(connection, run, catalog, collections), careful


def _start(
    connection: "psycopg.Connection",
    run: str,
    catalog: Catalog,
    collections: Sequence[Collection],
    column: VectorColumn,
) -> bool:
    """Record the run, its collections and what was in the table before; return whether foreign rows have to be
    minded."""
    ledger.start_run(connection, run)
    known = ledger.copied_collections(connection, run)
    if not known:
        dimensions = {one.name: one.dimension or column.dimension for one in collections}
        for name, (rows, digest, _) in document_chunk.digests(connection, column, dimensions).items():
            ledger.add_entry(connection, run, ledger.Entry(name, "before", rows, digest, []))
    ledger.set_log_head(connection, run, catalog.head, keep_first=True)
    ledger.add_collections(
        connection,
        run,
        [ledger.CopiedCollection(one.id, one.name, one.dimension or 0, one.watermark) for one in collections],
    )
    row = connection.execute("select exists (select 1 from document_chunk)").fetchone()
    return bool(row and row[0])


def remaining_parts(
    connection: "psycopg.Connection", run: str, catalog: Catalog, collections: Sequence[Collection]
) -> Batch:
    """Return what the ledger does not know as copied."""
    finished = ledger.finished_ranges(connection, run)
    parts = []
    with open_source(catalog) as source:
        for collection in collections:
            keys = source.keys(collection)
            for first, last in finished.get(collection.id, ()):
                keys = keys[(keys < first) | (keys > last)]
            parts.append(Part(collection, keys))
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the workers share: the batches, how many are taken, how many rows are done, and whose children they are."""

    batches: list[Batch]
    taken: Any
    done: Any
    parent: int

    def next_batch(self) -> Batch | None:
        """Take the next batch, None when there is none left."""
        if os.getppid() != self.parent:
            raise SystemExit(1)  # the parent was killed: a rerun may already be copying
        with self.taken.get_lock():
            at = self.taken.value
            self.taken.value += 1
        return self.batches[at] if at < len(self.batches) else None

    def add_rows(self, count: int) -> None:
        """Count rows that are committed."""
        with self.done.get_lock():
            self.done.value += count


def _run_workers(load: Load, batches: list[Batch], workers: int, progress: Progress) -> float:
    total = sum(map(rows_of, batches))
    # A fork shares what is loaded; but chromadb runs threads of its own, which a fork would cut off.
    forks = sys.platform == "linux" and load.catalog.reader == "files"
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")
    shared = _Shared(batches, context.Value("q", 0), context.Value("q", 0), os.getpid())
    children: dict[Pipe, multiprocessing.process.BaseProcess] = {}
    try:
        for _ in range(min(workers, len(batches))):
            receiving, sending = context.Pipe(duplex=False)
            child = context.Process(target=_worker, args=(load, shared, sending), daemon=True)
            child.start()
            sending.close()
            children[receiving] = child
        return _wait_for(children, shared, total, progress)
    finally:
        for child in children.values():
            child.kill()
            child.join()


def _wait_for(
    children: dict[Pipe, multiprocessing.process.BaseProcess], shared: _Shared, total: int, progress: Progress
) -> float:
    """Report until every worker is finished, raise what the first failing one says; return the highest peak in MB."""
    running = set(children)
    highest = 0.0
    while running:
        progress("copy vectors", shared.done.value, total, "rows")
        for pipe in wait(list(running), timeout=0.25):
            assert isinstance(pipe, Pipe)
            running.discard(pipe)
            try:
                failure, peak = pipe.recv()
            except EOFError:
                children[pipe].join()
                raise TransientError(
                    f"a worker ended with exit code {children[pipe].exitcode}",
                    hint="run the same command again: it goes on where it stood",
                ) from None
            if failure is not None:
                raise failure
            highest = max(highest, peak)
    progress("copy vectors", shared.done.value, total, "rows")
    return highest


def _worker(load: Load, shared: _Shared, report: Pipe) -> None:
    """Take batches until none is left. Runs in its own process; it tells the parent one error or None, and its peak."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent()
    tune_process()
    failure: TransferError | None = None
    try:
        with translated(), open_source(load.catalog) as source, connected(load.url) as connection:
            writer = BatchWriter(connection, source, load.run, load.column, careful=load.careful)
            batch = shared.next_batch()
            while batch is not None:
                started = time.monotonic()
                following = shared.next_batch()
                writer.copy(batch, following)
                shared.add_rows(rows_of(batch))
                if load.rows_per_second:
                    time.sleep(max(0.0, rows_of(batch) / load.rows_per_second - (time.monotonic() - started)))
                batch = following
    except TransferError as error:
        failure = error
    except Exception as error:  # a bug: it has to reach the parent's one error line too
        failure = TransferError(f"{type(error).__name__}: {error}")
    report.send((failure, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    report.close()


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies. Source: prctl(2), PR_SET_PDEATHSIG = 1."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def tune_process() -> None:
    """Set up a process that does nothing but move rows; saves a quarter of its CPU."""
    _keep_freed_memory()
    # Rows are millions of small objects without a cycle: looking for one among them costs a twentieth of the CPU.
    gc.freeze()
    gc.disable()


def _keep_freed_memory() -> None:
    """Ask glibc to use large freed blocks again, which saves a fifth of the CPU: packing allocates a few MB per slice.

    Source: mallopt(3), M_TRIM_THRESHOLD = -1, M_MMAP_THRESHOLD = -3; at most 32 MiB. Other C libraries lack it.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)
        mallopt(-1, 64 << 20)
