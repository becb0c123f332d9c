"""Exchanges changed rows at the target for what the source has now: several collections at once, rows and ledger in
one transaction.

First every row that was touched is deleted, then what the source still has of them is copied, then it is read back. So
an id may move from one collection to another, and a killed exchange leaves nothing. Each step is one statement for all
collections, because after the stop it is the round trips that take the time.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import psycopg

from ..chroma.log_tail import new_vectors
from ..chroma.sources import Source
from ..chroma.store import ChromaStore
from ..errors import PermanentError, VerificationFailed
from ..ledger import ledger
from ..load.batches import Packed, Written, send
from ..rows.cleaning import Finding
from ..rows.copy_binary import VectorColumn, digest_sql
from ..rows.rows import Rows
from .changes import Change, target_id

_SLICE = 1000


@dataclass(slots=True)
class _Exchanged(Written):
    """What was written to one collection, and what was deleted from it before."""

    gone_rows: int = 0
    gone_digest: int = 0


class Exchange:
    """Exchanges rows of one run. `require_still` is asked before each commit; it raises when the source was written
    while it was read."""

    def __init__(
        self,
        connection: "psycopg.Connection",
        run: str,
        source: Source,
        column: VectorColumn,
        require_still: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._run = run
        self._source = source
        self._column = column
        self._require_still = require_still
        row = connection.execute(
            "select array_agg(distinct collection) from scaleout.batch where run = %s and kind = 'before'", (run,)
        ).fetchone()
        self._had_rows_before = set(row[0] or ()) if row else set()

    def apply(self, group: list[Change]) -> tuple[int, int]:
        """Bring these collections up to date and commit; return how many rows were written and how many deleted."""
        written = deleted = 0
        if len(group) == 1:
            for part in group[0].parts():
                written, deleted = _added((written, deleted), self._exchange([part]))
        else:
            written, deleted = self._exchange([one for one in group if one.touched])
        ledger.update_collections(
            self._connection,
            self._run,
            [
                ledger.CopiedCollection(c.id, c.name, c.dimension or 0, c.watermark)
                for c in (one.collection for one in group)
            ],
        )
        self._require_still()
        self._connection.commit()
        return written, deleted

    def drop(self, known: ledger.CopiedCollection) -> int:
        """Delete what was copied from a collection that no longer exists, and commit; return how many rows."""
        ids = ledger.ids_of(self._connection, self._run, known.id)
        gone = self._delete(dict.fromkeys(ids, known.name), {known.name: known.dimension})
        rows, digest = gone.get(known.name, (0, 0))
        if rows:
            entry = ledger.Entry(known.id, "delta", -rows, -digest, [], written=0)
            ledger.add_entry(self._connection, self._run, entry)
        ledger.mark_gone(self._connection, self._run, known.id)
        self._require_still()
        self._connection.commit()
        return rows

    def _exchange(self, changes: list[Change]) -> tuple[int, int]:
        if not changes:
            return 0, 0
        there = self._there(changes)
        read = self._read(changes, there)
        dimensions = {one.collection.name: one.dimension for one in changes}
        results = {one.collection.name: _Exchanged() for one in changes}
        self._keep_out(changes, read, there, results)
        wanted = {
            target_id(raw): one.collection.name
            for one in changes
            for raw in one.touched
            if there.get(target_id(raw)) == one.collection.name
        }
        for name, (rows, digest) in self._delete(wanted, dimensions).items():
            results[name].gone_rows, results[name].gone_digest = rows, digest
        self._copy(read, results)
        self._note(changes, results)
        self._read_back(results, dimensions)
        written = {one for result in results.values() for one in result.ids}
        return len(written), len(wanted.keys() - written)

    def _there(self, changes: list[Change]) -> dict[str, str]:
        """Return in which collection the touched ids are at the target; without those that are respected."""
        names = [target_id(raw) for one in changes for raw in one.touched]
        rows = self._connection.execute(
            "select id, collection_name from document_chunk where id = any(%s)", (names,)
        ).fetchall()
        return dict(rows)

    def _keep_out(
        self,
        changes: list[Change],
        read: list[tuple[Change, list[Rows]]],
        there: dict[str, str],
        results: dict[str, _Exchanged],
    ) -> None:
        """Respect rows that were in the table before the run, and refuse ids that another collection has."""
        touched = {(one.collection.name, target_id(raw)) for one in changes for raw in one.touched}
        suspects = {
            one: name for one, name in there.items() if name in self._had_rows_before or (name, one) not in touched
        }
        if not suspects:
            return
        own = ledger.own_ids(self._connection, self._run, suspects)
        for one in suspects.keys() - own:
            del there[one]  # nobody's to delete
        twice: list[str] = []
        for change, slices in read:
            name = change.collection.name
            for at, rows in enumerate(slices):
                ids = [target_id(raw) for raw in rows.ids]
                twice += [
                    f"{one} in {suspects[one]} and {name}"
                    for one in ids
                    if one in own and suspects[one] != name and (suspects[one], one) not in touched
                ]
                foreign = [one for one in ids if one in suspects and one not in own]
                results[name].findings += [Finding(one, "already_there") for one in foreign]
                slices[at] = rows.take([i for i, one in enumerate(ids) if one not in set(foreign)]) if foreign else rows
        if twice:
            raise PermanentError(
                f"{len(twice)} ids are in more than one collection, document_chunk can hold each once:"
                f" {'; '.join(twice[:20])}",
                hint="re-index one of the named collections in Open WebUI, then plan again",
            )

    def _read(self, changes: list[Change], there: dict[str, str]) -> list[tuple[Change, list[Rows]]]:
        """Read what the source has now of the touched rows."""
        followed = [one for one in changes if one.records is not None]
        kept_out = ledger.left_out_ids(self._connection, self._run, [one.collection.id for one in followed])
        vectors = {}
        for one in followed:
            name, absent = one.collection.name, kept_out.get(one.collection.id, set())
            before = {raw for raw in one.touched if there.get(target_id(raw)) == name or target_id(raw) in absent}
            vectors[one.collection.id] = new_vectors(one.collection, one.records or (), before)
        stay = [
            (target_id(raw), one.dimension)
            for one in followed
            for raw in one.touched
            if raw not in vectors[one.collection.id] and there.get(target_id(raw)) == one.collection.name
        ]
        known = self._vectors(stay)
        return [(one, self._rows_of(one, vectors.get(one.collection.id), known)) for one in changes]

    def _rows_of(self, change: Change, vectors: dict[bytes, int] | None, known: dict[str, bytes]) -> list[Rows]:
        def known_vectors(ids: list[bytes]) -> dict[bytes, bytes]:
            return {one: known[target_id(one)] for one in ids if target_id(one) in known}

        read = []
        for at in range(0, len(change.touched), _SLICE):
            ids = list(change.touched[at : at + _SLICE])
            if vectors is None or not isinstance(self._source, ChromaStore):
                read.append(self._source.read_ids(change.collection, ids))
            else:
                read.append(self._source.read_changed(change.collection, ids, vectors, known_vectors))
        return read

    def _vectors(self, wanted: list[tuple[str, int]]) -> dict[str, bytes]:
        """Return vectors from the target, as the embedding's little-endian float32: they have not changed since they
        were copied."""
        wanted = [(one, dimension) for one, dimension in wanted if dimension]
        if self._column.half or not wanted:
            return {}
        rows = self._connection.cursor(binary=True).execute(
            "select d.id, vector_send(subvector(d.vector, 1, w.given)) from document_chunk d"
            " join unnest(%s::text[], %s::int[]) w(id, given) on w.id = d.id where d.id = any(%s)",
            ([one for one, _ in wanted], [given for _, given in wanted], [one for one, _ in wanted]),
        )
        return {one: np.frombuffer(sent, ">f4", offset=4).astype("<f4").tobytes() for one, sent in rows}

    def _delete(self, wanted: dict[str, str], dimensions: dict[str, int]) -> dict[str, tuple[int, int]]:
        """Delete these ids, each from the collection named with it; return rows and digest by collection."""
        if not wanted:
            return {}
        rows = self._connection.execute(
            "with gone as (delete from document_chunk d using unnest(%s::text[], %s::text[], %s::int[])"
            " w(id, name, given) where d.id = any(%s) and d.id = w.id and d.collection_name = w.name"
            " returning d.*, w.given)"
            f" select collection_name, count(*), sum({digest_sql(self._column, 'given')}) from gone group by 1",
            (
                list(wanted),
                list(wanted.values()),
                [dimensions[name] or self._column.dimension for name in wanted.values()],
                list(wanted),
            ),
        )
        return {name: (count, int(digest)) for name, count, digest in rows}

    def _copy(self, read: list[tuple[Change, list[Rows]]], results: dict[str, _Exchanged]) -> None:
        """COPY all of it at once."""
        if not any(slices for _, slices in read):
            return
        packed = Packed(((change.collection.name, slices) for change, slices in read), self._column)
        send(self._connection, packed)
        for (change, _), written in zip(read, packed.written, strict=True):
            result = results[change.collection.name]
            result.ids += written.ids
            result.digest += written.digest
            result.findings += written.findings

    def _note(self, changes: list[Change], results: dict[str, _Exchanged]) -> None:
        ids = {one.collection.name: one.collection.id for one in changes}
        ledger.add_entries(
            self._connection,
            self._run,
            [
                ledger.Entry(
                    collection=ids[name],
                    kind="delta",
                    rows=len(one.ids) - one.gone_rows,
                    digest=one.digest - one.gone_digest,
                    written=one.digest,
                    ids=one.ids,
                    left_out=tuple(asdict(finding) for finding in one.findings),
                )
                for name, one in results.items()
            ],
        )

    def _read_back(self, results: dict[str, _Exchanged], dimensions: dict[str, int]) -> None:
        ids = [one for result in results.values() for one in result.ids]
        found = read_digests(self._connection, self._column, dimensions, ids) if ids else {}
        wrong = [name for name, one in results.items() if found.get(name, (0, 0)) != (len(one.ids), one.digest)]
        if wrong:
            raise VerificationFailed(
                f"{len(wrong)} collections: changed rows read back differently: {', '.join(wrong[:20])}",
                hint="run verify-vectors --repair",
            )


def read_digests(
    connection: "psycopg.Connection", column: VectorColumn, dimensions: dict[str, int], ids: list[str]
) -> dict[str, tuple[int, int]]:
    """Return rows and digest of these ids in these collections, by collection."""
    rows = connection.execute(
        f"select d.collection_name, count(*), sum({digest_sql(column, 'c.given')}) from document_chunk d"
        " join unnest(%s::text[], %s::int[]) c(name, given) on c.name = d.collection_name"
        " where d.id = any(%s) group by 1",
        (list(dimensions), [one or column.dimension for one in dimensions.values()], ids),
    )
    return {name: (count, int(digest)) for name, count, digest in rows}


def _added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
