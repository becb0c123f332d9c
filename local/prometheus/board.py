"""A Grafana dashboard read the way Grafana reads it: variables put in, panels with their places, queries and styles."""

import re
from dataclasses import dataclass
from string import Template
from typing import Any

from shared.wire import JsonObject

LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    letter: str
    expression: str
    legend: str
    dashed: bool

    def name(self, labels: dict[str, str]) -> str:
        """What the legend calls a series."""
        return LEGEND.sub(lambda found: labels.get(found[1], ""), self.legend)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture; `left`, `top`, `width`, `height` in cells of Grafana's 24 columns."""

    kind: str
    title: str
    says: str
    unit: str
    left: int
    top: int
    width: int
    height: int
    targets: tuple[Target, ...]
    steps: tuple[tuple[float, str], ...]
    """From this value on, this colour."""
    soft_top: float
    decimals: int | None


def panels(board: JsonObject) -> list[Panel]:
    """All of them in order, rows included."""
    values = {v["name"]: str(v["current"]["value"]) for v in board["templating"]["list"] if v.get("current")}
    return [_panel(found, values) for found in board["panels"]]


def queries(board: JsonObject) -> list[tuple[str, str]]:
    """Title of the panel and expression, of every query."""
    return [(panel.title, target.expression) for panel in panels(board) for target in panel.targets]


def _panel(found: JsonObject, values: dict[str, str]) -> Panel:
    place, fields = found["gridPos"], found.get("fieldConfig") or {}
    defaults: dict[str, Any] = fields.get("defaults") or {}
    dashed = {
        override["matcher"]["options"]
        for override in fields.get("overrides") or []
        if any(each["id"] == "custom.lineStyle" for each in override["properties"])
    }
    steps = (defaults.get("thresholds") or {}).get("steps") or []
    return Panel(
        kind=found["type"],
        title=found["title"],
        says=found.get("description") or "",
        unit=defaults.get("unit") or "",
        left=place["x"],
        top=place["y"],
        width=place["w"],
        height=place["h"],
        targets=tuple(_target(each, values, dashed) for each in found.get("targets") or []),
        steps=tuple((float("-inf") if step["value"] is None else step["value"], step["color"]) for step in steps),
        soft_top=float((defaults.get("custom") or {}).get("axisSoftMax") or 0),
        decimals=defaults.get("decimals"),
    )


def _target(found: JsonObject, values: dict[str, str], dashed: set[str]) -> Target:
    expression = Template(found["expr"]).substitute(values)
    return Target(found["refId"], expression, found["legendFormat"], found["refId"] in dashed)
