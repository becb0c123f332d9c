"""The way back: what users wrote, changed or deleted since the switch goes to the stopped Chroma store and the disk.

The store has stood still since the cut-over, so what document_chunk has otherwise is what users did. It is found with
the ledger's digests, written collection by collection with chromadb itself, read back, and then entered in the ledger
as `carried`: a killed run goes on with the next collection, a rerun finds nothing left to do, and the undo of the copy
removes these rows from document_chunk too, so that a later migration starts from the same place as the first.

Must run while no pod has the store open; the phase that starts it has stopped them all.
"""

import time
from pathlib import Path
from typing import Any

import psycopg

from ..chroma.catalog import Catalog
from ..chroma.selection import Selection
from ..chroma.snapshot import readable
from ..chroma.sources import open_source, with_fallback
from ..chroma.writer import SLICE_ROWS, ChromaWriter, Chunk, chroma_metadata
from ..errors import ConfigurationError, VerificationFailed
from ..files.carry_files import carry_files
from ..ledger import ledger, ledger_schema
from ..pgvector import document_chunk
from ..pgvector.database import connected
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn
from ..verify.store_difference import Comparison, Difference, changed_collections, equal_vectors, received_vector


def carry_back(
    url: str,
    data: Path,
    share: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Take rows and files back; return the counts. Raises VerificationFailed if what was written reads differently."""
    started = time.perf_counter()
    files = carry_files(share, data, progress=progress)
    chunks = carry_chunks(url, data / "vector_db", scratch, run=run, selection=selection, progress=progress)
    return {**chunks, **files, "verified": True, "seconds": round(time.perf_counter() - started, 3)}


def carry_chunks(
    url: str, store: Path, scratch: Path, *, run: str, selection: Selection | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Bring the stopped store to what document_chunk holds; return the counts."""
    chosen = selection or Selection()
    with connected(url) as connection:
        _require_run(connection, run)
        column = document_chunk.require_table(connection)
        progress("compare digests", 0, 0, "collections")
        names, unchanged = changed_collections(connection, run, column)
        found = _differences(connection, run, column, store, scratch, names, chosen, progress) if names else []
        carried = (
            _Carrier(connection, run, column, ChromaWriter(store, chosen.tenant, chosen.database)) if found else None
        )
        for at, difference in enumerate(found):
            progress("carry back", at, len(found), "collections")
            assert carried is not None
            carried.apply(difference)
    return {
        "run": run,
        "collections_changed": len(found),
        "collections_unchanged": unchanged + len(names) - len(found),
        "chunks_added": sum(len(one.added) for one in found if not one.replaces) + _net(found, 1),
        "chunks_updated": sum(len(one.changed) for one in found) + _net(found, 0),
        "chunks_deleted": sum(len(one.deleted) for one in found if not one.replaces) + _net(found, -1),
    }


def _net(found: list[Difference], sign: int) -> int:
    """A collection that is written anew counts by its ids: new ones (1), those in both (0), vanished ones (-1)."""
    total = 0
    for one in (one for one in found if one.replaces):
        now, before = set(one.added), set(one.deleted)
        total += len({1: now - before, 0: now & before, -1: before - now}[sign])
    return total


def _require_run(connection: "psycopg.Connection", run: str) -> None:
    there = ledger_schema.exists(connection)
    if not (there and connection.execute("select 1 from scaleout.run where id = %s", (run,)).fetchone()):
        raise ConfigurationError(
            f"the ledger knows no run {run}", hint="what was copied is not known, so nothing can be taken back"
        )


def _differences(
    connection: "psycopg.Connection",
    run: str,
    column: VectorColumn,
    store: Path,
    scratch: Path,
    names: list[str],
    chosen: Selection,
    progress: Progress,
) -> list[Difference]:
    everything = Selection(chosen.tenant, chosen.database, web_search=True)

    def compare(catalog: Catalog) -> list[Difference]:
        with open_source(catalog) as source:
            comparison = Comparison(connection, run, column, source)
            return comparison.differences(names, everything.of(catalog), progress)

    with readable(store, scratch / "carry", progress=progress) as path:
        return with_fallback(store, path, scratch / "carry", compare, selection=everything, progress=progress)[0]


class _Carrier:
    """Applies differences: one collection, one read-back, one transaction in the ledger."""

    def __init__(self, connection: "psycopg.Connection", run: str, column: VectorColumn, writer: ChromaWriter) -> None:
        self._connection = connection
        self._run = run
        self._column = column
        self._writer = writer

    def apply(self, wanted: Difference) -> None:
        """Bring one collection of the store to what document_chunk holds, and note it."""
        if wanted.replaces:
            self._writer.drop(wanted.name)
        else:
            self._writer.remove(wanted.name, [*wanted.deleted, *wanted.changed])
        written = [*wanted.added, *wanted.changed]
        for at in range(0, len(written), SLICE_ROWS):
            chunks = self._chunks(wanted, written[at : at + SLICE_ROWS])
            self._writer.add(wanted.name, chunks)
            self._read_back(wanted.name, chunks)
        self._require_gone(wanted)
        self._note(wanted)

    def _chunks(self, wanted: Difference, ids: list[str]) -> list[Chunk]:
        rows = self._connection.cursor(binary=True).execute(
            f"select id, {self._column.name}_send(subvector(vector, 1, %s)), text, vmetadata from document_chunk"
            " where id = any(%s) and collection_name = %s",
            (wanted.dimension, ids, wanted.name),
        )
        return [
            Chunk(one, received_vector(sent, self._column), text, chroma_metadata(metadata))
            for one, sent, text, metadata in rows
        ]

    def _read_back(self, name: str, chunks: list[Chunk]) -> None:
        stored = self._writer.read(name, [one.id for one in chunks])
        wrong = [one.id for one in chunks if not _is_same(one, stored.get(one.id))]
        if wrong:
            raise VerificationFailed(
                f"collection {name}: {len(wrong)} rows read back differently from Chroma: {', '.join(wrong[:20])}"
            )

    def _require_gone(self, wanted: Difference) -> None:
        if wanted.replaces and not wanted.added:
            left = wanted.name in self._writer.names()
        elif wanted.replaces:
            left = self._writer.count(wanted.name) != len(wanted.added)
        else:
            left = any(
                self._writer.read(wanted.name, wanted.deleted[at : at + SLICE_ROWS])
                for at in range(0, len(wanted.deleted), SLICE_ROWS)
            )
        if left:
            raise VerificationFailed(f"collection {wanted.name} still holds rows that users deleted")

    def _note(self, wanted: Difference) -> None:
        """Enter it in the ledger, which then says again that both stores are equal. Commits."""
        known = {one.name: one.id for one in ledger.copied_collections(self._connection, self._run).values()}
        one = known.get(wanted.name) or self._writer.id_of(wanted.name)
        self._connection.execute(
            "insert into scaleout.collection (run, id, name, dimension, watermark) values (%s, %s, %s, %s, 0)"
            " on conflict (run, id) do update set dimension = excluded.dimension",
            (self._run, one, wanted.name, wanted.dimension),
        )
        dimensions = {wanted.name: wanted.dimension or self._column.dimension}
        rows, digest, _ = document_chunk.digests(self._connection, self._column, dimensions).get(wanted.name, (0, 0, 0))
        was_rows, was_digest = ledger.expected(self._connection, self._run).get(wanted.name, (0, 0))
        entry = ledger.Entry(one, "carried", rows - was_rows, digest - was_digest, list(wanted.added))
        ledger.add_entry(self._connection, self._run, entry)
        self._connection.commit()


def _is_same(wanted: Chunk, stored: Chunk | None) -> bool:
    return (
        stored is not None
        and equal_vectors(stored.vector, wanted.vector)
        and (stored.text, stored.metadata) == (wanted.text, wanted.metadata)
    )
