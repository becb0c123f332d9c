"""What changes: server parameters, operations under way, and a log of every call.

`state.json` is replaced whole on every change, `calls.jsonl` only grows: both outlive the process, so a plan can be
shown to have changed nothing and a restart forgets nothing.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "CONNECT"})


@dataclass(frozen=True, slots=True)
class Operation:
    """A long-running change of one server parameter."""

    server: str
    parameter: str
    value: str
    done_at: float  # seconds since the epoch
    restart: bool = False  # the value takes effect at the next restart
    error_code: str = ""  # set: it will fail
    applied: bool = False

    def in_progress(self, now: float) -> bool:
        return now < self.done_at


class Store:
    """The endpoints' memory. Safe to use from several threads."""

    def __init__(self, directory: Path, put_in_force: Callable[[Operation], None] = lambda operation: None) -> None:
        self._put_in_force = put_in_force
        directory.mkdir(parents=True, exist_ok=True)
        self._state_file = directory / "state.json"
        self._calls_file = directory / "calls.jsonl"
        self._lock = threading.RLock()
        state: dict[str, Any] = json.loads(self._state_file.read_text()) if self._state_file.exists() else {}
        self._parameters: dict[str, dict[str, str]] = state.get("parameters", {})
        self._pending_restart: dict[str, list[str]] = state.get("pending_restart", {})
        self._operations = {key: Operation(**content) for key, content in state.get("operations", {}).items()}

    def parameters(self, server: str) -> dict[str, str]:
        """The values written to this server so far."""
        with self._lock:
            self._settle()
            return dict(self._parameters.get(server, {}))

    def written(self, server: str) -> dict[str, str]:
        """The same, without putting anything in force that is due."""
        with self._lock:
            return dict(self._parameters.get(server, {}))

    def pending_restart(self, server: str) -> frozenset[str]:
        with self._lock:
            self._settle()
            return frozenset(self._pending_restart.get(server, ()))

    def start(self, operation_id: str, operation: Operation) -> bool:
        """Start an operation, unless its server is busy with another."""
        with self._lock:
            now = time.time()
            if any(o.server == operation.server and o.in_progress(now) for o in self._operations.values()):
                return False
            self._operations[operation_id] = operation
            self._save()
            return True

    def operation(self, operation_id: str) -> Operation | None:
        with self._lock:
            self._settle()
            return self._operations.get(operation_id)

    def log_call(self, method: str, host: str, path: str, status: int, *, changes: bool | None = None) -> None:
        """Append one call. `changes` None: judged by the method."""
        entry = {
            "at": round(time.time(), 3),
            "method": method,
            "host": host,
            "path": path,
            "status": status,
            "changes": method not in READ_METHODS if changes is None else changes,
        }
        with self._lock, self._calls_file.open("a") as f:
            f.write(json.dumps(entry) + "\n")

    def _settle(self) -> None:
        """Apply the operations whose time has come."""
        now = time.time()
        due = {key: o for key, o in self._operations.items() if not o.applied and not o.in_progress(now)}
        for key, operation in due.items():
            if not operation.error_code:
                self._put_in_force(operation)
                self._parameters.setdefault(operation.server, {})[operation.parameter] = operation.value
                waiting = self._pending_restart.setdefault(operation.server, [])
                if operation.restart and operation.parameter not in waiting:
                    waiting.append(operation.parameter)
            self._operations[key] = replace(operation, applied=True)
        if due:
            self._save()

    def _save(self) -> None:
        state = {
            "parameters": self._parameters,
            "pending_restart": self._pending_restart,
            "operations": {key: asdict(o) for key, o in self._operations.items()},
        }
        scratch = self._state_file.with_suffix(".new")
        scratch.write_text(json.dumps(state, indent=1))
        scratch.replace(self._state_file)
