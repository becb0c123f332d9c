"""`report.html`: the report for a person, in one self-contained file. Pure: report in, HTML out."""

from pathlib import Path
from typing import Any

from jinja2 import Environment

from shared.load_test.report import blocks
from shared.rendering.documents import blocks_to_html

TEMPLATE = Path(__file__).with_name("report_page.html")


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    page = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    tested = report["results"].get("load_test") or {}
    load_test = blocks_to_html(blocks(tested, report["target"])) if tested.get("verdict") else ""
    return page.render(
        r=report, load_test=load_test, phases=_bars(report["phases"]), bytes=int(report["files"].get("bytes") or 0)
    )


def _bars(phases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Phases with the place of their bar, in per cent of the whole."""
    whole = sum(p["seconds"] for p in phases) or 1.0
    found, before = [], 0.0
    for phase in phases:
        place = {"left": round(100 * before / whole, 2), "width": round(100 * phase["seconds"] / whole, 2)}
        found.append(phase | place)
        before += phase["seconds"]
    return found
