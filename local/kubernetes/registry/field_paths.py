"""Naming fields: the paths in which ownership is kept, and their notation in `metadata.managedFields`.

A field is named by a `Path` whose elements are spelled as in `fieldsV1`: `f:spec` (a field), `k:{"name":"main"}` (an
item of an associative list), `v:"a"` (a member of a set). So a set of paths and its `fieldsV1` are the same thing in
two notations.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from local.kubernetes.model.objects import Object
from local.kubernetes.model.schema import ANYTHING, KEY_DEFAULTS, Schema, Shape

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
    """Return the fields that an applied configuration lays claim to.

    Containers are not claimed, only what is in them, with two exceptions: an entry of a map or list is claimed
    besides its content, and an empty map or a null is claimed as it stands.
    Source: structured-merge-diff, typed/tofieldset.go.
    """
    return frozenset(_claims(value, schema, ())) - _UNOWNED


def changed_fields(old: Object, new: Object, schema: Schema) -> tuple[FieldSet, FieldSet]:
    """Return the fields that were added or modified, and those that were removed.

    Unlike an applied configuration, a change includes the containers that it adds.
    Source: structured-merge-diff, typed/compare.go.
    """
    changed: set[Path] = set()
    removed: set[Path] = set()
    _compare(_readable(old), _readable(new), schema, (), changed, removed)
    return frozenset(changed) - _UNOWNED, frozenset(removed) - _UNOWNED


def with_named_parents(fields: FieldSet, schema: Schema) -> FieldSet:
    """Add the struct fields that lie on the way to `fields`; items of lists and entries of maps stay as they are.

    Source: structured-merge-diff, fieldpath/set.go, EnsureNamedFieldsAreMembers.
    """
    return fields.union(*(_named_parents(path, schema) for path in fields))


def _named_parents(path: Path, schema: Schema) -> Iterator[Path]:
    for depth, element in enumerate(path[:-1], start=1):
        name = element.removeprefix("f:")
        if schema.shape is Shape.STRUCT:
            yield path[:depth]
        schema = schema.child(name) if element.startswith("f:") else schema.element or ANYTHING


def _readable(obj: Object) -> Object:
    return {**obj, "metadata": {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _NEVER_READ}}


def _claims(value: Any, schema: Schema, path: Path) -> Iterator[Path]:
    if not _has_parts(value, schema) or value is None or value == {}:
        yield path
        return
    for element, (child, child_schema) in _children(value, schema).items():
        below = (*path, element)
        if schema.shape is not Shape.STRUCT:
            yield below
        yield from _claims(child, child_schema, below)


def _compare(old: Any, new: Any, schema: Schema, path: Path, changed: set[Path], removed: set[Path]) -> None:
    if not (_has_parts(old, schema) and _has_parts(new, schema)):
        changed.add(path)
        return
    before, after = _children(old, schema), _children(new, schema)
    for element, (value, child_schema) in after.items():
        below = (*path, element)
        if element not in before:
            changed.update(_everything(value, child_schema, below))
        elif before[element][0] != value:
            _compare(before[element][0], value, child_schema, below, changed, removed)
    for element in before.keys() - after.keys():
        removed.update(_everything(*before[element], (*path, element)))


def _everything(value: Any, schema: Schema, path: Path) -> Iterator[Path]:
    """Name a value and all that is in it."""
    yield path
    if _has_parts(value, schema):
        for element, (child, child_schema) in _children(value, schema).items():
            yield from _everything(child, child_schema, (*path, element))


def _has_parts(value: Any, schema: Schema) -> bool:
    """Say whether parts of the value may belong to different managers; a null counts as an empty container."""
    return schema.is_granular and (value is None or isinstance(value, dict | list))


def _children(value: Any, schema: Schema) -> Mapping[str, tuple[Any, Schema]]:
    if isinstance(value, dict):
        return {f"f:{name}": (child, schema.child(name)) for name, child in value.items()}
    items: dict[str, tuple[Any, Schema]] = {}
    for item in value or ():
        element = element_of(item, schema)
        repeated = element in items  # items with the same key cannot be told apart: they are one field
        items[element] = ([items[element][0], item], ANYTHING) if repeated else (item, schema.element or ANYTHING)
    return items


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
