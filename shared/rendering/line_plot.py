"""Line plots as SVG, written by hand: small enough to review, the same bytes on every machine. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 860, 150, 52, 30, 44

type Points = Sequence[tuple[float, float]]


def page(parts: Iterable[str], panels: int) -> str:
    """A whole picture of so many panels below each other."""
    size = f'width="{LEFT + WIDTH + 20}" height="{top_of(panels) - GAP + 40}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join((head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""))


def top_of(panel: int) -> int:
    """Where the panel of this number begins; the first is 0."""
    return TOP + panel * (HEIGHT + GAP)


def legend(title: str, colours: Mapping[str, str]) -> Iterable[str]:
    """The picture's title, and what each colour is."""
    yield text(LEFT, 18, title, weight="bold")
    for index, (name, colour) in enumerate(colours.items()):
        x = LEFT + 240 + index * 150
        yield f'<line x1="{x}" y1="14" x2="{x + 24}" y2="14" stroke="{colour}" stroke-width="2"/>'
        yield text(x + 30, 18, name)


def below(panels: int, words: str) -> str:
    """What the horizontal axis is."""
    return text(LEFT + WIDTH / 2, top_of(panels) - GAP + 30, words, anchor="middle")


@dataclass(frozen=True, slots=True)
class _Scale:
    """From x and y values to places on the paper."""

    top: float
    longest: float
    highest: float

    def line(self, points: Points, stroke: str) -> str:
        """A polyline through the points; those on a level stretch are left out."""
        last = len(points) - 1
        kept = [p for i, p in enumerate(points) if i in {0, last} or not points[i - 1][1] == p[1] == points[i + 1][1]]
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in kept)
        return f'<polyline points="{path}" fill="none" {stroke}/>'

    def _x(self, value: float) -> float:
        return LEFT + WIDTH * value / self.longest

    def _y(self, value: float) -> float:
        return self.top + HEIGHT * (1 - value / self.highest)


def panel(
    label: str,
    top: float,
    longest: float,
    lines: Mapping[str, Points],
    colours: Mapping[str, str],
    *,
    background: Points = (),
    limit: float | None = None,
) -> Iterable[str]:
    """A frame with three marks on each axis, and one line each; `limit` is dashed."""
    highest = max(value for points in (*lines.values(), background) for _, value in points)
    scale = _Scale(top, longest, max(highest, limit or 0, 1) * 1.05)
    yield f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    yield text(LEFT + 6, top + 14, label)
    for share in (0.0, 0.5, 1.0):
        yield text(LEFT - 6, top + HEIGHT * (1 - share) + 4, f"{scale.highest * share:.0f}", anchor="end")
        yield text(LEFT + WIDTH * share, top + HEIGHT + 15, f"{longest * share:.0f}", anchor="middle")
    if background:
        yield scale.line(background, 'stroke="#bbb"')
    if limit is not None:
        yield scale.line([(0.0, limit), (longest, limit)], 'stroke="#000" stroke-dasharray="5 4"')
    for name, points in lines.items():
        yield scale.line(points, f'stroke="{colours[name]}" stroke-width="1.6"')


def bars(label: str, top: float, values: Mapping[str, int]) -> Iterable[str]:
    """A frame with one bar for each value, and their mean dashed."""
    yield f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    yield text(LEFT + 6, top + 14, label)
    highest, width = max([*values.values(), 1]) * 1.3, WIDTH / max(len(values), 1)
    for index, (name, value) in enumerate(sorted(values.items())):
        x, height = LEFT + index * width + width / 4, HEIGHT * value / highest
        place = f'x="{x:.1f}" y="{top + HEIGHT - height:.1f}" width="{width / 2:.1f}" height="{height:.1f}"'
        yield f'<rect {place} fill="#1f77b4"/>'
        yield text(x + width / 4, top + HEIGHT + 15, f"{name}: {value:,}", anchor="middle")
    if values:
        y = top + HEIGHT * (1 - sum(values.values()) / len(values) / highest)
        dashed = 'stroke="#000" stroke-dasharray="5 4"'
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + WIDTH}" y2="{y:.1f}" {dashed}/>'


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
