"""Naming fields: the paths in which ownership is kept, and their notation in `metadata.managedFields`.

A field is named by a `Path` whose elements are spelled as in `fieldsV1`: `f:spec` (a field), `k:{"name":"main"}` (an
item of an associative list), `v:"a"` (a member of a set). So a set of paths and its `fieldsV1` are the same thing in
two notations.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from local.cluster.objects import Object
from local.cluster.schema import KEY_DEFAULTS, Schema, Shape

type Path = tuple[str, ...]
type FieldSet = frozenset[Path]

# Never owned by anyone. Source: structured-merge-diff's use in apimachinery, managedfields/internal/stripmeta.go.
_UNOWNED: frozenset[Path] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "resourceVersion")
    }
)
_NEVER_READ = ("managedFields", "deletionTimestamp", "deletionGracePeriodSeconds")


def field_set(value: Object, schema: Schema) -> FieldSet:
    """Return the fields that an applied configuration lays claim to."""
    return frozenset(_flatten(value, schema, ())) - _UNOWNED


def changed_fields(old: Object, new: Object, schema: Schema) -> tuple[FieldSet, FieldSet]:
    """Return the fields that were added or modified, and those that were removed."""
    before = dict(_flatten_whole(old, schema))
    after = dict(_flatten_whole(new, schema))
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
    return changed - _UNOWNED, frozenset(before.keys() - after.keys()) - _UNOWNED


_MEMBER = object()  # stands for the existence of an item or a container, which has no value of its own


def _flatten_whole(value: Object, schema: Schema) -> Iterator[tuple[Path, Any]]:
    if not value:
        return
    readable = {**value, "metadata": {k: v for k, v in value.get("metadata", {}).items() if k not in _NEVER_READ}}
    yield from _flatten(readable, schema, (), containers=True).items()


def _flatten(value: Any, schema: Schema, path: Path, *, containers: bool = False) -> dict[Path, Any]:
    """Return every leaf below `value`, and every item and map entry as a member of its own.

    With `containers`, associative lists and maps themselves are members too: an update owns the list that it created,
    while applying owns only what is in it.
    """
    if not schema.is_granular or not value or not isinstance(value, dict | list):
        return {path: value}
    found: dict[Path, Any] = {}
    if containers and schema.shape is not Shape.STRUCT:
        found[path] = _MEMBER
    for element, child, child_schema in _children(value, schema):
        below = (*path, element)
        if schema.shape is not Shape.STRUCT:
            found[below] = _MEMBER
        found |= _flatten(child, child_schema, below, containers=containers)
    return found


def _children(value: Any, schema: Schema) -> Iterator[tuple[str, Any, Schema]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield f"f:{name}", child, schema.child(name)
    else:
        for item in value:
            yield element_of(item, schema), item, schema.element or schema


def element_of(item: Any, schema: Schema) -> str:
    if schema.list_type == "set":
        return f"v:{_compact(item)}"
    keys = {key: item.get(key, KEY_DEFAULTS.get(key)) for key in schema.list_keys}
    return f"k:{_compact({key: value for key, value in sorted(keys.items()) if value is not None})}"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def to_fields_v1(fields: Iterable[Path]) -> Object:
    """Return the notation in which managedFields travel.

    `.` says that the node itself is owned, not only what is in it.
    """
    tree: Object = {}
    paths = sorted(fields)
    for path in paths:
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    for path in paths:
        node = tree
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return tree


def from_fields_v1(tree: Object, path: Path = ()) -> Iterator[Path]:
    if path and not tree:
        yield path
    for element, below in tree.items():
        if element == ".":
            yield path
        else:
            yield from from_fields_v1(below, (*path, element))


def to_words(path: Path) -> str:
    """Return a path as conflicts name it: `.spec.template.spec.containers[name="main"].image`."""
    return "".join(_element_in_words(element) for element in path)


def _element_in_words(element: str) -> str:
    kind, _, text = element.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "v":
        return f"[={text}]"
    return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(text).items()) + "]"
