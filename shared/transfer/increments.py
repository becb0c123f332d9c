"""Compares only what was written since the last verification, so that its time does not grow with the rest.

The ledger knows the ids and the digest of what each batch wrote. If exactly these rows read back with that digest, and
the collection has as many rows as it should, then what was equal before is equal still. Anything else makes the
collection a suspect, which is then compared as a whole.
"""

from collections.abc import Mapping

import numpy as np
import psycopg

from . import ledger
from .copy_binary import VectorColumn, digest_sql
from .errors import VerificationFailed
from .top_k import search


def suspects(
    connection: "psycopg.Connection", run: str, column: VectorColumn, source_rows: Mapping[str, int]
) -> set[str]:
    """Return the collections whose new rows do not read back as they were written, or whose rows do not add up."""
    written = ledger.unverified_writes(connection, run)
    expected = ledger.expected(connection, run)
    counts: dict[str, int] = dict(
        connection.execute(
            "select collection_name, count(*) from document_chunk where collection_name = any(%s) group by 1",
            (list(written),),
        ).fetchall()
    )
    return {
        name
        for name, one in written.items()
        if counts.get(name, 0) != expected.get(name, (0, 0))[0]
        or source_rows.get(name, counts.get(name, 0)) != counts.get(name, 0)
        or not _reads_back(connection, column, name, one)
    }


def _reads_back(connection: "psycopg.Connection", column: VectorColumn, name: str, one: ledger.Writes) -> bool:
    if one.digest is None or len(set(one.ids)) != len(one.ids):
        return False  # repaired, or written twice: the batches' digests do not add up
    row = connection.execute(
        f"select count(*), coalesce(sum({digest_sql(column, str(one.dimension))}), 0) from document_chunk"
        " where id = any(%s) and collection_name = %s",
        (one.ids, name),
    ).fetchone()
    return row is not None and (row[0], int(row[1])) == (len(one.ids), one.digest)


def search_for_changed(connection: "psycopg.Connection", run: str, column: VectorColumn, samples: int) -> int:
    """Search the table for some of the rows written since the last verification; each must find itself."""
    written = ledger.unverified_writes(connection, run)
    some = [(name, ids) for name, one in sorted(written.items()) for ids in one.ids[:1]][:samples]
    checked = 0
    for name, one in some:
        row = connection.execute(
            f"select {column.name}_send(vector) from document_chunk where id = %b", (one,), binary=True
        ).fetchone()
        if row is None or row[0] is None:
            continue
        vector = np.frombuffer(row[0], ">f2" if column.half else ">f4", offset=4).astype(np.float32)
        found = search(connection, name, vector, column, exact=False)
        if not found or not any(id_ == one for id_, distance in found if distance <= found[0][1] + 1e-6):
            raise VerificationFailed(f"collection {name}: a search for {one} does not find it")
        checked += 1
    return checked
