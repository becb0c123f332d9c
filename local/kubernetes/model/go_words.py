"""Values as Go prints them: refusals quote them, and people and programs match on refusals."""

import json
from typing import Any


def to_json(value: Any) -> str:
    """Return compact JSON, as encoding/json writes it; structs keep the order of their fields, maps come sorted."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def to_text(value: Any) -> str:
    """Return what fmt's `%v` prints of decoded JSON: `map[spec:map[replicas:1]]`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case dict():
            return f"map[{' '.join(f'{name}:{to_text(value[name])}' for name in sorted(value))}]"
        case list():
            return f"[{' '.join(map(to_text, value))}]"
    return str(value)


def quoted(text: str) -> str:
    """Return what `%q` prints."""
    return json.dumps(text, ensure_ascii=False)


def bad_value(value: Any) -> str:
    """Return how a refusal quotes the value that it refuses. Source: apimachinery, util/validation/field/errors.go."""
    if isinstance(value, str):
        return quoted(value)
    return to_text(value) if isinstance(value, bool | int | float) else to_json(value)
