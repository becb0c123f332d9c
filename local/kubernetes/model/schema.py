"""What each kind may contain, read from the OpenAPI schemas that the `kubernetes-validate` package carries.

A `Schema` answers three questions: which fields and JSON types are allowed (decoding), how lists and maps merge under
server-side apply (`list_type`, `list_keys`, `atomic`), and under a strategic merge patch (`patch_strategy`,
`patch_key`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any

from local.kubernetes.model.custom_schemas import DEFINITIONS
from local.kubernetes.model.go_types import KEPT_WHEN_ZERO, OMITTED_WHEN_ZERO, WRITTEN_EMPTY, WRITTEN_NULL
from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object

SCHEMA_VERSION = "1.36.0"

# Keys of associative lists that may be left out. Source: `default: TCP` on ContainerPort and ServicePort in the
# OpenAPI v3 documents; the JSON schemas of kubernetes-validate leave defaults out.
KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}

_VALUES_OF_ALL_KINDS = frozenset({"metadata", "spec", "status"})

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


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
    """Of a struct: the fields that the schema requires."""
    always: frozenset[str] = frozenset()
    """Of a struct: the fields that Go writes even when they are empty."""
    omitted: frozenset[str] = frozenset()
    """Of a struct: the scalar fields that Go leaves out when they are zero."""
    written_null: frozenset[str] = frozenset()
    """Of a struct: the fields that Go writes as null when they are not set."""
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
    """Of a string: `byte` (base64), `date-time`, or nothing that is checked; of a number: its Go type."""
    name: str = ""
    """Of a struct: what it is called in Go."""

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
    definition = _definitions()[name]
    schema = _compile(definition)
    go_name = name.removeprefix("io.k8s.api.")
    of_a_kind = _VALUES_OF_ALL_KINDS & schema.fields.keys() if "x-kubernetes-group-version-kind" in definition else ()
    always = schema.required.union(of_a_kind, WRITTEN_EMPTY.get(go_name, ()))
    omitted = (OMITTED_WHEN_ZERO & schema.fields.keys()) - always - KEPT_WHEN_ZERO.get(go_name, frozenset())
    return replace(
        schema,
        name=name.rpartition(".")[2],
        always=always,
        omitted=omitted,
        written_null=WRITTEN_NULL.get(go_name, frozenset()),
        is_quantity=name.endswith(".Quantity"),
    )


def _compile(raw: Mapping[str, Any]) -> Schema:
    schema = _compile_definition(raw["$ref"].rpartition("/")[2]) if "$ref" in raw else _compile_inline(raw)
    strategy = raw.get("x-kubernetes-patch-strategy")
    return replace(
        schema,
        list_type=raw.get("x-kubernetes-list-type", schema.list_type),
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys", schema.list_keys)),
        atomic=raw.get("x-kubernetes-map-type", "atomic" if schema.atomic else "granular") == "atomic",
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


def empty_object(resource: Resource) -> Object:
    """Return what Go writes of an object that nobody has filled: new objects are compared with it."""
    return {} if resource.custom else _empty_struct(schema_of(resource))


def _empty_struct(schema: Schema) -> Object:
    return {name: _empty(schema.fields[name]) for name in schema.always}


def _empty(schema: Schema) -> Any:
    if schema.shape is Shape.STRUCT:
        return _empty_struct(schema)
    return schema.types[0]() if schema.types else None
