"""The text that PostgreSQL gives a jsonb value: keys by length then bytes, `", "` and `": "`, numbers as numeric prints
them.

Metadata is brought into this form before it is sent, so that source and target hash to the same digest.
Source: src/backend/utils/adt/{jsonb,jsonb_util,json}.c (JsonbToCString, lengthCompareJsonbString, escape_json),
numeric_out.
"""

import json
import math
from decimal import Decimal
from typing import Any

_quote = json.JSONEncoder(ensure_ascii=False).encode


def number(value: float | int) -> str:
    """Return a finite number as numeric prints it (no exponent, no negative zero); anything else is null, as JSON has
    no NaN."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "null"
    return format(Decimal(repr(value + 0.0 if value else 0.0)), "f")


def text(value: Any) -> str:
    """Return any JSON value in PostgreSQL's form."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_quote(key)}: {text(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return number(value)
