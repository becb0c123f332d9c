"""What has changed in a collection since it was copied: from its newest log records, else from its rows.

If the newer records are all still in the log, only these are looked at. If the HNSW files were written meanwhile,
chromadb may have purged them: then the rows' own seq_ids tell what was written, and the number of rows whether anything
was deleted; only then the ids of both sides are compared, which costs a pass over that collection.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psycopg

from ..chroma.catalog import Collection
from ..chroma.log_tail import LogRecord
from ..chroma.sources import Source
from ..chroma.store import ChromaStore
from ..ledger import ledger

MOST_IDS = 5000
"""How many ids are exchanged at once: what one transaction holds in memory."""


@dataclass(frozen=True, slots=True)
class Change:
    """Ids of one collection that were written or deleted.

    `records` are what the log says about them; None when it does not, and all of their vectors are read anew.
    """

    collection: Collection
    touched: tuple[bytes, ...]
    records: tuple[LogRecord, ...] | None = None
    compared: bool = False

    @property
    def dimension(self) -> int:
        """Return the length of its embeddings, 0 when it never had any."""
        return self.collection.dimension or 0

    def parts(self) -> "Iterator[Change]":
        """Cut it into pieces of as many ids as are exchanged at once."""
        for first in range(0, len(self.touched), MOST_IDS):
            ids = self.touched[first : first + MOST_IDS]
            some = set(ids)
            records = None if self.records is None else tuple(one for one in self.records if one.id in some)
            yield Change(self.collection, ids, records)


class Changes:
    """Finds the changes of one run's collections."""

    def __init__(self, connection: "psycopg.Connection", run: str, source: Source) -> None:
        self._connection = connection
        self._run = run
        self._source = source

    def groups(
        self, collections: Iterable[Collection], known: dict[str, ledger.CopiedCollection]
    ) -> Iterator[list[Change]]:
        """Yield the changes of collections, together as many as are exchanged at once; a larger one on its own."""
        group: list[Change] = []
        for collection in collections:
            change = self._of(collection, known.get(collection.id))
            if group and sum(len(one.touched) for one in group) + len(change.touched) > MOST_IDS:
                yield group
                group = []
            group.append(change)
        if group:
            yield group

    def _of(self, collection: Collection, known: ledger.CopiedCollection | None) -> Change:
        since = max(known.watermark, 0) if known else 0
        if isinstance(self._source, ChromaStore) and since and collection.flushed_to <= since < collection.watermark:
            records = self._source.log_since(collection, since)
            return Change(collection, tuple(dict.fromkeys(one.id for one in records)), tuple(records))
        if since and collection.watermark > since:
            return self._by_rows(collection, since)
        # New, or its log was rewound: everything.
        return Change(collection, tuple(sorted({*self._source.ids(collection), *self._copied_ids(collection)})))

    def _by_rows(self, collection: Collection, since: int) -> Change:
        written = self._source.written_since(collection, since)
        if self._has_only_grown(collection, written):
            return Change(collection, tuple(written), compared=False)
        gone = set(self._copied_ids(collection)) - set(self._source.ids(collection))
        return Change(collection, (*written, *sorted(gone)), compared=True)

    def _has_only_grown(self, collection: Collection, written: list[bytes]) -> bool:
        """Tell whether nothing was deleted.

        What was not written is in the table, for it was copied and kept out nowhere; if the store has as many such rows
        as the table, they are the same.
        """
        names = [target_id(one) for one in written]
        row = self._connection.execute(
            "select count(*) - (select count(*) from document_chunk where id = any(%s) and collection_name = %s),"
            " exists (select 1 from scaleout.batch where run = %s and left_out <> '[]'"
            " and collection in (%s, '')), exists (select 1 from scaleout.batch where run = %s and kind = 'before'"
            " and collection = %s) from document_chunk where collection_name = %s",
            (names, collection.name, self._run, collection.id, self._run, collection.name, collection.name),
        ).fetchone()
        assert row is not None
        return bool(not row[1] and not row[2] and row[0] == collection.rows - len(set(written)))

    def _copied_ids(self, collection: Collection) -> Iterator[bytes]:
        rows = self._connection.execute("select id from document_chunk where collection_name = %s", (collection.name,))
        return (one.encode() for (one,) in rows)


def target_id(raw: bytes) -> str:
    """Return an id as it stands in document_chunk; see `cleaning`."""
    return raw.decode("utf-8", "replace").replace("\0", "")
