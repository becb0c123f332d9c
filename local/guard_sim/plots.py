"""Plots as SVG, written by hand: small enough to review, the same bytes on every machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from local.guard_sim.compare import Result

WIDTH, HEIGHT, LEFT, TOP, GAP = 860, 150, 52, 30, 44
COLOURS = {"guard": "#1f77b4", "guard over HPA": "#2ca02c", "HPA alone": "#d62728", "KEDA alone": "#9467bd"}
MOST_POINTS = 300

type Points = Sequence[tuple[float, float]]


def write_plots(results: Sequence[Result], directory: Path, limit: int) -> list[Path]:
    """One file a trace: replicas above, connections in use against `limit` below."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for trace in dict.fromkeys(result.trace for result in results):
        path = directory / f"{trace.replace(' ', '-')}.svg"
        path.write_text(plot([result for result in results if result.trace == trace], limit))
        paths.append(path)
    return paths


def plot(results: Sequence[Result], limit: int) -> str:
    """The trace's two panels with a legend."""
    minutes = max(sample.minute for result in results for sample in result.samples)
    samples = {r.contestant: r.samples[:: max(1, int(minutes / MOST_POINTS))] for r in results}
    replicas = {name: [(s.minute, float(s.replicas)) for s in seen] for name, seen in samples.items()}
    used = {name: [(s.minute, float(s.used)) for s in seen] for name, seen in samples.items()}
    load = [(s.minute, s.load / 20) for s in samples[results[0].contestant]]
    parts = [
        *_legend(results[0].trace),
        *_panel("replicas (grey: load / 20 queries)", TOP, minutes, replicas, background=load),
        *_panel("connections in use", TOP + HEIGHT + GAP, minutes, used, limit=limit),
        _text(LEFT + WIDTH / 2, TOP + 2 * HEIGHT + GAP + 30, "minutes", anchor="middle"),
    ]
    size = f'width="{LEFT + WIDTH + 20}" height="{TOP + 2 * HEIGHT + GAP + 40}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join((head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""))


def _legend(title: str) -> Iterable[str]:
    yield _text(LEFT, 18, title, weight="bold")
    for index, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + 240 + index * 150
        yield f'<line x1="{x}" y1="14" x2="{x + 24}" y2="14" stroke="{colour}" stroke-width="2"/>'
        yield _text(x + 30, 18, name)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From minutes and values to places on the paper."""

    top: float
    minutes: float
    highest: float

    def line(self, points: Points, stroke: str) -> str:
        """A polyline through the points; those on a level stretch are left out."""
        last = len(points) - 1
        kept = [p for i, p in enumerate(points) if i in {0, last} or not points[i - 1][1] == p[1] == points[i + 1][1]]
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in kept)
        return f'<polyline points="{path}" fill="none" {stroke}/>'

    def _x(self, minute: float) -> float:
        return LEFT + WIDTH * minute / self.minutes

    def _y(self, value: float) -> float:
        return self.top + HEIGHT * (1 - value / self.highest)


def _panel(
    label: str,
    top: float,
    minutes: float,
    lines: Mapping[str, Points],
    *,
    background: Points = (),
    limit: int | None = None,
) -> Iterable[str]:
    """A frame with three marks on each axis, and one line a contestant."""
    highest = max(value for points in (*lines.values(), background) for _, value in points)
    scale = _Scale(top, minutes, max(highest, limit or 0, 1) * 1.05)
    yield f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    yield _text(LEFT + 6, top + 14, label)
    for share in (0.0, 0.5, 1.0):
        yield _text(LEFT - 6, top + HEIGHT * (1 - share) + 4, f"{scale.highest * share:.0f}", anchor="end")
        yield _text(LEFT + WIDTH * share, top + HEIGHT + 15, f"{minutes * share:.0f}", anchor="middle")
    if background:
        yield scale.line(background, 'stroke="#bbb"')
    if limit is not None:
        yield scale.line([(0.0, limit), (minutes, limit)], 'stroke="#000" stroke-dasharray="5 4"')
    for name, points in lines.items():
        yield scale.line(points, f'stroke="{COLOURS[name]}" stroke-width="1.6"')


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
