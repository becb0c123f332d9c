"""The load test's tables for the terminal: those of its section of the report. Pure."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table as RichTable

from shared.load_test.report import gate, paths
from shared.rendering.documents import Table


def tables(found: dict[str, Any]) -> Iterator[RichTable]:
    """The paths of the first trial, and its thresholds. `found`: the phase's result."""
    first = found["trials"][0]
    yield _in_terminal(paths(first))
    yield _in_terminal(gate(first))


def _in_terminal(table: Table) -> RichTable:
    """Without lines; figures stand one below the other."""
    shown = RichTable(box=None, pad_edge=False)
    for number, title in enumerate(table.head):
        figures = all(row[number].replace(",", "").replace(".", "").isdigit() for row in table.rows)
        shown.add_column(title, justify="right" if figures else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
