"""Typed values ↔ the plain JSON values that Durable Functions carries.

Used at the activity boundary and nowhere else, so that phases deal in dataclasses and durable history holds plain JSON.
Strict on the way in: a field that the type does not know is an error, not a silent loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

type Json = Any
type JsonObject = dict[str, Any]


class WireError(ValueError):
    """A payload that does not fit the type that it claims to be."""


def to_wire(value: Any) -> Json:
    """Return `value` as plain JSON: dataclasses become objects, enums their values, timedeltas ISO 8601."""
    return msgspec.to_builtins(value)


def from_wire[T](payload: Json, kind: type[T]) -> T:
    """Return `payload` as a `kind`; WireError when a field is missing, unknown or of another type."""
    try:
        value = msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise WireError(f"{kind.__name__}: {error}") from error
    if lost := _lost_paths(payload, to_wire(value), "$"):
        raise WireError(f"{kind.__name__}: unknown field {', '.join(lost)}")
    return value


def from_store[T](payload: Json, kind: type[T]) -> T:
    """Return what this app itself stored; fields that another version of it wrote are left out.

    Without the search for unknown fields, which takes ten times as long as the conversion.
    """
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise WireError(f"{kind.__name__}: {error}") from error


def _lost_paths(given: Json, kept: Json, path: str) -> list[str]:
    """Paths of object keys in `given` that `kept` no longer has."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        lost = [f"{path}.{key}" for key in given if key not in kept]
        return lost + [
            deep for key in given if key in kept for deep in _lost_paths(given[key], kept[key], f"{path}.{key}")
        ]
    if isinstance(given, Sequence) and isinstance(kept, Sequence) and not isinstance(given, str):
        return [
            deep
            for i, (a, b) in enumerate(zip(given, kept, strict=False))
            for deep in _lost_paths(a, b, f"{path}[{i}]")
        ]
    return []
