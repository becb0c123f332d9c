"""Match request paths to route templates the way ASP.NET Core, the router of the Functions host, does.

    migrations/{id:int}      a parameter with a constraint
    files/{name}.{ext?}      several parameters in a segment, the last one optional
    blobs/{*path}            the rest of the path

A template with a literal where another has a parameter wins; then a constrained parameter, a free one, the rest.
Literals match in any case. When only the method is wrong the answer is 404, not 405.

Source: https://learn.microsoft.com/aspnet/core/fundamentals/routing, "Route template precedence", "Route constraints";
https://github.com/Azure/azure-functions-host/issues/10098 for 404.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from local.functions.web.constraints import Check, read_constraints
from shared.errors import ConfigurationError

PARAMETER = re.compile(
    r"\{(?P<rest>\*{0,2})(?P<name>\w+)(?P<constraints>(?::\w+(?:\([^{}]*?\))?)*)(?:=(?P<default>[^{}]*))?(?P<maybe>\?)?\}"
)

LITERAL, CONSTRAINED, FREE, CONSTRAINED_REST, REST = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a template between slashes. `rank` is its precedence, low first."""

    pattern: re.Pattern[str]
    checks: Mapping[str, tuple[Check, ...]]
    defaults: dict[str, str]
    rank: int
    optional: bool

    @property
    def takes_rest(self) -> bool:
        """Whether it matches everything that is left of the path."""
        return self.rank in (CONSTRAINED_REST, REST)

    def match(self, part: str) -> dict[str, str] | None:
        """Match one part of a path and return its parameters; None when it does not match."""
        found = self.pattern.fullmatch(part)
        if not found:
            return None
        values = {name: value for name, value in found.groupdict().items() if value is not None}
        passed = all(check(values[name]) for name, checks in self.checks.items() if name in values for check in checks)
        return values if passed else None


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed route template."""

    segments: tuple[Segment, ...]

    @property
    def precedence(self) -> tuple[int, ...]:
        """Sort key: the first template that matches in this order wins."""
        return tuple(segment.rank for segment in self.segments)

    def match(self, parts: Sequence[str]) -> dict[str, str] | None:
        """Match a whole path, split at slashes and decoded; None when it does not match."""
        values: dict[str, str] = {}
        for number, segment in enumerate(self.segments):
            if segment.takes_rest:
                found = segment.match("/".join(parts[number:]))
                return None if found is None else segment.defaults | values | found
            if number >= len(parts):
                if not segment.optional:
                    return None
                values |= segment.defaults
                continue
            found = segment.match(parts[number])
            if found is None:
                return None
            values |= found
        return values if len(parts) <= len(self.segments) else None


def parse_template(text: str) -> Template:
    """Parse a route template. Raises ConfigurationError for one ASP.NET Core would reject."""
    parts = text.strip("/").split("/") if text.strip("/") else []
    return Template(tuple(_parse_segment(part, text) for part in parts))


def split_path(raw: str) -> list[str]:
    """Split a raw request path at its slashes, then decode each part: an encoded slash does not split."""
    stripped = raw.strip("/")
    return [unquote(part) for part in stripped.split("/")] if stripped else []


def _parse_segment(part: str, template: str) -> Segment:
    parameters = list(PARAMETER.finditer(part))
    starts, ends = [p.start() for p in parameters], [p.end() for p in parameters]
    literals = [part[begin:end] for begin, end in zip([0, *ends], [*starts, len(part)], strict=True)]
    if re.search("[{}]", "".join(literals)):
        raise ConfigurationError(f"the route {template!r} has a parameter that cannot be read in {part!r}")
    checks = {p["name"]: read_constraints(p["constraints"], template) for p in parameters}
    defaults = {p["name"]: p["default"] for p in parameters if p["default"] is not None}
    alone = len(parameters) == 1 and not any(literals)
    return Segment(
        pattern=re.compile(_pattern(parameters, literals), re.IGNORECASE),
        checks=checks,
        defaults=defaults,
        rank=_rank(parameters[0], any(checks.values())) if alone else CONSTRAINED if parameters else LITERAL,
        optional=alone and _may_be_missing(parameters[0]),
    )


def _rank(parameter: re.Match[str], constrained: bool) -> int:
    if parameter["rest"]:
        return CONSTRAINED_REST if constrained else REST
    return CONSTRAINED if constrained else FREE


def _may_be_missing(parameter: re.Match[str]) -> bool:
    return bool(parameter["maybe"]) or parameter["default"] is not None


def _pattern(parameters: Sequence[re.Match[str]], literals: Sequence[str]) -> str:
    """Write the regular expression of a segment. Of `{name}.{ext}` the last dot separates, as ASP.NET reads it."""
    pattern = ""
    for number, (literal, parameter) in enumerate(zip(literals, parameters, strict=False)):
        inner = number > 0 and literal != ""
        value = ".*" if parameter["rest"] else f"[^{re.escape(literal[0])}]+" if inner else ".+?"
        piece = f"{re.escape(literal)}(?P<{parameter['name']}>{value})"
        pattern += f"(?:{piece})?" if inner and _may_be_missing(parameter) else piece
    return pattern + re.escape(literals[-1])


@dataclass(frozen=True, slots=True)
class Route[Target]:
    """A template with the methods it takes (none: all) and what answers."""

    template: Template
    methods: frozenset[str]
    target: Target


class RouteTable[Target]:
    """All routes, in the order they are tried."""

    def __init__(self, routes: Sequence[Route[Target]]) -> None:
        self._routes = sorted(routes, key=lambda route: route.template.precedence)

    def find(self, method: str, raw_path: str) -> tuple[Target, dict[str, str]] | None:
        """Find what answers a request, with its route parameters."""
        parts = split_path(raw_path)
        for route in self._routes:
            if route.methods and method.upper() not in route.methods:
                continue
            values = route.template.match(parts)
            if values is not None:
                return route.target, values
        return None
