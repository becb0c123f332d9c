"""The table `document_chunk`, exactly as Open WebUI 0.12 makes it, and what is in it.

Open WebUI creates it at start-up as whatever role it connects with and later alters its indexes, so that role must own
it; a table owned by an administrator stops its start. Indexes other than the primary key are left out here: they are
built after the load.

Source: open_webui/retrieval/vector/dbs/pgvector.py, `DocumentChunk` and `PgvectorClient.__init__`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg

from ..errors import ConfigurationError, PermanentError
from ..rows.copy_binary import VectorColumn, digest_sql, padding_sql

TABLE = "document_chunk"


@dataclass(frozen=True, slots=True)
class TableState:
    """What is there before anything is done."""

    rows: int
    column: VectorColumn
    owner: str
    indexes: tuple[str, ...]
    ours: bool

    def as_json(self) -> dict[str, object]:
        """Return it for a result line."""
        return {
            "rows": self.rows,
            "dimension": self.column.dimension,
            "type": self.column.name,
            "owner": self.owner,
            "owned_by_this_role": self.ours,
            "indexes": list(self.indexes),
        }


def read_state(connection: "psycopg.Connection") -> TableState | None:
    """Return the table's state, None when it does not exist."""
    row = connection.execute(
        "select format_type(a.atttypid, a.atttypmod), pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE')"
        " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'vector'"
        " where c.oid = to_regclass('document_chunk')"
    ).fetchone()
    if row is None:
        return None
    indexes = connection.execute(
        "select indexname from pg_indexes where schemaname = current_schema() and tablename ="
        " 'document_chunk' order by 1"
    ).fetchall()
    count = connection.execute("select count(*) from document_chunk").fetchone()
    assert count is not None
    return TableState(count[0], _column(row[0]), row[1], tuple(name for (name,) in indexes), row[2])


def require_table(connection: "psycopg.Connection") -> VectorColumn:
    """Return the vector column's type; raise ConfigurationError if the table is missing or not the role's own."""
    row = connection.execute(
        "select format_type(a.atttypid, a.atttypmod), pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE')"
        " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'vector'"
        " where c.oid = to_regclass('document_chunk')"
    ).fetchone()
    if row is None:
        raise ConfigurationError("the table document_chunk does not exist", hint="run create-table first")
    if not row[2]:
        raise ConfigurationError(
            f"document_chunk belongs to {row[1]}; Open WebUI's role must own it",
            hint=f"as {row[1]}: alter table document_chunk owner to <the role in DATABASE_URL>",
        )
    return _column(row[0])


def create(connection: "psycopg.Connection", column: VectorColumn) -> bool:
    """Create the table if it is missing; return whether it was. A table with another column type is refused."""
    if column.dimension > (4000 if column.half else 2000):
        raise ConfigurationError(
            f"{column.sql} cannot be indexed: the limit is 2,000 dimensions, 4,000 for halfvec",
            hint="use --halfvec, and PGVECTOR_USE_HALFVEC=true for Open WebUI",
        )
    state = read_state(connection)
    if state is not None:
        if state.column != column:
            raise PermanentError(
                f"document_chunk.vector is {state.column.sql}, wanted is {column.sql}; it holds {state.rows:,} rows",
                hint=f"use --dimension {state.column.dimension}, or move the old table away",
            )
        require_table(connection)
        return False
    if not connection.execute("select 1 from pg_extension where extname = 'vector'").fetchone():
        raise ConfigurationError(
            "the extension vector is not installed", hint="as an administrator: create extension vector"
        )
    connection.execute(
        f"create table document_chunk (id text not null, vector {column.sql}, collection_name text not null,"
        " text text, vmetadata jsonb, primary key (id))"
    )
    return True


def digests(
    connection: "psycopg.Connection", column: VectorColumn, dimensions: Mapping[str, int]
) -> dict[str, tuple[int, int, int]]:
    """Return (rows, digest, rows with a wrong padding) for each of these collections that has rows."""
    if not dimensions:
        return {}
    rows = connection.execute(
        f"select collection_name, count(*), sum({digest_sql(column, 'c.given')}),"
        f" count(*) filter (where not ({padding_sql(column, 'c.given')}))"
        " from document_chunk join unnest(%s::text[], %s::int[]) c(name, given) on c.name = collection_name group by 1",
        (list(dimensions), list(dimensions.values())),
    )
    return {name: (count, int(total), wrong) for name, count, total, wrong in rows}


def counts(connection: "psycopg.Connection", names: Iterable[str] | None = None) -> dict[str, int]:
    """Return the number of rows by collection name; of these collections only, if they are given."""
    if names is None:
        rows = connection.execute("select collection_name, count(*) from document_chunk group by 1")
    else:
        rows = connection.execute(
            "select collection_name, count(*) from document_chunk where collection_name = any(%s) group by 1",
            (list(names),),
        )
    return dict(rows.fetchall())


def _column(formatted: str) -> VectorColumn:
    match = re.fullmatch(r"(?:.*\.)?(vector|halfvec)\((\d+)\)", formatted)
    if match is None:
        raise PermanentError(
            f"document_chunk.vector has the type {formatted}",
            hint="PGVECTOR_PGCRYPTO and other layouts are not supported",
        )
    return VectorColumn(int(match[2]), half=match[1] == "halfvec")
