"""A picture of a run for the README: what the terminal shows at the end, as SVG."""

import io
import re
from typing import Any

from rich.console import Console

from local.rehearsal.output.display import phase_table

FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Rich would load fonts from the web; the reader's own monospace font does."""


def draw(report: dict[str, Any], lines: list[str]) -> str:
    """Return the SVG of the phases with their times, and of the closing lines."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$ make rehearse[/bold]")
    console.print(phase_table(report))
    for line in lines:
        console.print(line, highlight=False)
    return FONT.sub("", console.export_svg(title="make rehearse"))
