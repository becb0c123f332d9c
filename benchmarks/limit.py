"""The limit: psql's `\\copy` of the same bytes, and our load stage alone against it, with as many connections.

Both get the same rows. The bytes are packed once into files for psql; our load stage gets the rows as its reader would
hand them over, packs, hashes, sends and writes the ledger. psql fills the table as Open WebUI makes it, and once more a
table that keeps its rows in line, as ours is during a load: then the difference is what our load costs beyond sending
bytes.
"""

import multiprocessing
import shutil
import subprocess
import time
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.transfer.chroma.catalog import Collection, read_catalog
from shared.transfer.chroma.store import ChromaStore
from shared.transfer.ledger import ledger, ledger_schema
from shared.transfer.load.batches import MOST_ROWS, BatchWriter, Part, batches_of
from shared.transfer.load.bulk import tune_process
from shared.transfer.pgvector import document_chunk, toast
from shared.transfer.pgvector.database import connected, conninfo
from shared.transfer.rows.copy_binary import HEADER, TRAILER, VectorColumn, pack
from shared.transfer.rows.rows import Rows

COLUMN = VectorColumn(1536)


class Memory:
    """A source that has its rows already."""

    def __init__(self, rows: dict[str, Rows]) -> None:
        self._rows = rows

    def read(self, collection: Collection, keys: NDArray[np.int64]) -> Rows:
        """Return the rows from memory."""
        rows = self._rows[collection.id]
        first = int(np.searchsorted(rows.keys, keys[0]))
        return rows.take(list(range(first, first + len(keys))))


def read_rows(store: Path, limit: int) -> tuple[list[Collection], dict[str, Rows]]:
    """Read the first rows of a store, whole collections."""
    catalog = read_catalog(store)
    read: dict[str, Rows] = {}
    chosen = []
    with ChromaStore(catalog) as source:
        for collection in catalog.collections:
            read[collection.id] = source.read(collection, source.keys(collection))
            chosen.append(collection)
            limit -= len(read[collection.id])
            if limit <= 0:
                break
    return chosen, read


def time_psql(
    url: str,
    folder: Path,
    collections: list[Collection],
    rows: dict[str, Rows],
    connections: int,
    *,
    in_line: bool = False,
) -> float:
    """Return seconds that psql needs for the packed bytes, in as many sessions as `connections`."""
    if in_line:
        with connected(url) as connection:
            toast.keep_in_line(connection, COLUMN)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for part in range(connections):
        file = folder / f"part-{part}.bin"
        with file.open("wb") as out:
            out.write(HEADER)
            for collection in collections[part::connections]:
                out.write(pack(rows[collection.id], collection.name, COLUMN)[0])
            out.write(TRAILER)
        files.append(file)
    psql = _psql()
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            [
                psql,
                "-q",
                "-X",
                "-d",
                conninfo(url),
                "-c",
                "set synchronous_commit = off",
                "-c",
                f"\\copy document_chunk from '{file}' with (format binary)",
            ]
        )
        for file in files
    ]
    if any(process.wait() for process in running):
        raise RuntimeError("psql failed")
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return seconds


def _psql() -> str:
    found = shutil.which("psql")
    if found:
        return found
    from local.postgres.installation import installation

    return installation().program("psql")


def time_load(url: str, collections: list[Collection], rows: dict[str, Rows], connections: int) -> float:
    """Return seconds of our load stage in as many processes."""
    with connected(url) as connection:
        ledger_schema.require(connection)
        toast.keep_in_line(connection, COLUMN)
        ledger.start_run(connection, "load")
        ledger.add_collections(
            connection, "load", [ledger.CopiedCollection(c.id, c.name, c.dimension or 0, 1) for c in collections]
        )
    context = multiprocessing.get_context("fork")
    started = time.perf_counter()
    running = [
        context.Process(target=_load, args=(url, collections[part::connections], rows)) for part in range(connections)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise RuntimeError("the load failed")
    return time.perf_counter() - started


def _load(url: str, collections: list[Collection], rows: dict[str, Rows]) -> None:
    tune_process()
    with connected(url) as connection:
        document_chunk.require_table(connection)
        writer = BatchWriter(connection, Memory(rows), "load", COLUMN, careful=False)  # type: ignore[arg-type]
        parts = [Part(collection, rows[collection.id].keys) for collection in collections]
        batches = list(batches_of(parts, MOST_ROWS))
        for batch, following in zip_longest(batches, batches[1:]):
            writer.copy(batch, following)
