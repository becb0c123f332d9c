"""Load a plain pg_dump through psycopg: no psql needed, and everything ends up owned by the role that should own
it.

A dump is SQL statements, blocks of data after `COPY … FROM stdin;`, and lines for psql itself. All of it runs
in one transaction, so a dump that does not fit leaves nothing behind. Left out, because the roles they name
need not exist here: `ALTER … OWNER TO`, `GRANT`, `REVOKE`. Of psql's own lines only `\\restrict` and
`\\unrestrict` are known.
"""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from shared.errors import ConfigurationError

_LEFT_OUT = re.compile(r"ALTER\s.*\sOWNER TO\s|GRANT\s|REVOKE\s|ALTER DEFAULT PRIVILEGES\s", re.IGNORECASE | re.DOTALL)
_COPY = re.compile(r"COPY\s.*\sFROM stdin;$", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(
    r"""--[^\n]*          # a comment
      | '(?:[^']|'')*'    # a string
      | "(?:[^"]|"")*"    # a name
      | (\$\w*\$).*?\1    # a function's body
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; a COPY is followed by its rows, which must be read before the next statement."""

    text: str
    line: int
    rows: Iterator[str] | None = None


def load_sql(dump: Path, database_url: str, owner: str = "") -> int:
    """Run the dump (`.gz` or plain) in the database and return how many rows it copied.

    With `owner` the statements run as that role (`SET ROLE`), which the URL's role must be a member of.
    """
    copied = 0
    with _open(dump) as lines, psycopg.connect(database_url) as connection:
        if owner:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
        for statement in read_statements(lines):
            try:
                copied += _run(connection, statement)
            except psycopg.Error as problem:
                first = statement.text.splitlines()[0][:100]
                raise ConfigurationError(
                    f"{dump.name}, line {statement.line}: {str(problem).splitlines()[0]} ({first})",
                    hint="The dump must fit an empty database; make it with pg_dump --format plain --no-owner.",
                ) from problem
    return copied


def _open(dump: Path) -> IO[str]:
    if dump.suffix == ".gz":
        return gzip.open(dump, "rt", encoding="utf-8", newline="\n")
    return dump.open(encoding="utf-8", newline="\n")


def _run(connection: psycopg.Connection, statement: Statement) -> int:
    if statement.rows is None:
        connection.execute(statement.text.encode())
        return 0
    with connection.cursor() as cursor, cursor.copy(statement.text.encode()) as copy:
        count = 0
        for row in statement.rows:
            copy.write(row)
            count += 1
        return count


def read_statements(lines: Iterator[str] | IO[str]) -> Iterator[Statement]:
    """Split a dump; `lines` keep their line ends."""
    number = 0
    pending: list[str] = []

    def counted() -> Iterator[str]:
        nonlocal number
        for line in lines:
            number += 1
            yield line

    source = counted()
    first = 0
    for line in source:
        if not pending:
            if line.startswith("\\"):
                _accept_meta(line, number)
                continue
            if not line.strip() or line.startswith("--"):
                continue
            first = number
        pending.append(line)
        if not line.rstrip().endswith(";") or not _complete("".join(pending)):
            continue
        text = "".join(pending).strip()
        pending = []
        if _COPY.match(text):
            rows = _rows(source)
            yield Statement(text, first, rows)
            for _ in rows:  # whoever ignores the rows must not meet them as statements
                pass
        elif not _LEFT_OUT.match(text):
            yield Statement(text, first)
    if pending:
        raise ConfigurationError(f"The dump ends in the middle of the statement that begins on line {first}.")


def _accept_meta(line: str, number: int) -> None:
    if not line.startswith(("\\restrict", "\\unrestrict")):
        raise ConfigurationError(
            f"Line {number}: {line.strip()[:60]} is a command for psql.",
            hint="Make the dump with pg_dump --format plain, of one database, without --create.",
        )


def _complete(text: str) -> bool:
    """Say whether the last semicolon ends the statement, that is, stands outside quotes."""
    return _QUOTED.sub("", text).rstrip().endswith(";") and not re.search(r"['\"]|\$\w*\$", _QUOTED.sub("", text))


def _rows(source: Iterator[str]) -> Iterator[str]:
    for line in source:
        if line == "\\.\n":
            return
        yield line
