"""Copies exactly the rows again that a verification found to differ, and brings the ledger to what the table then
holds."""

import psycopg

from ..chroma.catalog import Collection
from ..chroma.sources import Source
from ..errors import VerificationFailed
from ..ledger import ledger
from ..load.batches import SLICE_ROWS, Packed, send
from ..pgvector import document_chunk
from ..rows.copy_binary import VectorColumn
from .comparison import RowComparison


class Repair:
    """Mends the rows of one run. All or nothing."""

    def __init__(self, connection: "psycopg.Connection", run: str, source: Source, column: VectorColumn) -> None:
        self._connection = connection
        self._run = run
        self._source = source
        self._column = column

    def mend(self, differing: dict[Collection, tuple[str, ...]]) -> None:
        """Copy exactly these rows again, and bring the ledger to what the table then holds. All or nothing; commits.

        First all of them are deleted: a row may have been found under another collection than its own.
        """
        for ids in differing.values():
            self._connection.execute("delete from document_chunk where id = any(%s)", (list(ids),))
        for collection, ids in differing.items():
            raw = [one.encode() for one in ids]
            slices = (
                self._source.read_ids(collection, raw[at : at + SLICE_ROWS]) for at in range(0, len(raw), SLICE_ROWS)
            )
            packed = Packed([(collection.name, slices)], self._column)
            send(self._connection, packed)
            self._correct_ledger(collection, packed.written[0].ids)
        rows = RowComparison(self._connection, self._run, self._source, self._column)
        for collection, ids in differing.items():
            if rows.differing(collection):
                raise VerificationFailed(
                    f"collection {collection.name} still differs after {len(ids)} rows were copied again"
                )
        self._connection.commit()

    def _correct_ledger(self, collection: Collection, ids: list[str]) -> None:
        dimensions = {collection.name: collection.dimension or 0}
        found = document_chunk.digests(self._connection, self._column, dimensions)
        rows, digest, _ = found.get(collection.name, (0, 0, 0))
        was_rows, was_digest = ledger.expected(self._connection, self._run).get(collection.name, (0, 0))
        correction = ledger.Entry(collection.id, "repair", rows - was_rows, digest - was_digest, ids)
        ledger.add_entry(self._connection, self._run, correction)
