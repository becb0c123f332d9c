"""What was copied, written in the same transaction as the rows themselves.

One entry, a row of `scaleout.batch` (`ledger_schema`), stands for every transaction that changed `document_chunk`:
which ids it wrote, and by how much it moved the row count and digest of a collection. So at any moment, also after
kill -9, for every collection of a run

    sum(entry.rows), sum(entry.digest)  ==  count(*), sum(digest) over its rows in document_chunk

and that equality is what verification checks. `kind` is `before` (rows that were there before the run), `bulk`, `delta`
or `repair`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from ..chroma.catalog import LogHead

GONE = -1
"""The watermark of a collection that the store no longer has."""

_COLLECTION = """lateral (
    select name, dimension from scaleout.collection where run = b.run and id = b.collection limit 1
) c"""
"""The collection of an entry `b`, looked up by its key: both tables were just filled, nobody has analyzed them, and the
planner, which takes them for tiny, would join them by comparing each with each. The limit keeps it from doing so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction's change to one collection. Keys are `embeddings.id` of the Chroma store; None for a delta."""

    collection: str
    kind: str
    rows: int
    digest: int
    ids: list[str]
    first_key: int | None = None
    last_key: int | None = None
    left_out: tuple[dict[str, Any], ...] = ()
    written: int | None = None
    """The digest of the rows with `ids` alone; None when it is not known."""


@dataclass(frozen=True, slots=True)
class CopiedCollection:
    """A collection as the run first saw it; changes after `watermark` (a seq_id of Chroma's log) are the delta's."""

    id: str
    name: str
    dimension: int
    watermark: int


def start_run(connection: "psycopg.Connection", run: str, *, created_table: bool = False) -> None:
    """Record the run once; a rerun keeps what the first one noted."""
    connection.execute(
        "insert into scaleout.run (id, created_table) values (%s, %s) on conflict (id) do update"
        " set created_table = run.created_table or excluded.created_table",
        (run, created_table),
    )


def log_head(connection: "psycopg.Connection", run: str) -> LogHead | None:
    """Return where Chroma's log stood when the run's first copy of the store was made."""
    row = connection.execute("select log_head from scaleout.run where id = %s", (run,)).fetchone()
    return LogHead(**row[0]) if row and row[0] else None


def set_log_head(connection: "psycopg.Connection", run: str, head: LogHead | None, *, keep_first: bool) -> None:
    """Note where the log stands; a bulk pass that is resumed keeps the first note, so that the delta covers everything
    since."""
    value = json.dumps(asdict(head)) if head else None
    chosen = "coalesce(log_head, %s::jsonb)" if keep_first else "%s::jsonb"
    connection.execute(f"update scaleout.run set log_head = {chosen} where id = %s", (value, run))


def add_collections(connection: "psycopg.Connection", run: str, collections: Iterable[CopiedCollection]) -> None:
    """Record collections; one that is known keeps its first watermark, so the delta covers everything since."""
    rows = [(run, c.id, c.name, c.dimension, c.watermark) for c in collections]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into scaleout.collection (run, id, name, dimension, watermark) values (%s, %s, %s, %s,"
            " %s) on conflict do nothing",
            rows,
        )


def copied_collections(connection: "psycopg.Connection", run: str) -> dict[str, CopiedCollection]:
    """Return the run's collections by their Chroma id."""
    rows = connection.execute("select id, name, dimension, watermark from scaleout.collection where run = %s", (run,))
    return {row[0]: CopiedCollection(*row) for row in rows}


def update_collections(connection: "psycopg.Connection", run: str, collections: Iterable[CopiedCollection]) -> None:
    """After a delta: changes of these collections up to their watermarks are in document_chunk."""
    columns = zip(*((c.id, c.name, c.dimension, c.watermark) for c in collections), strict=True)
    connection.execute(
        "insert into scaleout.collection (run, id, name, dimension, watermark)"
        " select %s, * from unnest(%s::text[], %s::text[], %s::int[], %s::bigint[])"
        " on conflict (run, id) do update set name = excluded.name, dimension = excluded.dimension,"
        " watermark = excluded.watermark",
        (run, *map(list, columns)),
    )


def mark_gone(connection: "psycopg.Connection", run: str, collection: str) -> None:
    """After a delta: nothing of this collection, which the store no longer has, is in document_chunk."""
    connection.execute(
        "update scaleout.collection set watermark = %s where run = %s and id = %s", (GONE, run, collection)
    )


def add_entry(connection: "psycopg.Connection", run: str, entry: Entry) -> None:
    """Record one transaction; must run inside it."""
    add_entries(connection, run, [entry])


def add_entries(connection: "psycopg.Connection", run: str, entries: Iterable[Entry]) -> None:
    """Record what one transaction did to several collections; must run inside it."""
    values = [
        (
            run,
            entry.collection,
            entry.kind,
            entry.first_key,
            entry.last_key,
            entry.rows,
            entry.digest,
            entry.written,
            entry.ids,
            json.dumps(entry.left_out),
        )
        for entry in entries
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into scaleout.batch (run, collection, kind, first_key, last_key, rows, digest, written, ids,"
            " left_out) values (%s, %s, %s, %s, %s, %s, %s, %s, %b, %s)",
            values,
        )


def finished_ranges(connection: "psycopg.Connection", run: str) -> dict[str, list[tuple[int, int]]]:
    """Return the key ranges of the bulk pass that are committed, by Chroma's id of the collection."""
    rows = connection.execute(
        "select collection, first_key, last_key from scaleout.batch where run = %s and kind = 'bulk'", (run,)
    )
    ranges: dict[str, list[tuple[int, int]]] = {}
    for collection, first, last in rows:
        ranges.setdefault(collection, []).append((first, last))
    return ranges


def expected(
    connection: "psycopg.Connection", run: str, names: Iterable[str] | None = None
) -> dict[str, tuple[int, int]]:
    """Return (rows, digest) that document_chunk must hold, by collection name; of these names only, if given."""
    rows = connection.execute(
        "select coalesce(c.name, b.collection) as name, sum(b.rows)::bigint, sum(b.digest) from scaleout.batch b"
        f" left join {_COLLECTION} on true where b.run = %s"
        " and (%s::text[] is null or coalesce(c.name, b.collection) = any(%s)) group by 1",
        (run, *[None if names is None else list(names)] * 2),
    )
    return {name: (count, int(digest)) for name, count, digest in rows}


def own_rows(connection: "psycopg.Connection", run: str) -> dict[str, int]:
    """Return how many rows the run has in document_chunk, by collection name."""
    rows = connection.execute(
        "select coalesce(c.name, b.collection), coalesce(sum(b.rows) filter (where b.kind <> 'before'), 0)::bigint"
        f" from scaleout.batch b left join {_COLLECTION} on true"
        " where b.run = %s group by 1 having sum(b.rows) <> 0",
        (run,),
    )
    return dict(rows.fetchall())


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has copied so far.

    `findings` names at most a hundred rows a code; all of them are in `scaleout.batch.left_out`.
    """

    rows: int
    findings: tuple[dict[str, Any], ...]
    counts: dict[str, int]


def summary(connection: "psycopg.Connection", run: str) -> Summary:
    """Return the run's rows and every finding, by collection name, id and code."""
    row = connection.execute(
        "select coalesce(sum(rows), 0)::bigint from scaleout.batch where run = %s and kind <> 'before'", (run,)
    ).fetchone()
    findings = connection.execute(
        "with found as (select distinct c.name, f ->> 'id' as id, f ->> 'code' as code from scaleout.batch b"
        f" cross join {_COLLECTION},"
        " jsonb_array_elements(b.left_out) f where b.run = %s and b.left_out <> '[]'),"
        " numbered as (select *, row_number() over w, count(*) over (partition by code) from found"
        " window w as (partition by code order by name, id))"
        " select name, id, code, count from numbered where row_number <= 100 order by code, name, id",
        (run,),
    ).fetchall()
    assert row is not None
    return Summary(
        row[0],
        tuple({"collection": name, "id": one, "code": code} for name, one, code, _ in findings),
        {code: count for _, _, code, count in findings},
    )


def own_ids(connection: "psycopg.Connection", run: str, ids: Iterable[str]) -> set[str]:
    """Return which of these ids the run has written."""
    rows = connection.execute(
        "select one from scaleout.batch b, unnest(b.ids) one where b.run = %s and one = any(%s)", (run, list(ids))
    )
    return {one for (one,) in rows}


def ids_of(connection: "psycopg.Connection", run: str, collection: str) -> set[str]:
    """Return every id that the run has written to this collection of Chroma."""
    rows = connection.execute(
        "select distinct unnest(ids) from scaleout.batch where run = %s and collection = %s", (run, collection)
    )
    return {one for (one,) in rows}


def left_out_ids(connection: "psycopg.Connection", run: str, collections: list[str]) -> dict[str, set[str]]:
    """Return the ids that were found to differ or were kept out, by Chroma's id of the collection."""
    rows = connection.execute(
        "select collection, f ->> 'id' from scaleout.batch, jsonb_array_elements(left_out) f"
        " where run = %s and collection = any(%s) and left_out <> '[]'",
        (run, collections),
    )
    found: dict[str, set[str]] = {}
    for collection, one in rows:
        found.setdefault(collection, set()).add(one)
    return found


def set_verified(connection: "psycopg.Connection", run: str) -> None:
    """Note that everything up to the newest batch has been compared."""
    connection.execute(
        "update scaleout.run set verified_at = now(),"
        " verified_batch = (select max(number) from scaleout.batch where run = %s) where id = %s",
        (run, run),
    )


def unverified(connection: "psycopg.Connection", run: str) -> set[str]:
    """Return the names of collections that changed since the last verification (all, if there was none)."""
    rows = connection.execute(
        "select distinct coalesce(c.name, b.collection) from scaleout.batch b join scaleout.run r on r.id = b.run"
        f" left join {_COLLECTION} on true"
        " where b.run = %s and b.number > coalesce(r.verified_batch, 0)",
        (run,),
    )
    return {name for (name,) in rows}


def newest_entry(connection: "psycopg.Connection") -> int:
    """Return the number of the newest ledger entry, 0 when there is none."""
    row = connection.execute("select coalesce(max(number), 0) from scaleout.batch").fetchone()
    assert row is not None
    return int(row[0])


def was_verified(connection: "psycopg.Connection", run: str) -> bool:
    """Tell whether the run has been compared as a whole."""
    row = connection.execute("select verified_batch is not null from scaleout.run where id = %s", (run,)).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class Writes:
    """What was written to one collection since the last verification; the digest is None when it is not known."""

    ids: list[str]
    digest: int | None
    dimension: int


def unverified_writes(connection: "psycopg.Connection", run: str) -> dict[str, Writes]:
    """Return what was written since the last verification, by collection name."""
    rows = connection.execute(
        "select c.name, c.dimension, array_agg(i.one) filter (where i.one is not null),"
        " case when bool_and(b.written is not null) then sum(b.written) filter (where coalesce(i.at, 1) = 1) end"
        " from scaleout.batch b join scaleout.run r on r.id = b.run"
        f" cross join {_COLLECTION}"
        " left join lateral unnest(b.ids) with ordinality i(one, at) on true"
        " where b.run = %s and b.number > coalesce(r.verified_batch, 0) group by 1, 2",
        (run,),
    )
    return {
        name: Writes(ids or [], None if digest is None else int(digest), dimension)
        for name, dimension, ids, digest in rows
    }
