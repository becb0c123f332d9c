"""Quantities: `500m` of a core, `1Gi` of memory."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal

_FORMAT_IN_WORDS = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_FORMAT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(n|u|m|k|Ki|[MGTPE]i?)?")
_FACTORS: Mapping[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(1000),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: str | float) -> Decimal:
    """Return the number that a quantity stands for; raises ValueError when it is none."""
    found = _FORMAT.fullmatch(str(text))
    if found is None:
        raise ValueError(f"quantities must match the regular expression '{_FORMAT_IN_WORDS}': {text!r}")
    return Decimal(found[1]) * _FACTORS.get(found[2] or "", Decimal(1))


def to_millis(text: str | float) -> int:
    """Return a quantity in thousandths, rounded up."""
    return math.ceil(parse_quantity(text) * 1000)
