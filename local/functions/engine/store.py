"""The engine's tables and the reads and writes on them; no decision is taken here.

WAL with `synchronous=NORMAL` keeps every committed transaction when the process is killed. The file is locked by the
engine that has it open: a second engine on the same file fails at start instead of delivering everything twice.
"""

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.events import kind
from local.functions.engine.hub import Hub

SCHEMA = """
CREATE TABLE IF NOT EXISTS instance(
    id TEXT PRIMARY KEY, execution TEXT NOT NULL, name TEXT NOT NULL, version TEXT, status INTEGER NOT NULL,
    input TEXT, output TEXT, custom_status TEXT, tags TEXT NOT NULL, trace_parent TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, completed REAL, starts REAL NOT NULL,
    parent TEXT, parent_execution TEXT, parent_task INTEGER);
CREATE INDEX IF NOT EXISTS instance_by_creation ON instance(created, id);
CREATE INDEX IF NOT EXISTS instance_by_parent ON instance(parent);
CREATE TABLE IF NOT EXISTS history(
    position INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, event BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS history_by_instance ON history(instance);
CREATE TABLE IF NOT EXISTS inbox(
    position INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, kind TEXT NOT NULL, due REAL NOT NULL,
    event BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS inbox_by_instance ON inbox(instance);
CREATE INDEX IF NOT EXISTS inbox_by_due ON inbox(due);
CREATE TABLE IF NOT EXISTS activity(
    position INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, instance TEXT NOT NULL,
    task INTEGER NOT NULL, name TEXT NOT NULL, version TEXT, input TEXT, trace_parent TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS activity_by_instance ON activity(instance);
CREATE TABLE IF NOT EXISTS entity(
    id TEXT PRIMARY KEY, state TEXT, updated REAL NOT NULL, locked_by TEXT, lock_owner TEXT);
CREATE TABLE IF NOT EXISTS operation(
    position INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, request TEXT NOT NULL, name TEXT NOT NULL,
    input TEXT, caller TEXT, caller_execution TEXT, due REAL NOT NULL);
CREATE INDEX IF NOT EXISTS operation_by_entity ON operation(entity);
CREATE TABLE IF NOT EXISTS lock_request(
    position INTEGER PRIMARY KEY AUTOINCREMENT, critical_section TEXT NOT NULL, owner TEXT NOT NULL,
    entities TEXT NOT NULL);
"""

VERSION = 3
"""Of the tables. A file of another version is refused: a rehearsal begins anew, so nothing is migrated."""

TERMINAL = frozenset(
    {pb.ORCHESTRATION_STATUS_COMPLETED, pb.ORCHESTRATION_STATUS_FAILED, pb.ORCHESTRATION_STATUS_TERMINATED}
)


@dataclass(frozen=True, slots=True)
class Instance:
    """One orchestration, without its history. Times are seconds since the epoch."""

    id: str
    execution: str
    name: str
    version: str | None
    status: int
    input: str | None
    output: str | None
    custom_status: str | None
    tags: str
    trace_parent: str
    created: float
    updated: float
    completed: float | None
    starts: float
    parent: str | None
    parent_execution: str | None
    parent_task: int | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Message:
    """An event waiting for an orchestration."""

    position: int
    event: pb.HistoryEvent


class Store:
    """The open SQLite file."""

    def __init__(self, path: Path, hub: Hub | None = None) -> None:
        self.hub = hub or Hub()
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=1)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        )
        self._check_version()
        self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")

    def _check_version(self) -> None:
        (found,) = self.rows("PRAGMA user_version")[0]
        if self.row("SELECT 1 FROM sqlite_master") and found != VERSION:
            raise sqlite3.DatabaseError(f"its tables are of version {found}, this engine's of version {VERSION}")

    def close(self) -> None:
        """Close the file and release its lock."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything written inside, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Run one statement and return its rows."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """Run one statement and return its first row."""
        found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def instance(self, instance: str) -> Instance | None:
        """Read one instance."""
        found = self.row("SELECT * FROM instance WHERE id = ?", instance)
        return Instance(*found) if found else None

    def add_instance(self, instance: Instance) -> None:
        """Insert a new instance."""
        values = [getattr(instance, name) for name in Instance.__slots__]
        self.rows(f"INSERT INTO instance VALUES ({','.join('?' * len(values))})", *values)  # noqa: S608 only marks

    def update_instance(self, instance: str, **columns: Any) -> None:
        """Set columns of one instance."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self.rows(f"UPDATE instance SET {assignments} WHERE id = ?", *columns.values(), instance)  # noqa: S608 own names

    def delete_instance(self, instance: str) -> None:
        """Remove an instance and everything that belongs to it."""
        self.delete_history(instance)
        self.delete_pending(instance)
        self.rows("DELETE FROM instance WHERE id = ?", instance)

    def history(self, instance: str) -> list[pb.HistoryEvent]:
        """Read the whole history, oldest first."""
        found = self.rows("SELECT event FROM history WHERE instance = ? ORDER BY position", instance)
        return [pb.HistoryEvent.FromString(row["event"]) for row in found]

    def append_history(self, instance: str, *events: pb.HistoryEvent) -> None:
        """Add events to the end of the history."""
        self._connection.executemany(
            "INSERT INTO history(instance, event) VALUES (?, ?)", [(instance, e.SerializeToString()) for e in events]
        )

    def delete_history(self, instance: str) -> None:
        """Forget the history."""
        self.rows("DELETE FROM history WHERE instance = ?", instance)

    def post(self, instance: str, event: pb.HistoryEvent, due: float) -> None:
        """Leave an event for an orchestration, to be seen from `due` on."""
        values = (instance, kind(event), due, event.SerializeToString())
        self.rows("INSERT INTO inbox(instance, kind, due, event) VALUES (?, ?, ?, ?)", *values)

    def messages(self, instance: str, now: float) -> list[Message]:
        """Read what is due for an orchestration: its start first, then in the order it fell due."""
        found = self.rows(
            "SELECT position, event FROM inbox WHERE instance = ? AND due <= ?"
            " ORDER BY kind <> 'executionStarted', due, position",
            *(instance, now),
        )
        return [Message(row["position"], pb.HistoryEvent.FromString(row["event"])) for row in found]

    def remove_messages(self, positions: Iterable[int]) -> None:
        """Remove messages that have become history."""
        self._connection.executemany("DELETE FROM inbox WHERE position = ?", [(p,) for p in positions])

    def postpone(self, positions: Iterable[int], due: float) -> None:
        """Leave messages where they are, to be seen from `due` on."""
        self._connection.executemany("UPDATE inbox SET due = ? WHERE position = ?", [(due, p) for p in positions])

    def delete_pending(self, instance: str, *, keep: frozenset[str] = frozenset()) -> None:
        """Drop messages (but for the kinds to keep) and scheduled activities."""
        self.rows(
            "DELETE FROM inbox WHERE instance = ? AND kind NOT IN (SELECT value FROM json_each(?))",
            *(instance, json.dumps(sorted(keep))),
        )
        self.rows("DELETE FROM activity WHERE instance = ?", instance)

    def add_activity(self, instance: str, task: int, scheduled: Any, trace_parent: str) -> None:
        """Schedule an activity; `scheduled` has a name and perhaps a version and an input.

        Its token is unique for ever, so that a worker can tell a second delivery from a second call.
        """
        version = scheduled.version.value if scheduled.HasField("version") else None
        encoded = scheduled.input.value if scheduled.HasField("input") else None
        self.rows(
            "INSERT INTO activity(token, instance, task, name, version, input, trace_parent)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(uuid.uuid4().hex, instance, task, scheduled.name, version, encoded, trace_parent),
        )

    def next_due(self, now: float) -> float | None:
        """When the next message or operation that is not due yet falls due."""
        found = self.row(
            "SELECT MIN(due) AS due FROM (SELECT MIN(due) AS due FROM inbox WHERE due > ?1"
            " UNION ALL SELECT MIN(due) FROM operation WHERE due > ?1"
            " UNION ALL SELECT MIN(starts) FROM instance WHERE starts > ?1)",
            now,
        )
        return found["due"] if found else None
