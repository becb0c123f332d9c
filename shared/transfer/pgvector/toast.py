"""Keeps vectors in line while the bulk is loaded, where a row takes a page of its own anyway.

PostgreSQL moves what makes a row longer than 2 KB out of line: a vector of 1,536 floats becomes four rows of the TOAST
table, with an entry each in its index. Only one such row fits a page in any case, so in line it takes no more space,
the server has less to do for it (docs/benchmarks.md has psql's rates both ways), and an exact search, which reads every
vector of a collection, reads one page for it instead of five. Vectors of half a page or less would leave pages half
empty: these go where PostgreSQL puts them.

It is a storage parameter of the table, for new rows only. It is reset after the load: the table is then exactly as
Open WebUI makes it.

Source: PostgreSQL documentation, CREATE TABLE "Storage Parameters", toast_tuple_target; pgvector README, "Why isn't a
query using an index?", on vectors stored in line.
"""

from contextlib import suppress

import psycopg

from ..rows.copy_binary import VectorColumn

MOST_BYTES = 8160
"""The longest row that PostgreSQL can be told to leave in line: what a page of 8 KB holds."""

_LEAST_SHARE, _MOST_SHARE = 2 / 3, 0.92
"""Of a page, for the vector alone: more than half, with what belongs to it, and room for a short text."""

_OURS = f"toast_tuple_target={MOST_BYTES}"


def fills_a_page(column: VectorColumn) -> bool:
    """Tell whether a row with this vector takes a page of its own, in line or not. Pure."""
    size = 8 + column.dimension * (2 if column.half else 4)
    return _LEAST_SHARE <= size / MOST_BYTES <= _MOST_SHARE


def keep_in_line(connection: "psycopg.Connection", column: VectorColumn) -> None:
    """Have PostgreSQL leave new rows in line; one that may not be told so, or was told otherwise, does as it does."""
    if fills_a_page(column) and _target(connection) is None:
        _alter(connection, f"set ({_OURS})")


def reset(connection: "psycopg.Connection") -> None:
    """Take back what `keep_in_line` set, also in a run that was killed."""
    if _target(connection) == _OURS:
        _alter(connection, "reset (toast_tuple_target)")


def _target(connection: "psycopg.Connection") -> str | None:
    row = connection.execute(
        "select one from pg_class, unnest(reloptions) one"
        " where oid = to_regclass('document_chunk') and one like 'toast_tuple_target=%'"
    ).fetchone()
    return row[0] if row else None


def _alter(connection: "psycopg.Connection", how: str) -> None:
    refusals = (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable)
    with suppress(*refusals), connection.transaction():
        connection.execute("set local lock_timeout = '5s'")  # a vacuum gives way, another attempt's DDL may not
        connection.execute(f"alter table document_chunk {how}")
        connection.execute("set local lock_timeout = default")
