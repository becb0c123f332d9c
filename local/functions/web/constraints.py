"""Constraints on route parameters, as ASP.NET Core checks them.

Source: https://learn.microsoft.com/aspnet/core/fundamentals/routing, "Route constraints".
"""

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from shared.errors import ConfigurationError

Check = Callable[[str], bool]

CONSTRAINT = re.compile(r":(\w+)(?:\(((?:[^()]|\([^()]*\))*)\))?")


def read_constraints(text: str, template: str) -> tuple[Check, ...]:
    """Read `:int:min(1)` and the like. Raises ConfigurationError for one that does not exist."""
    return tuple(_read(name, argument, template) for name, argument in CONSTRAINT.findall(text))


def _read(name: str, argument: str, template: str) -> Check:
    if name == "regex":
        expression = re.compile(argument.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
        return lambda value: expression.search(value) is not None
    numbers = tuple(int(number) for number in argument.split(",") if number.strip())
    check = CHECKS.get((name, len(numbers)))
    if check is None:
        raise ConfigurationError(f"the route {template!r} has an unknown constraint {name!r}")
    return lambda value: check(value, *numbers)


def _parses(value: str, convert: Callable[[str], object]) -> bool:
    try:
        convert(value)
    except ValueError:
        return False
    return True


def _is_whole(value: str, bits: int) -> bool:
    return re.fullmatch(r"[+-]?\d+", value) is not None and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)


CHECKS: Mapping[tuple[str, int], Callable[..., bool]] = {
    ("int", 0): partial(_is_whole, bits=32),
    ("long", 0): partial(_is_whole, bits=64),
    ("guid", 0): partial(_parses, convert=uuid.UUID),
    ("bool", 0): lambda value: value.lower() in ("true", "false"),
    ("alpha", 0): lambda value: re.fullmatch(r"[A-Za-z]*", value) is not None,
    ("float", 0): partial(_parses, convert=float),
    ("double", 0): partial(_parses, convert=float),
    ("decimal", 0): partial(_parses, convert=float),
    ("datetime", 0): partial(_parses, convert=datetime.fromisoformat),
    ("required", 0): bool,
    ("min", 1): lambda value, low: _is_whole(value, 64) and int(value) >= low,
    ("max", 1): lambda value, high: _is_whole(value, 64) and int(value) <= high,
    ("range", 2): lambda value, low, high: _is_whole(value, 64) and low <= int(value) <= high,
    ("length", 1): lambda value, exact: len(value) == exact,
    ("length", 2): lambda value, low, high: low <= len(value) <= high,
    ("minlength", 1): lambda value, low: len(value) >= low,
    ("maxlength", 1): lambda value, high: len(value) <= high,
}
"""By name and number of arguments."""
