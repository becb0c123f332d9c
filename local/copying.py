"""`python -m local copy`: the mover alone, on a terminal, with rates and the time that is left.

    python -m local copy --chroma DIR --database-url URL [--workers N] [--native-dimension] [--json FILE]

Reads a Chroma store, loads, indexes and verifies. Exit codes: 0 done and verified, 1 failed, 2 bad usage. Interrupted
or killed, the same command goes on where it stood.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from shared.transfer.chroma.selection import Selection
from shared.transfer.errors import ConfigurationError, TransferError
from shared.transfer.steps.whole_copy import CopyOptions, copy

DONE, FAILED, BAD_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy a store; return the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with _Progress(console) as progress:
            result = copy(options.database_url, options.chroma, _scratch(options), _copy_options(options), progress)
    except TransferError as error:
        console.print(f"[bold red]error:[/] {error.message}", *([f"→ {error.hint}"] if error.hint else []), sep="\n")
        _write(options.json, {"error": error.as_json()})
        return BAD_USAGE if isinstance(error, ConfigurationError) else FAILED
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on where it stood")
        return 130
    _write(options.json, result)
    _report(console, result)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local copy", description="Copy a Chroma store into PGVector.")
    parser.add_argument("--chroma", type=Path, required=True, metavar="DIR", help="DATA_DIR or its vector_db")
    parser.add_argument("--database-url", required=True, metavar="URL", help="postgresql://… of the application's role")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with one connection (2)")
    parser.add_argument("--native-dimension", action="store_true", help="a column as wide as the embeddings, not 1,536")
    parser.add_argument("--full", action="store_true", help="compare every row at the end, not digests only")
    parser.add_argument("--live", action="store_true", help="somebody may write the store: read a private copy of it")
    parser.add_argument("--web-search", action="store_true", help="include web-search-* collections")
    parser.add_argument("--throttle", type=float, default=0, metavar="ROWS_PER_S", help="most rows a second")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for the private copy; the same one for a rerun")
    parser.add_argument("--run", default="copy", help="name in the ledger")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    return parser


def _copy_options(options: argparse.Namespace) -> CopyOptions:
    return CopyOptions(
        run=options.run,
        workers=options.workers,
        native_dimension=options.native_dimension,
        full=options.full,
        rows_per_second=options.throttle,
        live=options.live,
        selection=Selection(web_search=options.web_search),
    )


def _scratch(options: argparse.Namespace) -> Path:
    scratch: Path = options.scratch or Path(tempfile.mkdtemp(prefix="scaleout-copy-"))
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


class _Rate(ProgressColumn):
    """Units a second, since the step began."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        unit = task.fields.get("unit", "")
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        if unit == "bytes":
            return Text(f"{speed / 1e6:,.0f} MB/s")
        return Text(f"{speed:,.0f} {unit}/s" if unit == "rows" else "")


class _Progress:
    """One bar a step, as the transfer reports them."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:22}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Progress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total, unit=unit)
        self._bars.update(self._tasks[step], completed=done, total=total)


def _report(console: Console, result: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    seconds = result["seconds"]
    load = seconds["load"] or 1
    table.add_row("rows", f"{result['rows']:,} verified, {result['copied_now']:,} copied now")
    table.add_row("collections", f"{result['collections']:,}, {result['left_out_collections']:,} left out")
    table.add_row("load", f"{seconds['load']:.1f} s, {result['copied_now'] / load:,.0f} rows/s")
    table.add_row("index", f"{seconds['index']:.1f} s, {result['index']['method']}: {result['index']['reason']}")
    table.add_row("verify", f"{seconds['verify']:.1f} s, {result['searches_compared']} searches compared")
    if counts := result["finding_counts"]:
        table.add_row("findings", ", ".join(f"{count:,} {code}" for code, count in counts.items()) + " (ids: --json)")
    table.add_row("settings", "\n".join(f"{name}={value}" for name, value in result["settings"].items()))
    console.print(table)


def _write(path: Path | None, value: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
