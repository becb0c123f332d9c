"""Kubernetes' quantities as numbers: `500m` of a core, `1Gi` of memory. Pure.

Source: k8s.io/apimachinery, api/resource.
"""

import re

from shared.errors import PermanentError

FACTORS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    **{letter: 1000.0**power for power, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)},
}


def quantity(text: str) -> float:
    """The number that it stands for; PermanentError when it is none."""
    found = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]{0,2})", text)
    if found is None or found[2] not in FACTORS:
        raise PermanentError(f"{text!r} is no quantity")
    return float(found[1]) * FACTORS[found[2]]
