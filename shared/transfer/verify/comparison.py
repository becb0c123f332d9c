"""Compares the rows of one collection, one by one, and names those that differ.

Vectors may differ in the last bits: Chroma keeps cosine vectors normalised with their norm beside, and multiplies when
asked, so a row that moved from its log to its files since it was copied reads back with another rounding.
"""

import numpy as np
import psycopg

from ..chroma.catalog import Collection
from ..chroma.sources import Source
from ..ledger import ledger
from ..load.batches import SLICE_ROWS
from ..rows.cleaning import clean
from ..rows.copy_binary import VectorColumn
from ..rows.rows import Rows

_RELATIVE_ERROR = 1e-5


class RowComparison:
    """Source and table of one run, row by row."""

    def __init__(self, connection: "psycopg.Connection", run: str, source: Source, column: VectorColumn) -> None:
        self._connection = connection
        self._run = run
        self._source = source
        self._column = column

    def kept_out(self, collection: Collection) -> set[str]:
        """Return the ids of rows in the store that are not in the table on purpose."""
        named = {
            one
            for (one,) in self._connection.execute(
                "select distinct f ->> 'id' from scaleout.batch, jsonb_array_elements(left_out) f where run"
                " = %s and collection = %s"
                " and left_out <> '[]'",
                (self._run, collection.id),
            )
        }
        there = {
            one
            for (one,) in self._connection.execute("select id from document_chunk where id = any(%s)", (list(named),))
        }
        own = ledger.own_ids(self._connection, self._run, there) if there else set()
        return {
            one
            for one in (raw.decode("utf-8", "replace") for raw in self._source.ids(collection))
            if one in named - own
        }

    def differing(self, collection: Collection) -> tuple[str, ...]:
        """Compare one collection row by row; return the ids that are missing, extra or different."""
        kept_out = self.kept_out(collection)
        wrong: list[str] = []
        seen: set[str] = set()
        keys = self._source.keys(collection)
        for at in range(0, len(keys), SLICE_ROWS):
            rows, _ = clean(self._source.read(collection, keys[at : at + SLICE_ROWS]))
            names = [one.decode() for one in rows.ids]
            seen.update(names)
            equal = self._equal(collection, rows, names)
            wrong += [name for name, same in zip(names, equal, strict=True) if not same and name not in kept_out]
        own = ledger.expected(self._connection, self._run).get(collection.name, (0, 0))[0]
        if own or wrong:
            there = {
                one
                for (one,) in self._connection.execute(
                    "select id from document_chunk where collection_name = %s", (collection.name,)
                )
            }
            extra = there - seen
            wrong += sorted(ledger.own_ids(self._connection, self._run, extra) if extra else ())
        return tuple(wrong)

    def _equal(self, collection: Collection, rows: Rows, names: list[str]) -> list[bool]:
        found = self._connection.cursor(binary=True).execute(
            f"select id, {self._column.name}_send(vector), convert_to(text, 'UTF8'),"
            " convert_to(vmetadata::text, 'UTF8')"
            " from document_chunk where id = any(%s) and collection_name = %s",
            (names, collection.name),
        )
        stored = {one: (vector, text, metadata) for one, vector, text, metadata in found}
        element = ">f2" if self._column.half else ">f4"
        equal = []
        for name, vector, text, metadata in zip(names, rows.vectors, rows.texts, rows.metadatas, strict=True):
            there = stored.get(name)
            if there is None:
                equal.append(False)
                continue
            sent = np.frombuffer(there[0], element, offset=4).astype(np.float32)
            wanted = vector.astype(element).astype(np.float32)
            limit = _RELATIVE_ERROR * float(np.abs(wanted).max())
            same_vector = float(np.abs(sent[: len(wanted)] - wanted).max()) <= limit and not sent[len(wanted) :].any()
            equal.append(same_vector and (text, metadata) == there[1:])
        return equal
