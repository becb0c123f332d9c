"""What each kind may contain, read from the OpenAPI schemas that the `kubernetes-validate` package carries.

A `Schema` answers three questions: which fields and JSON types are allowed (decoding), how lists and maps merge under
server-side apply (`list_type`, `list_keys`, `atomic`), and under a strategic merge patch (`patch_strategy`,
`patch_key`).
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any

from local.cluster.custom_schemas import DEFINITIONS
from local.cluster.kinds import Resource
from local.cluster.objects import Object
from local.cluster.quantities import parse_quantity
from local.cluster.status_errors import bad_request

SCHEMA_VERSION = "1.36.0"

# Keys of associative lists that may be left out. Source: `default: TCP` on ContainerPort and ServicePort in the
# OpenAPI v3 documents; the JSON schemas of kubernetes-validate leave defaults out.
KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_GO_NAMES = {str: "string", int: "number", float: "number", bool: "bool", list: "array", dict: "object"}


class Shape(Enum):
    STRUCT = "struct"
    MAP = "map"
    LIST = "list"
    SCALAR = "scalar"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True)
class Schema:
    """The type of one value."""

    shape: Shape
    types: tuple[type, ...] = ()
    fields: Mapping[str, "Schema"] = field(default_factory=dict)
    """Of a struct."""
    required: frozenset[str] = frozenset()
    """Of a struct: the fields that Go always writes."""
    element: "Schema | None" = None
    """Of a map's values or a list's items."""
    list_type: str = "atomic"
    """Of a list: atomic, set or map (items identified by `list_keys`)."""
    list_keys: tuple[str, ...] = ()
    atomic: bool = False
    """Of a struct or map: replaced as a whole by server-side apply."""
    patch_strategy: frozenset[str] = frozenset()
    patch_key: str | None = None
    is_quantity: bool = False
    text_format: str = ""
    """Of a string: `byte` (base64), `date-time`, or nothing that is checked."""

    @property
    def is_granular(self) -> bool:
        """Whether parts of this value may belong to different managers."""
        if self.shape is Shape.LIST:
            return self.list_type != "atomic"
        return self.shape in (Shape.STRUCT, Shape.MAP) and not self.atomic

    def child(self, name: str) -> "Schema":
        """Return the schema of a struct's field or a map's value; anything goes where nothing is declared."""
        return self.fields.get(name) or self.element or ANYTHING

    def item_key(self, item: Object) -> tuple[Any, ...]:
        """Return what identifies an item of an associative list."""
        return tuple(item.get(key, KEY_DEFAULTS.get(key)) for key in self.list_keys)


ANYTHING = Schema(Shape.ANYTHING)


@cache
def _definitions() -> Mapping[str, Any]:
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{SCHEMA_VERSION}-local"
    loaded: dict[str, Any] = json.loads((folder / "_definitions.json").read_text())
    definitions: dict[str, Any] = loaded["$defs"]
    return definitions | DEFINITIONS


@cache
def _definition_names() -> Mapping[tuple[str, str, str], str]:
    return {
        (kind["group"], kind["version"], kind["kind"]): name
        for name, definition in _definitions().items()
        for kind in definition.get("x-kubernetes-group-version-kind", ())
    }


def schema_of(resource: Resource) -> Schema:
    brought = _brought.get((resource.group, resource.version, resource.kind))
    return brought or schema_of_kind(resource.group, resource.version, resource.kind)


_brought: dict[tuple[str, str, str], Schema] = {}
"""Of kinds that a CustomResourceDefinition brought."""


def define(resource: Resource, raw: Mapping[str, Any]) -> None:
    """Read a custom kind's `openAPIV3Schema`; its metadata is what every object has."""
    meta = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    text = {"type": "string"}
    properties = {**raw.get("properties", {}), "apiVersion": text, "kind": text, "metadata": meta}
    _brought[resource.group, resource.version, resource.kind] = _compile({**raw, "properties": properties})


@cache
def schema_of_kind(group: str, version: str, kind: str) -> Schema:
    """Return the schema of a kind; one that the package does not know accepts anything."""
    name = _definition_names().get((group, version, kind))
    return _compile_definition(name) if name else ANYTHING


@cache
def _compile_definition(name: str) -> Schema:
    if name.endswith(".JSONSchemaProps"):  # a schema of schemas has no end; it is read by `define`
        return ANYTHING
    schema = _compile(_definitions()[name])
    return replace(schema, is_quantity=True) if name.endswith(".Quantity") else schema


def _compile(raw: Mapping[str, Any]) -> Schema:
    schema = _compile_definition(raw["$ref"].rpartition("/")[2]) if "$ref" in raw else _compile_inline(raw)
    strategy = raw.get("x-kubernetes-patch-strategy")
    return replace(
        schema,
        list_type=raw.get("x-kubernetes-list-type", schema.list_type),
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys", schema.list_keys)),
        atomic=raw.get("x-kubernetes-map-type") == "atomic" or schema.atomic,
        patch_strategy=frozenset(strategy.split(",")) if strategy else schema.patch_strategy,
        patch_key=raw.get("x-kubernetes-patch-merge-key", schema.patch_key),
    )


def _compile_inline(raw: Mapping[str, Any]) -> Schema:
    types = _json_types(raw)
    if "properties" in raw:
        fields = {name: _compile(property_) for name, property_ in raw["properties"].items()}
        return Schema(Shape.STRUCT, (dict,), fields, frozenset(raw.get("required", ())))
    if "additionalProperties" in raw:
        return Schema(Shape.MAP, (dict,), element=_compile(raw["additionalProperties"]))
    if "array" in types:
        return Schema(Shape.LIST, (list,), element=_compile(raw.get("items", {})))
    if not types or "object" in types:
        return ANYTHING
    python_types = tuple(dict.fromkeys(python for name in types for python in _PYTHON_TYPES[name]))
    return Schema(Shape.SCALAR, python_types, text_format=raw.get("format", ""))


def _json_types(raw: Mapping[str, Any]) -> list[str]:
    alternatives = raw.get("oneOf", [raw])
    named = [alternative.get("type", []) for alternative in alternatives]
    flat = [name for types in named for name in (types if isinstance(types, list) else [types])]
    return [name for name in flat if name != "null"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object that contains only what its kind declares, and the paths of what it contained besides."""

    value: Object
    unknown: tuple[str, ...]


def decode(value: Any, resource: Resource) -> Decoded:
    """Read a request's body as a kind.

    Nulls and empty lists and maps are dropped, as Go's `omitempty` does. Raises a 400 when a value has the wrong JSON
    type.
    """
    if not isinstance(value, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is not an object")
    unknown: list[str] = []
    decoded = _decode(value, schema_of(resource), "", resource, unknown)
    return Decoded(decoded, tuple(unknown))


def _decode(value: Any, schema: Schema, path: str, resource: Resource, unknown: list[str]) -> Any:
    if schema.shape is Shape.ANYTHING:
        return value
    if schema.is_quantity:
        value = _decode_quantity(value)
    if not isinstance(value, schema.types) or (isinstance(value, bool) and bool not in schema.types):
        raise _wrong_type(value, schema, path, resource)
    if schema.shape is Shape.STRUCT and isinstance(value, dict):
        return _decode_struct(value, schema, path, resource, unknown)
    element = schema.element or ANYTHING
    if isinstance(value, dict):
        entries = {key: entry for key, entry in value.items() if entry is not None}
        return {key: _decode(entry, element, f"{path}.{key}", resource, unknown) for key, entry in entries.items()}
    if isinstance(value, list):
        items = [(index, item) for index, item in enumerate(value) if item is not None]
        return [_decode(item, element, f"{path}[{index}]", resource, unknown) for index, item in items]
    if isinstance(value, str):
        _check_format(value, schema.text_format, resource)
    return value


def _decode_quantity(value: Any) -> Any:
    """Write numbers as text, as the API does, and refuse text that is no quantity."""
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(text, str):
        try:
            parse_quantity(text)
        except ValueError as error:
            raise bad_request(str(error)) from error
    return text


def _check_format(text: str, text_format: str, resource: Resource) -> None:
    try:
        if text_format == "byte":
            base64.b64decode(text.replace("\n", ""), validate=True)
        elif text_format == "date-time" and text:  # Go reads an empty time as none
            datetime.fromisoformat(text)
    except ValueError as error:
        kind, version = resource.kind, resource.version
        problem = "illegal base64 data" if text_format == "byte" else f'parsing time "{text}"'
        what = f'{kind} in version "{version}" cannot be handled as a {kind}'
        raise bad_request(f"{what}: {problem}: {error}") from error


def _decode_struct(value: Object, schema: Schema, path: str, resource: Resource, unknown: list[str]) -> Object:
    decoded: Object = {}
    for name, given in value.items():
        where = f"{path}.{name}" if path else name
        if name not in schema.fields:
            unknown.append(where)
        elif given is not None:
            child = schema.fields[name]
            result = _decode(given, child, where, resource, unknown)
            if result or child.shape not in (Shape.MAP, Shape.LIST) or name in schema.required:
                decoded[name] = result
    return decoded


def _wrong_type(value: Any, schema: Schema, path: str, resource: Resource) -> Exception:
    kind, version = resource.kind, resource.version
    found, wanted = _GO_NAMES.get(type(value), "null"), _GO_NAMES[schema.types[0]]
    return bad_request(
        f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal {found} '
        f"into Go struct field {kind}.{path} of type {wanted}"
    )
