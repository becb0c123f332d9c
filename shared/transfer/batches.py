"""One batch: read slices, clean them, COPY them, write the ledger row, commit. All or nothing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import psycopg
from numpy.typing import NDArray

from . import ledger
from .chroma_catalog import Collection
from .cleaning import Finding, clean
from .copy_binary import HEADER, TRAILER, VectorColumn, pack
from .rows import Rows
from .sources import Source

SLICE_ROWS = 1000
COPY_SQL = "copy document_chunk (id, vector, collection_name, text, vmetadata) from stdin with (format binary)"


@dataclass(slots=True)
class Written:
    """What went into one COPY."""

    ids: list[str] = field(default_factory=list)
    digest: int = 0
    findings: list[Finding] = field(default_factory=list)


class BatchWriter:
    """Writes batches of one run over one connection. `careful` looks before each insert whether an id is there
    already."""

    def __init__(self, connection: "psycopg.Connection", run: str, column: VectorColumn, *, careful: bool) -> None:
        self._connection = connection
        self._run = run
        self._column = column
        self._careful = careful

    def copy(self, source: Source, collection: Collection, keys: NDArray[np.int64]) -> None:
        """Copy these rows and commit; a batch that someone else committed meanwhile is left alone."""
        try:
            self._copy(source, collection, keys, careful=self._careful)
        except psycopg.errors.UniqueViolation:
            self._connection.rollback()
            if self._is_finished(collection, keys):
                return
            self._copy(source, collection, keys, careful=True)

    def _copy(self, source: Source, collection: Collection, keys: NDArray[np.int64], *, careful: bool) -> None:
        slices = (source.read(collection, keys[at : at + SLICE_ROWS]) for at in range(0, len(keys), SLICE_ROWS))
        written = copy_slices(self._connection, collection.name, self._column, slices, run=self._run, careful=careful)
        ledger.add_batch(
            self._connection,
            self._run,
            ledger.Batch(
                collection=collection.id,
                kind="bulk",
                rows=len(written.ids),
                digest=written.digest,
                written=written.digest,
                ids=written.ids,
                first_key=int(keys[0]),
                last_key=int(keys[-1]),
                left_out=tuple(asdict(finding) for finding in written.findings),
            ),
        )
        self._connection.commit()

    def _is_finished(self, collection: Collection, keys: NDArray[np.int64]) -> bool:
        return (int(keys[0]), int(keys[-1])) in ledger.finished_ranges(self._connection, self._run, collection.id)


def copy_slices(
    connection: "psycopg.Connection",
    collection: str,
    column: VectorColumn,
    slices: Iterator[Rows],
    *,
    run: str,
    careful: bool,
) -> Written:
    """COPY slices of one collection in the current transaction."""
    written = Written()
    # Durability comes with the next synchronous commit; until then a crash of the server loses rows and ledger alike.
    connection.execute("set local synchronous_commit = off")
    ready = (_admitted(connection, rows, run, written) for rows in slices) if careful else slices
    if careful:
        ready = iter(list(ready))  # the connection cannot be asked anything while a COPY runs
    with connection.cursor() as cursor, cursor.copy(COPY_SQL) as copy:
        copy.write(HEADER)
        for rows in ready:
            cleaned, findings = clean(rows)
            data, digest = pack(cleaned, collection, column)
            copy.write(data)
            written.digest += digest
            written.ids += [one.decode() for one in cleaned.ids]
            written.findings += findings
        copy.write(TRAILER)
    return written


def _admitted(connection: "psycopg.Connection", rows: Rows, run: str, written: Written) -> Rows:
    """Leave out ids that are in the table already: rows that were there before are respected, and named."""
    ids = [one.decode("utf-8", "replace") for one in rows.ids]
    there = {one for (one,) in connection.execute("select id from document_chunk where id = any(%s)", (ids,))}
    if not there:
        return rows
    ours = ledger.own_ids(connection, run, there)
    written.findings += [Finding(one, "already_there") for one in sorted(there - ours)]
    kept = rows.take([at for at, one in enumerate(ids) if one not in there])
    return Rows(kept.keys, kept.ids, kept.vectors, kept.texts, kept.metadatas, rows.without_vector)
