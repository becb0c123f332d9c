"""Reading a request's body as a kind: unknown fields, wrong types, and what Go leaves out when it writes."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object
from local.kubernetes.model.quantities import parse_quantity
from local.kubernetes.model.schema import ANYTHING, Schema, Shape, schema_of
from local.kubernetes.model.status_errors import bad_request

_JSON_NAMES = {str: "string", int: "number", float: "number", bool: "bool", list: "array", dict: "object"}
_GO_NAMES = {str: "string", int: "int32", float: "float64", bool: "bool", list: "[]interface {}", dict: "struct"}

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\n]")


class WrongType(ValueError):
    """A value of another JSON type than its field has; in the words of Go's decoder."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object that contains only what its kind declares, and the paths of what it contained besides."""

    value: Object
    unknown: tuple[str, ...]


def decode(value: Any, resource: Resource, *, literally: bool = False) -> Decoded:
    """Read a request's body as a kind.

    Nulls and empty lists and maps are dropped, as Go's `omitempty` does, unless it is read `literally`, as an applied
    configuration is. Raises a 400 when a value has the wrong JSON type.
    """
    try:
        return read(value, resource, literally=literally)
    except WrongType as error:
        kind, version = resource.kind, resource.version
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {error}') from error


def read(value: Any, resource: Resource, *, literally: bool = False) -> Decoded:
    """Do the same, but raise `WrongType`: who asks decides what the refusal is."""
    if not isinstance(value, dict):
        raise WrongType(wrong_shape(value, f"v1.{resource.kind}"))
    decoder = _Decoder(literally)
    decoded = decoder.read(value, schema_of(resource), "", resource.kind)
    return Decoded(decoded, tuple(decoder.unknown))


def wrong_shape(value: Any, wanted: str) -> str:
    """Say in Go's words that a body as a whole is something else than what it should be."""
    if value is None:
        return "unexpected end of JSON input"
    return f"json: cannot unmarshal {_JSON_NAMES[type(value)]} into Go value of type {wanted}"


@dataclass(frozen=True, slots=True)
class _Decoder:
    literally: bool
    unknown: list[str] = field(default_factory=list)

    def read(self, value: Any, schema: Schema, path: str, parent: str) -> Any:
        """`parent` is the Go struct that the value is a field of."""
        if schema.shape is Shape.ANYTHING or (value is None and self.literally):
            return value
        if schema.is_quantity:
            value = _quantity(value)
        if not isinstance(value, schema.types) or (isinstance(value, bool) and bool not in schema.types):
            found = _JSON_NAMES.get(type(value), "null")
            where = f"{parent}.{path}"
            raise WrongType(f"json: cannot unmarshal {found} into Go struct field {where} of type {_go_type(schema)}")
        if isinstance(value, str):
            _check_format(value, schema.text_format)
        return self._container(value, schema, path, parent)

    def _container(self, value: Any, schema: Schema, path: str, parent: str) -> Any:
        element = schema.element or ANYTHING
        if schema.shape is Shape.STRUCT and isinstance(value, dict):
            return self._struct(value, schema, path)
        if isinstance(value, dict):
            entries = {key: entry for key, entry in value.items() if self.literally or entry is not None}
            return {key: self.read(entry, element, f"{path}.{key}", parent) for key, entry in entries.items()}
        if isinstance(value, list):
            items = [(index, item) for index, item in enumerate(value) if item is not None]
            return [self.read(item, element, f"{path}[{index}]", parent) for index, item in items]
        return value

    def _struct(self, value: Object, schema: Schema, path: str) -> Object:
        decoded: Object = {} if self.literally else dict.fromkeys(sorted(schema.written_null - value.keys()))
        for name, given in value.items():
            where = f"{path}.{name}" if path else name
            if name not in schema.fields:
                self.unknown.append(where)
            elif given is not None or self.literally:
                child = schema.fields[name]
                result = self.read(given, child, where, schema.name)
                left_out = not result and (child.shape in (Shape.MAP, Shape.LIST) or name in schema.omitted)
                if self.literally or not left_out or name in schema.always:
                    decoded[name] = result
                elif name in schema.written_null:
                    decoded[name] = None
            elif name in schema.written_null:
                decoded[name] = None
        return decoded


def _go_type(schema: Schema) -> str:
    match schema.shape:
        case Shape.STRUCT:
            return f"v1.{schema.name}"
        case Shape.MAP:
            return f"map[string]{_go_type(schema.element or ANYTHING)}"
        case Shape.LIST:
            return f"[]{_go_type(schema.element or ANYTHING)}"
        case Shape.ANYTHING:
            return "interface {}"
    return schema.text_format if schema.text_format.startswith("int") else _GO_NAMES[schema.types[0]]


def _quantity(value: Any) -> Any:
    """Write numbers as text, as the API does, and refuse text that is no quantity."""
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(text, str):
        try:
            parse_quantity(text)
        except ValueError as error:
            raise bad_request(str(error)) from error
    return text


def _check_format(text: str, text_format: str) -> None:
    try:
        if text_format == "byte":
            base64.b64decode(text.replace("\n", ""), validate=True)
        elif text_format == "date-time" and text:  # Go reads an empty time as none
            datetime.fromisoformat(text)
    except binascii.Error as error:
        raise WrongType(f"illegal base64 data at input byte {_first_wrong_byte(text)}") from error
    except ValueError as error:
        raise WrongType(f'parsing time "{text}": {error}') from error


def _first_wrong_byte(text: str) -> int:
    """Return where Go stops reading base64: at a foreign byte, or where the last, incomplete four begin."""
    foreign = _NOT_BASE64.search(text)
    return foreign.start() if foreign else (len(text) - 1) // 4 * 4
