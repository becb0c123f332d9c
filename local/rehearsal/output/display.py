"""Live progress in the terminal: the phases, what moves and how fast, the time left, the downtime so far."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

MARKS = {
    "pending": ("·", "dim"),
    "planned": ("○", ""),
    "running": ("▶", "bold blue"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "undone": ("↶", "yellow"),
    "skipped": ("–", "dim"),
}


class Display:
    """A live table on a terminal; one line a change elsewhere, so that a log stays readable."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else None
        self._last = ""
        self._rate = Rate()

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, run: dict[str, Any]) -> None:
        """Show the run as GET returned it."""
        status = run["status"] or {}
        line = summary(status, self._rate.update(status))
        if self._live:
            self._live.update(Group(phase_table(status), Text(line)))
        elif line and line != self._last and not _only_numbers_differ(line, self._last):
            self.console.print(line)
        self._last = line


class Rate:
    """Units a second since the current step began."""

    def __init__(self) -> None:
        self._step, self._done, self._since = "", 0, 0.0

    def update(self, status: dict[str, Any]) -> float:
        now, done = time.monotonic(), int(status.get("done") or 0)
        if status.get("step") != self._step or done < self._done:
            self._step, self._done, self._since = str(status.get("step")), done, now
        elapsed = now - self._since
        return (done - self._done) / elapsed if elapsed > 0.5 else 0.0


def summary(status: dict[str, Any], rate: float) -> str:
    """One line: phase, step, progress, rate, time left, downtime."""
    parts = [str(status.get("phase") or ""), str(status.get("step") or "")]
    if status.get("total"):
        parts.append(f"{status['done']:,}/{status['total']:,} {status['unit']}")
    if rate >= 1:
        parts.append(f"{rate:,.0f} {status['unit']}/s")
    if status.get("eta_seconds"):
        parts.append(f"{status['eta_seconds']:.0f} s left")
    if status.get("downtime_seconds"):
        parts.append(f"down {status['downtime_seconds']:.1f} s")
    return " · ".join(part for part in parts if part)


def phase_table(status: dict[str, Any]) -> Table:
    """Phases with their state and time; takes a status or a report."""
    table = Table.grid(padding=(0, 2))
    for phase in status.get("phases") or []:
        mark, style = MARKS.get(phase["state"], ("?", ""))
        seconds = f"{phase['seconds']:.1f} s" if phase["seconds"] else ""
        table.add_row(Text(mark, style), Text(phase["name"], style), Text(seconds, "dim"))
    return table


def _only_numbers_differ(one: str, other: str) -> bool:
    return "".join(c for c in one if not c.isdigit()) == "".join(c for c in other if not c.isdigit())
