"""Who set which field: server-side apply and `metadata.managedFields`, as pure functions.

The rules, which the functions below keep:
- whoever changes a field by an update owns it alone; a field that is removed has no owner;
- whoever applies a field owns it together with all others who applied the same value; another value is a conflict
  unless forced;
- a field that a manager applied before and does not apply now is removed, unless someone else owns it or something
  inside it.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and sigs.k8s.io/structured-merge-diff.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.cluster.field_paths import (
    FieldSet,
    Path,
    changed_fields,
    element_of,
    field_set,
    from_fields_v1,
    to_fields_v1,
    to_words,
)
from local.cluster.objects import Object, copy_of
from local.cluster.schema import Schema

APPLY = "Apply"
UPDATE = "Update"


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
    kept_time = ownership[owner].time if owner in ownership and wanted == before else time
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
        index = next((i for i, item in enumerate(value) if element_of(item, schema) == element), None)
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
