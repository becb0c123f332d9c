"""What the mover says while it works: JSON lines on stdout, nothing else.

Progress is `{"step", "done", "total", "unit"}`, at most one line per half second and step; the last line of a command
is either `{"result": {…}}` or `{"error": {"message", "hint", "kind"}}`.
"""

import json
import sys
import time
from typing import Any, Protocol, TextIO

from .errors import TransferError

PAUSE_SECONDS = 0.5


class Progress(Protocol):
    """Anything that wants to know how far a step is."""

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        """Tell that `done` of `total` units of `step` are finished."""


def silent(step: str, done: int, total: int, unit: str) -> None:
    """Report to nobody."""


class JsonLines:
    """Prints progress, and then one result or one error."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._last_step = ""
        self._last_at = 0.0

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if step == self._last_step and now - self._last_at < PAUSE_SECONDS:
            return
        self._last_step, self._last_at = step, now
        self._print({"step": step, "done": done, "total": total, "unit": unit})

    def result(self, value: dict[str, Any]) -> None:
        """Print the last line of a command that succeeded."""
        self._print({"result": value})

    def error(self, error: TransferError) -> None:
        """Print the last line of a command that failed."""
        self._print({"error": error.as_json()})

    def _print(self, line: dict[str, Any]) -> None:
        # ASCII only: a pod's log may pass through a terminal or a proxy with any encoding.
        print(json.dumps(line), file=self._stream, flush=True)
