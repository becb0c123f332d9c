"""Draw `docs/architecture.svg` from the code: packages as boxes on their floors, imports as arrows.

    python docs/architecture.py            # writes the picture
    python docs/architecture.py --check    # fails when the picture is not what the code says

A box is a package; a package's own modules without a folder stand in a box of its name. Within a band a box uses only
boxes below it; of the arrows that follow from others none is drawn.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
BANDS = {
    "api": "HTTP and timers: requests in, runs out",
    "phases": "the migration: what is done, in which order, and how it is taken back",
    "shared": "words, decisions, adapters, the mover",
    "local": "the rehearsal: Azure, Kubernetes, PostgreSQL and Open WebUI on one machine",
}
BOX, GAP, ROW, PADDING, HEAD = (132, 40), 16, 74, 18, 34

type Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Box:
    """Where a package is drawn."""

    name: str
    modules: int
    x: float
    y: float


def read_packages(graph: grimp.ImportGraph, band: str) -> tuple[Graph, dict[str, int]]:
    """The band's packages one level down: what each imports among them, and how many modules it has."""
    modules = {name for name in graph.modules if name == band or name.startswith(f"{band}.")}
    folders = {name for name in modules if name.count(".") == 1 and graph.find_children(name)}

    def package(module: str) -> str:
        below = ".".join(module.split(".")[:2])
        return below if below in folders else band

    uses: dict[str, set[str]] = {name: set() for name in [*folders, band]}
    counts = dict.fromkeys(uses, 0)
    for module in modules:
        counts[package(module)] += not graph.find_children(module)
        for other in graph.find_modules_directly_imported_by(module) & modules:
            uses[package(module)].add(package(other))
    drawn = {name for name in uses if counts[name]}
    return {name: (uses[name] & drawn) - {name} for name in drawn}, counts


def floors(graph: Graph) -> dict[str, int]:
    """Floor 0 uses nothing of the band; the others stand above all that they use. Two that use each other share one."""
    reach = {name: _reachable(graph, name) for name in graph}
    found: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in found:
            found[name] = 0
            below = [other for other in graph[name] if name not in reach[other]]
            found[name] = 1 + max((floor(other) for other in below), default=-1)
        return found[name]

    return {name: floor(name) for name in sorted(graph)}


def essential(graph: Graph) -> list[tuple[str, str]]:
    """The arrows that do not follow from two others."""
    reach = {name: _reachable(graph, name) for name in graph}
    return sorted(
        (name, other)
        for name, used in graph.items()
        for other in used
        if not any(other in reach[middle] and middle not in reach[other] for middle in used - {other})
    )


def draw(graph: grimp.ImportGraph) -> str:
    """The whole picture."""
    parts: list[str] = []
    top, width = PADDING + 56, 0.0
    for band, title in BANDS.items():
        packages, counts = read_packages(graph, band)
        boxes = _place(packages, counts, top + HEAD)
        bottom = max(box.y for box in boxes.values()) + BOX[1] + PADDING
        width = max(width, max(box.x for box in boxes.values()) + BOX[0] + PADDING * 2)
        parts.append(f'<rect class="band" x="{PADDING}" y="{top}" width="WIDTH" height="{bottom - top:.0f}" rx="8"/>')
        parts.append(
            f'<text class="title" x="{PADDING * 2}" y="{top + 22}">{band}/ <tspan>{escape(title)}</tspan></text>'
        )
        parts += [_arrow(boxes[one], boxes[other]) for one, other in essential(packages)]
        parts += [_box(box) for box in boxes.values()]
        top = bottom + GAP
    body = "\n".join(parts).replace("WIDTH", f"{width - PADDING * 2:.0f}")
    head = f'<rect class="root" x="{PADDING}" y="{PADDING}" width="{width - PADDING * 2:.0f}" height="40" rx="8"/>'
    root = "function_app.py: settings → adapters → triggers"
    label = f'<text class="name" x="{width / 2:.0f}" y="{PADDING + 25}">{root}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {top:.0f}" role="img"'
        f' aria-label="The packages of Scaleout and who imports whom">\n{STYLE}\n{head}\n{label}\n{body}\n</svg>\n'
    )


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def _place(packages: Graph, counts: Mapping[str, int], top: float) -> dict[str, Box]:
    level = floors(packages)
    highest = max(level.values())
    boxes: dict[str, Box] = {}
    for floor in range(highest, -1, -1):
        for column, name in enumerate(sorted(name for name in packages if level[name] == floor)):
            x = PADDING * 2 + column * (BOX[0] + GAP)
            boxes[name] = Box(name, counts[name], x, top + (highest - floor) * ROW)
    return boxes


def _box(box: Box) -> str:
    x, y = box.x + BOX[0] / 2, box.y + 17
    short = box.name.rsplit(".", 1)[-1] if "." in box.name else "its own modules"
    return (
        f'<rect class="box" x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
        f'<text class="name" x="{x:.0f}" y="{y:.0f}">{escape(short)}</text>'
        f'<text class="count" x="{x:.0f}" y="{y + 15:.0f}">{box.modules} module{"" if box.modules == 1 else "s"}</text>'
    )


def _arrow(one: Box, other: Box) -> str:
    x1, y1, x2, y2 = one.x + BOX[0] / 2, one.y + BOX[1], other.x + BOX[0] / 2, other.y
    if one.y >= other.y:  # on one floor: they use each other
        return _curve(x1, one.y, x2, y2, -16, 16)
    return _curve(x1, y1, x2, y2, (y2 - y1) / 2, (y2 - y1) / 2)


def _curve(x1: float, y1: float, x2: float, y2: float, leaves: float, arrives: float) -> str:
    points = f"{x1:.0f} {y1 + leaves:.0f}, {x2:.0f} {y2 - arrives:.0f}, {x2:.0f} {y2:.0f}"
    return f'<path class="arrow" d="M{x1:.0f} {y1:.0f} C {points}"/>'


STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1b2733 }
.title { font-weight: 600; font-size: 14px } .title tspan { font-weight: 400; font-size: 12px; fill: #4a5a6a }
.name { text-anchor: middle; font-weight: 600 } .count { text-anchor: middle; font-size: 10px; fill: #4a5a6a }
.band { fill: #f4f7fa; stroke: #c9d4de } .box { fill: #fff; stroke: #7d93a8 } .root { fill: #e3edf7; stroke: #7d93a8 }
.arrow { fill: none; stroke: #7d93a8; stroke-opacity: .75; marker-end: url(#head) }
</style><defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 z" fill="#7d93a8"/></marker></defs>"""


def main(arguments: Iterable[str]) -> int:
    sys.path.insert(0, str(ROOT))
    picture = draw(grimp.build_graph(*BANDS, cache_dir=None))
    if "--check" not in arguments:
        PICTURE.write_text(picture)
        return 0
    if PICTURE.exists() and PICTURE.read_text() == picture:
        return 0
    print(f"error: {PICTURE.relative_to(ROOT)} is not what the code says: run make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
