"""Who set which field: server-side apply and `metadata.managedFields`, as pure functions.

A field is named by a `Path` whose elements are spelled as in `fieldsV1`: `f:spec` (a field), `k:{"name":"main"}` (an
item of an associative list), `v:"a"` (a member of a set). So a set of paths and its `fieldsV1` are the same thing in
two notations.

The rules, which the functions below keep:
- whoever changes a field by an update owns it alone; a field that is removed has no owner;
- whoever applies a field owns it together with all others who applied the same value; another value is a conflict
  unless forced;
- a field that a manager applied before and does not apply now is removed, unless someone else owns it or something
  inside it.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and sigs.k8s.io/structured-merge-diff.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.cluster.objects import Object, copy_of
from local.cluster.schema import KEY_DEFAULTS, Schema, Shape

type Path = tuple[str, ...]
type FieldSet = frozenset[Path]

APPLY = "Apply"
UPDATE = "Update"

# Never owned by anyone. Source: structured-merge-diff's use in apimachinery, managedfields/internal/stripmeta.go.
_UNOWNED: frozenset[Path] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "resourceVersion")
    }
)
_NEVER_READ = ("managedFields", "deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """One line of managedFields; the same manager has one for each way it writes."""

    operation: str
    manager: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """Return the words used in conflicts."""
        words = json.dumps(self.manager)
        if self.subresource:
            words += f" with subresource {json.dumps(self.subresource)}"
        return f"{words} using {self.api_version}" if self.operation == UPDATE else words


@dataclass(frozen=True, slots=True)
class Share:
    """What one owner owns, and since when that is so."""

    fields: FieldSet
    time: str


type Ownership = Mapping[Owner, Share]


@dataclass(frozen=True, slots=True)
class Conflict:
    owner: Owner
    path: Path


# ── sets of fields ────────────────────────────────────────────────────────────────────────────────────────────────────


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
            yield _element_of(item, schema), item, schema.element or schema


def _element_of(item: Any, schema: Schema) -> str:
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


# ── managedFields ─────────────────────────────────────────────────────────────────────────────────────────────────────


def read_ownership(obj: Object) -> Ownership:
    return {
        Owner(entry["operation"], entry["manager"], entry["apiVersion"], entry.get("subresource", "")): Share(
            frozenset(from_fields_v1(entry["fieldsV1"])), entry["time"]
        )
        for entry in obj["metadata"].get("managedFields") or ()
    }


def to_managed_fields(ownership: Ownership) -> list[Object]:
    entries = sorted(ownership.items(), key=lambda entry: (entry[0].operation, entry[1].time, entry[0]))
    return [_to_entry(owner, share) for owner, share in entries if share.fields]


def _to_entry(owner: Owner, share: Share) -> Object:
    entry: Object = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "time": share.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields_v1(share.fields),
    }
    return {**entry, "subresource": owner.subresource} if owner.subresource else entry


def after_update(
    ownership: Ownership, owner: Owner, old: Object, new: Object, schema: Schema, *, time: str
) -> Ownership:
    """Return who owns what after `owner` turned `old` into `new`."""
    changed, removed = changed_fields(old, new, schema)
    result = dict(_without_fields(ownership, changed | removed, except_for=owner, time=time))
    before = ownership[owner].fields if owner in ownership else frozenset()
    mine = (before | changed) - removed
    result[owner] = Share(mine, ownership[owner].time if owner in ownership and mine == before else time)
    return result


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of merging a configuration: when there are conflicts, nothing of it may be stored."""

    value: Object
    ownership: Ownership
    conflicts: tuple[Conflict, ...]


def apply_configuration(
    live: Object, ownership: Ownership, configuration: Object, owner: Owner, schema: Schema, *, force: bool, time: str
) -> Applied:
    """Merge what `owner` applies into the live object."""
    wanted = field_set(configuration, schema)
    before = ownership[owner].fields if owner in ownership else frozenset()
    others = {other: share for other, share in ownership.items() if other != owner}
    merged = _merge(copy_of(live), configuration, schema)
    changed, _ = changed_fields(live, merged, schema)
    conflicts = tuple(
        Conflict(other, path) for other, share in sorted(others.items()) for path in sorted(share.fields & changed)
    )
    dropped = _droppable(before - wanted, others)
    for path in sorted(dropped, key=len):  # an item before what is in it, while its key still identifies it
        _remove(merged, path, schema)
    if force:
        others = dict(_without_fields(others, changed, except_for=owner, time=time))
    kept_time = ownership[owner].time if wanted == before else time
    return Applied(merged, {**others, owner: Share(wanted, kept_time)}, () if force else conflicts)


def conflict_message(conflicts: Sequence[Conflict]) -> str:
    if len(conflicts) == 1:
        return f"Apply failed with 1 conflict: conflict with {conflicts[0].owner}: {to_words(conflicts[0].path)}"
    by_owner: dict[str, list[str]] = {}
    for conflict in conflicts:
        by_owner.setdefault(str(conflict.owner), []).append(f"- {to_words(conflict.path)}")
    lists = [f"conflicts with {owner}:\n" + "\n".join(paths) for owner, paths in sorted(by_owner.items())]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lists)


def _without_fields(
    ownership: Ownership, fields: FieldSet, *, except_for: Owner, time: str
) -> Iterator[tuple[Owner, Share]]:
    for owner, share in ownership.items():
        if owner == except_for or not share.fields & fields:
            yield owner, share
        elif rest := share.fields - fields:
            yield owner, Share(rest, time)


def _droppable(fields: FieldSet, others: Ownership) -> FieldSet:
    """Return those of `fields` in which nobody else owns anything."""
    owned_by_others = {
        path[:depth] for share in others.values() for path in share.fields for depth in range(len(path) + 1)
    }
    return fields - owned_by_others


# ── merging and removing ──────────────────────────────────────────────────────────────────────────────────────────────


def _merge(live: Any, applied: Any, schema: Schema) -> Any:
    if not schema.is_granular or not isinstance(applied, dict | list):
        return applied
    if isinstance(applied, dict):
        merged = dict(live) if isinstance(live, dict) else {}
        for name, value in applied.items():
            merged[name] = _merge(merged.get(name), value, schema.child(name))
        return merged
    if schema.list_type == "set":
        return [*(live or []), *(value for value in applied if value not in (live or []))]
    return _merge_items(list(live or []), applied, schema)


def _merge_items(items: list[Object], applied: Sequence[Object], schema: Schema) -> list[Object]:
    assert schema.element is not None
    positions = {schema.item_key(item): index for index, item in enumerate(items)}
    for item in applied:
        index = positions.get(schema.item_key(item))
        if index is None:
            items.append(item)
        else:
            items[index] = _merge(items[index], item, schema.element)
    return items


def _remove(value: Any, path: Path, schema: Schema) -> None:
    """Remove what `path` names, and the maps and lists that become empty by it."""
    element, rest = path[0], path[1:]
    if isinstance(value, list):
        index = next((i for i, item in enumerate(value) if _element_of(item, schema) == element), None)
        if index is not None and not rest:
            del value[index]
        elif index is not None and rest not in [(f"f:{key}",) for key in schema.list_keys]:
            _remove(value[index], rest, schema.element or schema)
        return
    name = element.removeprefix("f:")
    if not isinstance(value, dict) or name not in value:
        return
    if rest:
        _remove(value[name], rest, schema.child(name))
    if not rest or value[name] in ({}, []):
        del value[name]
