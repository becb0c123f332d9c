"""Finds what users changed in document_chunk since the run copied it from a Chroma store that has stood still since.

First by the ledger alone: a collection whose rows and digest are still those of the copy has not changed, and costs
one digest on the server. Only the others are compared row by row with the store. Rows that a policy kept out of the
copy, and rows that were in the table before the run, are nobody's change.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import psycopg
from numpy.typing import NDArray

from ..chroma.catalog import Collection
from ..chroma.sources import Source
from ..ledger import ledger
from ..pgvector import document_chunk
from ..progress import Progress
from ..rows.cleaning import clean
from ..rows.copy_binary import VectorColumn
from ..rows.rows import Rows

SLICE_ROWS = 1000
RELATIVE_ERROR = 1e-5
"""Chroma normalises cosine vectors, so what is read back is rounded otherwise; see `verification`."""
COMMON_DIMENSIONS = (384, 512, 768, 1024, 1536, 2048, 3072)

_FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Difference:
    """What one collection of the store lacks, has otherwise, or has too much."""

    name: str
    dimension: int
    replaces: bool
    """Nothing of the collection in the store stays: it is deleted as a whole, as Open WebUI does."""
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def note_foreign_rows(connection: "psycopg.Connection", run: str) -> int:
    """Before the switch: remember which rows are not the run's, so that they are never taken for new ones."""
    connection.execute("delete from scaleout.batch where run = %s and kind = %s", (run, _FOREIGN))
    counted = connection.execute(
        "select (select count(*) from document_chunk)"
        " - (select coalesce(sum(rows), 0)::bigint from scaleout.batch where run = %s and kind <> 'before')",
        (run,),
    ).fetchone()
    if not (counted and counted[0]):
        return 0
    foreign = connection.execute(
        "select id from document_chunk where id not in (select unnest(ids) from scaleout.batch where run = %s)", (run,)
    ).fetchall()
    named = tuple({"id": one, "code": _FOREIGN} for (one,) in foreign)
    ledger.add_entry(connection, run, ledger.Entry("", _FOREIGN, 0, 0, [], left_out=named))
    return len(named)


def changed_collections(connection: "psycopg.Connection", run: str, column: VectorColumn) -> tuple[list[str], int]:
    """Return the names of collections that are not as the ledger says, and how many are."""
    expected = ledger.expected(connection, run)
    known = {one.name: one.dimension or column.dimension for one in ledger.copied_collections(connection, run).values()}
    digests = document_chunk.digests(connection, column, known)
    counts = document_chunk.counts(connection)
    changed = [name for name in sorted(known) if digests.get(name, (0, 0, 0))[:2] != expected.get(name, (0, 0))]
    wider = [name for name, (_, _, wrong) in digests.items() if wrong and not _had_rows_before(connection, run, name)]
    new = sorted(counts.keys() - known.keys())
    names = list(dict.fromkeys([*changed, *sorted(wider), *new]))
    return names, len(known) - len(set(names) & known.keys())


def _had_rows_before(connection: "psycopg.Connection", run: str, name: str) -> bool:
    row = connection.execute(
        "select exists (select 1 from scaleout.batch where run = %s and kind = 'before' and collection = %s)",
        (run, name),
    ).fetchone()
    return bool(row and row[0])


@dataclass(slots=True)
class Comparison:
    """Compares named collections of one run with the store."""

    connection: "psycopg.Connection"
    run: str
    column: VectorColumn
    source: Source
    _foreign: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rows = self.connection.execute(
            "select f ->> 'id' from scaleout.batch, jsonb_array_elements(left_out) f where run = %s and kind = %s",
            (self.run, _FOREIGN),
        )
        self._foreign = {one for (one,) in rows}

    def differences(
        self, names: Iterable[str], collections: Iterable[Collection], progress: Progress
    ) -> list[Difference]:
        """Return what differs in these collections."""
        by_name = {one.name: one for one in collections}
        listed = list(names)
        found = []
        for at, name in enumerate(listed):
            progress("compare collections", at, len(listed), "collections")
            difference = self._difference(name, by_name.get(name))
            if difference.added or difference.changed or difference.deleted:
                found.append(difference)
        return found

    def _difference(self, name: str, collection: Collection | None) -> Difference:
        there = self._ids(name) - self._foreign
        same, changed, missing = self._compare(collection) if collection and collection.rows else (set(), set(), set())
        deleted = ledger.own_ids(self.connection, self.run, missing) if missing else set()
        added = there - same - changed
        stays = (collection.rows if collection else 0) - len(deleted)
        width = self._width(name, added | changed) if added or changed else 0
        own = (collection.dimension or 0) if collection else 0
        fits = own >= width and stays > 0
        if fits:
            return _sorted(name, own, False, added, changed, deleted)
        dimension = embedding_dimension(width, self._known_dimensions()) if there else own
        return _sorted(name, dimension, bool(collection), there, set(), same | changed | missing)

    def _ids(self, name: str) -> set[str]:
        rows = self.connection.execute("select id from document_chunk where collection_name = %s", (name,))
        return {one for (one,) in rows}

    def _compare(self, collection: Collection) -> tuple[set[str], set[str], set[str]]:
        """Return the store's ids whose row at the target is the same, is another one, is missing."""
        same: set[str] = set()
        changed: set[str] = set()
        missing: set[str] = set()
        keys = self.source.keys(collection)
        for at in range(0, len(keys), SLICE_ROWS):
            rows, _ = clean(self.source.read(collection, keys[at : at + SLICE_ROWS]))
            for name, equal in self._equal(collection, rows):
                (missing if equal is None else same if equal else changed).add(name)
        return same, changed, missing

    def _equal(self, collection: Collection, rows: Rows) -> list[tuple[str, bool | None]]:
        names = [one.decode() for one in rows.ids]
        found = self.connection.cursor(binary=True).execute(
            f"select id, {self.column.name}_send(subvector(vector, 1, %s)), convert_to(text, 'UTF8'),"
            " convert_to(vmetadata::text, 'UTF8') from document_chunk where id = any(%s) and collection_name = %s",
            (collection.dimension, names, collection.name),
        )
        stored = {one: (received_vector(sent, self.column), text, metadata) for one, sent, text, metadata in found}
        element = ">f2" if self.column.half else ">f4"
        return [
            (
                name,
                None
                if name not in stored
                else equal_vectors(stored[name][0], vector.astype(element).astype(np.float32))
                and stored[name][1:] == (text, metadata),
            )
            for name, vector, text, metadata in zip(names, rows.vectors, rows.texts, rows.metadatas, strict=True)
        ]

    def _width(self, name: str, ids: set[str]) -> int:
        """Return how many elements the embeddings need: what follows in every one of them is padding."""
        width, listed = 0, sorted(ids)
        for at in range(0, len(listed), SLICE_ROWS):
            rows = self.connection.cursor(binary=True).execute(
                f"select {self.column.name}_send(vector) from document_chunk where id = any(%s)",
                (listed[at : at + SLICE_ROWS],),
            )
            for (sent,) in rows:
                used = np.flatnonzero(received_vector(sent, self.column))
                width = max(width, int(used[-1]) + 1 if len(used) else 0)
        return width

    def _known_dimensions(self) -> set[int]:
        return {one.dimension for one in ledger.copied_collections(self.connection, self.run).values()}


def received_vector(sent: bytes, column: VectorColumn) -> NDArray[np.float32]:
    """Return a vector as `vector_send` or `halfvec_send` gives it."""
    return np.frombuffer(sent, ">f2" if column.half else ">f4", offset=4).astype(np.float32)


def equal_vectors(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Tell whether two vectors are the same but for rounding."""
    if one.shape != other.shape:
        return False
    return bool(np.abs(one - other).max(initial=0) <= RELATIVE_ERROR * np.abs(other).max(initial=0))


def embedding_dimension(width: int, known: Iterable[int]) -> int:
    """Return the dimension of embeddings that need `width` elements: one that the run knows, else a common one."""
    fitting = [one for one in sorted(known) if one >= width] or [one for one in COMMON_DIMENSIONS if one >= width]
    return fitting[0] if fitting else width


def _sorted(
    name: str, dimension: int, replaces: bool, added: set[str], changed: set[str], deleted: set[str]
) -> Difference:
    return Difference(name, dimension, replaces, *(tuple(sorted(ids)) for ids in (added, changed, deleted)))
