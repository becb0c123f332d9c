"""The load test's tables for the terminal. Pure: the phase's result in, tables out."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

COLUMNS = {
    "requests": "requests",
    "failures": "failed",
    "average_ms": "average ms",
    "p50_ms": "p50",
    "p95_ms": "p95",
    "p99_ms": "p99",
}


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """The paths of the first trial, and its thresholds."""
    first = found["trials"][0]
    paths = Table("path", *COLUMNS.values(), "a second", box=None, pad_edge=False)
    for column in paths.columns[1:]:
        column.justify = "right"
    for row in first["rows"]:
        paths.add_row(row["path"], *(f"{row[column]:,.0f}" for column in COLUMNS), str(row["a_second"]))
    yield paths
    gate = Table("", "threshold", "measured", box=None, pad_edge=False)
    for check in first["checks"]:
        gate.add_row("✓" if check["met"] else "✗", check["wanted"], check["found"])
    yield gate
