"""A dashboard drawn with the data of a real Prometheus, as one page that needs nothing from elsewhere. For looking at:
the same file, queries, units, thresholds and places as in Grafana, which no package registry carries.
"""

import html
from dataclasses import dataclass
from datetime import UTC, datetime

from local.prometheus.board import Panel, panels
from local.prometheus.server import Prometheus, Series
from shared.wire import JsonObject

CELL_WIDTH, CELL_HEIGHT, GAP = 56, 34, 8
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffb357")
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
STYLE = """
body { margin: 0; background: #111217; color: #d8d9da; font: 13px system-ui, sans-serif }
main { position: relative; width: 1344px; margin: 16px }
section { position: absolute; background: #181b1f; border: 1px solid #24272c; border-radius: 3px; overflow: hidden }
section.row { background: none; border: none; font-weight: 600 }
h1 { font-size: 18px; margin: 16px 16px 0 } h2 { font-size: 13px; font-weight: 500; margin: 8px 10px 0 }
.figure { font-size: 34px; font-weight: 500; text-align: center; position: absolute; inset: 40px 0 auto }
svg { display: block } text { fill: #9fa7b3; font: 11px system-ui, sans-serif }
ul { list-style: none; margin: 0 10px; padding: 0; font-size: 11px } li { display: inline-block; margin-right: 14px }
li::before { content: ""; display: inline-block; width: 14px; height: 3px; margin: 0 5px 3px 0; background: var(--c) }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a panel, ready to be drawn."""

    name: str
    colour: str
    dashed: bool
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values and times lie in a picture of this size."""

    width: int
    height: int
    start: float
    end: float
    top: float
    left: int = 58
    bottom: int = 22

    def x(self, at: float) -> float:
        return self.left + (at - self.start) / (self.end - self.start) * (self.width - self.left - 12)

    def y(self, value: float) -> float:
        return 8 + (1 - value / self.top) * (self.height - self.bottom - 8)


def draw(board: JsonObject, source: Prometheus, start: float, end: float) -> str:
    """The page. A panel without data says so, as in Grafana."""
    found = [_section(panel, source, start, end) for panel in panels(board)]
    _, height = size(board)
    title = html.escape(board["title"])
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    body = f'<h1>{title}</h1><main style="height:{height - 64}px">{"".join(found)}</main>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def size(board: JsonObject) -> tuple[int, int]:
    """Width and height of the page, in pixels."""
    return 1376, max(panel.top + panel.height for panel in panels(board)) * CELL_HEIGHT + 72


def step_of(start: float, end: float) -> float:
    """Seconds between two points."""
    return max(1.0, (end - start) / 400)


def read(panel: Panel, source: Prometheus, start: float, end: float) -> list[Line]:
    """The panel's series over this time, in the colours of the legend."""
    step = step_of(start, end)
    named: list[tuple[str, bool, Series]] = []
    for target in panel.targets:
        found = source.query_range(target.expression, start, end, step)
        named += [(target.name(series[0]), target.dashed, series) for series in found]
    return [
        Line(name, COLOURS[number % len(COLOURS)], dashed, series[1])
        for number, (name, dashed, series) in enumerate(named)
    ]


def _section(panel: Panel, source: Prometheus, start: float, end: float) -> str:
    width, height = panel.width * CELL_WIDTH - GAP, panel.height * CELL_HEIGHT - GAP
    place = f"left:{panel.left * CELL_WIDTH}px;top:{panel.top * CELL_HEIGHT}px;width:{width}px;height:{height}px"
    title = html.escape(panel.title)
    if panel.kind == "row":
        return f'<section class="row" style="{place}"><h2>▾ {title}</h2></section>'
    lines = read(panel, source, start, end)
    draws = _figure if panel.kind == "stat" else _course
    content = (
        draws(panel, lines, Frame(width, height - 64, start, end, 1)) if lines else '<p class="figure">No data</p>'
    )
    return f'<section style="{place}" title="{html.escape(panel.says)}"><h2>{title}</h2>{content}</section>'


def _figure(panel: Panel, lines: list[Line], frame: Frame) -> str:
    value = lines[0].last
    colour = next((NAMED[name] for limit, name in reversed(panel.steps) if value >= limit), NAMED["green"])
    return f'<p class="figure" style="color:{colour};margin:0">{_shown(value, panel)}</p>'


def _course(panel: Panel, lines: list[Line], frame: Frame) -> str:
    highest = max(max(value for _, value in line.points) for line in lines)
    ticks = _ticks(max(highest, panel.soft_top) or 1.0, whole=panel.decimals == 0, binary=panel.unit == "bytes")
    frame = Frame(frame.width, frame.height, frame.start, frame.end, ticks[-1])
    grid = "".join(_horizontal(value, panel, frame) for value in ticks) + "".join(_times(frame))
    drawn = "".join(_path(line, frame) for line in lines)
    legend = "".join(
        f'<li style="--c:{line.colour}">{html.escape(line.name)} &nbsp;{_shown(line.last, panel)}</li>'
        for line in lines
    )
    return f'<svg width="{frame.width}" height="{frame.height}">{grid}{drawn}</svg><ul>{legend}</ul>'


def _horizontal(value: float, panel: Panel, frame: Frame) -> str:
    y = frame.y(value)
    line = f'<line x1="{frame.left}" x2="{frame.width - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="#2c3036"/>'
    return line + f'<text x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{_shown(value, panel)}</text>'


def _times(frame: Frame) -> list[str]:
    marks = [frame.start + (frame.end - frame.start) * part / 6 for part in range(1, 6)]
    form = "%H:%M" if frame.end - frame.start > 1800 else "%H:%M:%S"
    y = frame.height - 6
    return [
        f'<text x="{frame.x(at):.1f}" y="{y}" text-anchor="middle">{datetime.fromtimestamp(at, UTC):{form}}</text>'
        for at in marks
    ]


def _path(line: Line, frame: Frame) -> str:
    style = 'stroke-dasharray="8 8"' if line.dashed else ""
    return "".join(
        f'<polyline points="{" ".join(f"{frame.x(at):.1f},{frame.y(value):.1f}" for at, value in part)}"'
        f' fill="none" stroke="{line.colour}" stroke-width="2" stroke-linecap="round" {style}/>'
        for part in _unbroken(line.points, step_of(frame.start, frame.end))
    )


def _unbroken(points: list[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    """Parts without a gap: where there was nothing, no line is drawn."""
    parts: list[list[tuple[float, float]]] = []
    for point in points:
        if not parts or point[0] - parts[-1][-1][0] > step * 1.5:
            parts.append([])
        parts[-1].append(point)
    return parts


def _ticks(highest: float, *, whole: bool, binary: bool) -> list[float]:
    """From 0 to just above the highest, in four to eight steps that a person would choose."""
    decimal = [factor * 10.0**power for power in range(-9, 15) for factor in (1, 2, 2.5, 5)]
    candidates = [2.0**power for power in range(50)] if binary else decimal
    chosen = next(each for each in candidates if each * 5 >= highest and (not whole or each % 1 == 0))
    count = 1
    while chosen * count < highest:
        count += 1
    return [chosen * number for number in range(count + 1)]


def _shown(value: float, panel: Panel) -> str:
    """As Grafana shows a value of this unit."""
    match panel.unit:
        case "percentunit":
            return f"{value * 100:.3g} %"
        case "s":
            return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
        case "bytes":
            return _bytes(value)
        case _:
            return f"{value:.{panel.decimals}f}" if panel.decimals is not None else f"{value:.4g}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"
