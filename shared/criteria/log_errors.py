"""Errors in Open WebUI's log, and which of them the migration can be blamed for. Pure.

Open WebUI logs an error for much that has nothing to do with its stores: a model server that does not answer, a wrong
password, a web page that cannot be fetched. So an error counts against a migration only where it speaks of what the
migration changed: the database, the vectors, Redis, the files.

Source: Open WebUI 0.12.4, utils/logger.py: `time | LEVEL | module:function:line - message`; with LOG_FORMAT=json one
object a line with `level` (env.py, _LEVEL_MAP: error, fatal), `caller`, `msg` and `error`, a text or a map. Before its
logger starts, env.py leaves Python's own form, `ERROR:module:message`, and uvicorn writes `ERROR:    message`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LOGURU = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \| (?P<level>[A-Z]+) *\| (?P<caller>\S+) - (?P<text>.*)$")
_PLAIN = re.compile(r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?:(?P<caller>[\w.]+):| +)(?P<text>.*)$")
_TRACEBACK = "Traceback (most recent call last)"
_ERRORS = {"ERROR", "CRITICAL", "FATAL"}

BLAMED = re.compile(
    r"psycopg|sqlalchemy|asyncpg|alembic|pgvector|document_chunk|redis"
    r"|open_webui\.(?:retrieval\.vector|internal\.db|storage|socket)\b"
    r"|\b(?:PermissionError|ENOSPC|Read-only file system|No space left|Stale file handle|Input/output error)\b",
    re.IGNORECASE,
)
"""What speaks of the database, the vectors, Redis or the files."""


@dataclass(frozen=True, slots=True)
class LogError:
    """One error of a log, with the lines of its traceback."""

    caller: str
    """`module:function:line`; empty where the line does not say it."""
    text: str

    @property
    def blamed(self) -> bool:
        """Whether it speaks of something that the migration changed."""
        return bool(BLAMED.search(f"{self.caller}\n{self.text}"))

    @property
    def title(self) -> str:
        """The first line, short enough for a report; a traceback's last line says what it was."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()] or [""]
        shown = lines[-1] if lines[0].startswith(_TRACEBACK) else lines[0]
        return f"{self.caller} {shown}".strip()[:200]


def read_errors(log: str) -> list[LogError]:
    """Errors and critical entries, in their order; a traceback belongs to the entry before it."""
    found: list[LogError] = []
    for level, caller, text in _entries(log.splitlines()):
        if level in _ERRORS:
            found.append(LogError(caller, text))
        elif (at := text.find(f"\n{_TRACEBACK}")) >= 0:  # printed, not logged
            found.append(LogError("", text[at + 1 :]))
    return found


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(level, caller, text) of each entry; lines that begin none belong to the one before them."""
    level, caller, text = "", "", [""]
    for raw in lines:
        line = _COLOUR.sub("", raw)
        if (begun := _begin(line)) is None:
            text.append(line)
            continue
        yield level, caller, "\n".join(text)
        level, caller, text = begun[0], begun[1], [begun[2]]
    yield level, caller, "\n".join(text)


def _begin(line: str) -> tuple[str, str, str] | None:
    if line.startswith("{") and (entry := _json_entry(line)) is not None:
        return entry
    found = _LOGURU.match(line) or _PLAIN.match(line)
    return (found["level"], found["caller"] or "", found["text"]) if found else None


def _json_entry(line: str) -> tuple[str, str, str] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or "level" not in entry:
        return None
    error = entry.get("error") or ""
    details = "\n".join(str(value) for value in error.values() if value) if isinstance(error, dict) else str(error)
    return str(entry["level"]).upper(), str(entry.get("caller", "")), f"{entry.get('msg', '')}\n{details}".strip()
