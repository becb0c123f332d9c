"""The whole of a copy in one call, outside a migration: read, load, index, verify.

A stopped store is read in place, a live one from a private copy. Run again with the same `run`, it goes on where it
stood and brings over what has changed since.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ..chroma.catalog import is_store
from ..chroma.selection import Selection
from ..chroma.snapshot import private_copy
from ..chroma.sources import with_fallback
from ..delta.delta import copy_delta
from ..errors import ConfigurationError
from ..ledger import ledger, ledger_schema
from ..load.bulk import copy_vectors
from ..pgvector import document_chunk
from ..pgvector.database import connected
from ..pgvector.indexes import build_indexes
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn
from ..verify.verification import verify_vectors

MOST_DIMENSIONS_OF_VECTOR = 2000


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What a person may choose."""

    run: str = "copy"
    workers: int = 2
    native_dimension: bool = False
    """Make the column as wide as the embeddings, not 1,536: smaller and faster, with two settings for Open WebUI."""
    full: bool = False
    """Compare every row at the end, not digests only."""
    rows_per_second: float = 0
    live: bool = False
    """Somebody may write the store meanwhile: read a private copy of it."""
    selection: Selection = field(default_factory=Selection)


def store_of(directory: Path) -> Path:
    """Return the store in a directory: itself, or its `vector_db`."""
    for candidate in (directory, directory / "vector_db"):
        if is_store(candidate):
            return candidate
    raise ConfigurationError(
        f"{directory} holds no chroma.sqlite3, nor does its vector_db",
        hint="give Open WebUI's DATA_DIR or its vector_db",
    )


def copy(
    url: str, directory: Path, scratch: Path, options: CopyOptions | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Copy a store into a database; return counts, seconds by step, and the settings that Open WebUI needs."""
    options = options or CopyOptions()
    store = store_of(directory)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def finish(step: str) -> None:
        seconds[step] = round(time.perf_counter() - started - sum(seconds.values()), 3)

    column = _column(store, scratch, options, progress)
    _create(url, column, options.run)
    finish("prepare")
    loaded = copy_vectors(
        url,
        store,
        scratch,
        run=options.run,
        selection=options.selection,
        workers=options.workers,
        rows_per_second=options.rows_per_second,
        stopped=not options.live,
        progress=progress,
    )
    changed = copy_delta(url, store, scratch, run=options.run, selection=options.selection, progress=progress)
    finish("load")
    indexed = build_indexes(url, progress=progress)
    finish("index")
    verified = verify_vectors(
        url, store, scratch, run=options.run, selection=options.selection, full=options.full, progress=progress
    )
    finish("verify")
    return {
        "rows": verified["rows"],
        "copied_now": loaded["copied_now"] + changed["written"],
        "deleted_now": changed["deleted"],
        "worker_peak_mb": loaded["worker_peak_mb"],
        "collections": loaded["collections"],
        "left_out_collections": loaded["left_out_collections"],
        "findings": loaded["findings"],
        "finding_counts": loaded["finding_counts"],
        "reader": loaded["reader"],
        "verified": verified["equal"],
        "searches_compared": verified["topk_checked"],
        "recall_at_10": indexed["recall_at_10"],
        "index": indexed["plan"],
        "settings": {"VECTOR_DB": "pgvector", **_column_settings(column), **indexed["plan"]["settings"]},
        "seconds": {**seconds, "total": round(time.perf_counter() - started, 3)},
    }


def _column(store: Path, scratch: Path, options: CopyOptions, progress: Progress) -> VectorColumn:
    if not options.native_dimension:
        return VectorColumn()
    path, _ = private_copy(store, scratch, progress=progress)
    widest, _ = with_fallback(
        store,
        path,
        scratch,
        lambda catalog: max((one.dimension or 0 for one in options.selection.of(catalog) if one.rows), default=0),
        selection=options.selection,
    )
    return VectorColumn(widest or 1536, half=widest > MOST_DIMENSIONS_OF_VECTOR)


def _column_settings(column: VectorColumn) -> dict[str, str]:
    settings = {"PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": str(column.dimension)}
    return {**settings, "PGVECTOR_USE_HALFVEC": "true"} if column.half else settings


def _create(url: str, column: VectorColumn, run: str) -> None:
    """Make the extension (where the role may), the ledger and the table."""
    with connected(url) as connection:
        try:
            with connection.transaction():
                connection.execute("create extension if not exists vector")
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                "the extension vector is not installed and this role may not create it",
                hint="as an administrator, in this database: create extension vector",
            ) from error
        ledger_schema.require(connection)
        created = document_chunk.create(connection, column)
        ledger.start_run(connection, run, created_table=created)
