"""One batch: read slices, clean them, COPY them, write the ledger rows, commit. All or nothing.

Open WebUI makes a collection for every file, so most are small. A batch therefore takes as many of them as fit, in one
COPY and one transaction: the round trips of a transaction cost as much as some hundred rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice

import numpy as np
import psycopg
from numpy.typing import NDArray

from ..chroma.catalog import Collection
from ..chroma.sources import Source
from ..ledger import ledger
from ..rows.cleaning import Finding, clean
from ..rows.copy_binary import HEADER, TRAILER, VectorColumn, pack
from ..rows.rows import Rows

MOST_ROWS = 20_000
FEWEST_ROWS = 1000
CAREFUL_ROWS = 5000  # these are all in memory at once
SLICE_ROWS = 250  # about 2 MB: while one is on its way, the next is made
AHEAD_SLICES = 4
COPY_SQL = "copy document_chunk (id, vector, collection_name, text, vmetadata) from stdin with (format binary)"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one collection that are still to be copied, by their keys, ascending."""

    collection: Collection
    keys: NDArray[np.int64]


Batch = tuple[Part, ...]
"""What is committed at once."""


def rows_of(batch: Batch) -> int:
    """Count the rows."""
    return sum(len(part.keys) for part in batch)


def batch_rows(total: int, workers: int, rows_per_second: float, *, careful: bool) -> int:
    """Return how many rows to commit at once: every worker gets several batches, a throttled one pauses often. Pure."""
    most = CAREFUL_ROWS if careful else MOST_ROWS
    if rows_per_second:
        most = min(most, int(rows_per_second / workers))
    return max(FEWEST_ROWS, min(most, total // (4 * workers)))


def batches_of(parts: Iterable[Part], rows: int) -> Iterator[Batch]:
    """Fill batches of so many rows, from the largest part to the smallest; only the last has fewer. Pure."""
    batch: list[Part] = []
    room = rows
    for part in sorted(parts, key=lambda part: -len(part.keys)):
        at = 0
        while at < len(part.keys):
            batch.append(Part(part.collection, part.keys[at : at + room]))
            at += len(batch[-1].keys)
            room -= len(batch[-1].keys)
            if not room:
                yield tuple(batch)
                batch, room = [], rows
    if batch:
        yield tuple(batch)


@dataclass(slots=True)
class Written:
    """What one part's rows became."""

    ids: list[str] = field(default_factory=list)
    digest: int = 0
    findings: list[Finding] = field(default_factory=list)


class Packed:
    """Rows of several collections as COPY data, made slice by slice while it is sent."""

    def __init__(self, parts: Iterable[tuple[str, Iterable[Rows]]], column: VectorColumn) -> None:
        self.written: list[Written] = []
        self._data = self._pack(parts, column)
        self._made: list[bytes] = []

    def begin(self) -> None:
        """Make the first slices now."""
        self._made += islice(self._data, AHEAD_SLICES)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._made
        self._made = []
        yield from self._data

    def _pack(self, parts: Iterable[tuple[str, Iterable[Rows]]], column: VectorColumn) -> Iterator[bytes]:
        for name, slices in parts:
            written = Written()
            self.written.append(written)
            for rows in slices:
                cleaned, findings = clean(rows)
                data, digest = pack(cleaned, name, column)
                written.digest += digest
                written.ids += [one.decode() for one in cleaned.ids]
                written.findings += findings
                yield data


class BatchWriter:
    """Writes batches of one run over one connection. `careful` looks before each insert whether an id is there
    already."""

    def __init__(
        self, connection: "psycopg.Connection", source: Source, run: str, column: VectorColumn, *, careful: bool
    ) -> None:
        self._connection = connection
        self._source = source
        self._run = run
        self._column = column
        self._careful = careful
        self._begun: tuple[Batch, Packed] | None = None

    def copy(self, batch: Batch, following: Batch | None = None) -> None:
        """Copy these rows and commit; a part that someone else committed meanwhile is left alone.

        While the server works off the last of them, the first of those that follow are made ready.
        """
        if self._careful:
            self._copy_carefully(batch)
            return
        begun = self._begun
        packed = begun[1] if begun and begun[0] is batch else self._packed(batch)
        try:
            send(self._connection, packed, lambda: self._begin(following))
            self._finish(batch, packed.written)
        except psycopg.errors.UniqueViolation:
            self._connection.rollback()
            finished = ledger.finished_ranges(self._connection, self._run)
            left = tuple(part for part in batch if not _is_among(finished.get(part.collection.id, ()), part))
            for fewer in batches_of(left, CAREFUL_ROWS):
                self._copy_carefully(fewer)

    def _begin(self, batch: Batch | None) -> None:
        self._begun = None
        if batch is not None:
            self._begun = batch, self._packed(batch)
            self._begun[1].begin()

    def _packed(self, batch: Batch) -> Packed:
        return Packed(((part.collection.name, _slices(self._source, part)) for part in batch), self._column)

    def _copy_carefully(self, batch: Batch) -> None:
        """Look first: the connection cannot be asked anything while a COPY runs."""
        already: list[list[Finding]] = [[] for _ in batch]
        admitted = [
            (part.collection.name, [_admitted(self._connection, rows, self._run, there) for rows in slices])
            for part, there, slices in zip(batch, already, (_slices(self._source, part) for part in batch), strict=True)
        ]
        packed = Packed(admitted, self._column)
        send(self._connection, packed)
        for written, there in zip(packed.written, already, strict=True):
            written.findings += there
        self._finish(batch, packed.written)

    def _finish(self, batch: Batch, written: list[Written]) -> None:
        entries = [_entry(part, one) for part, one in zip(batch, written, strict=True)]
        ledger.add_entries(self._connection, self._run, entries)
        self._connection.commit()


def _slices(source: Source, part: Part) -> Iterator[Rows]:
    return (
        source.read(part.collection, part.keys[at : at + SLICE_ROWS]) for at in range(0, len(part.keys), SLICE_ROWS)
    )


def _is_among(ranges: Sequence[tuple[int, int]], part: Part) -> bool:
    return (int(part.keys[0]), int(part.keys[-1])) in ranges


def _entry(part: Part, written: Written) -> ledger.Entry:
    return ledger.Entry(
        collection=part.collection.id,
        kind="bulk",
        rows=len(written.ids),
        digest=written.digest,
        written=written.digest,
        ids=written.ids,
        first_key=int(part.keys[0]),
        last_key=int(part.keys[-1]),
        left_out=tuple(asdict(finding) for finding in written.findings),
    )


def send(connection: "psycopg.Connection", packed: Packed, before_the_end: Callable[[], None] = lambda: None) -> None:
    """COPY in the current transaction. `before_the_end` is called when all is sent and the server is still busy."""
    # Durability comes with the next synchronous commit; until then a crash of the server loses rows and ledger alike.
    connection.execute("set local synchronous_commit = off")
    with connection.cursor() as cursor, cursor.copy(COPY_SQL) as copy:
        copy.write(HEADER)
        for data in packed:
            copy.write(data)
        before_the_end()
        copy.write(TRAILER)


def _admitted(connection: "psycopg.Connection", rows: Rows, run: str, already: list[Finding]) -> Rows:
    """Leave out ids that are in the table already: rows that were there before are respected, and named."""
    ids = [one.decode("utf-8", "replace") for one in rows.ids]
    there = {one for (one,) in connection.execute("select id from document_chunk where id = any(%s)", (ids,))}
    if not there:
        return rows
    ours = ledger.own_ids(connection, run, there)
    already += [Finding(one, "already_there") for one in sorted(there - ours)]
    kept = rows.take([at for at, one in enumerate(ids) if one not in there])
    return Rows(kept.keys, kept.ids, kept.vectors, kept.texts, kept.metadatas, rows.without_vector)
