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
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.kubernetes.model.objects import Object, copy_of
from local.kubernetes.model.schema import ANYTHING, Schema
from local.kubernetes.registry.field_paths import (
    FieldSet,
    Path,
    changed_fields,
    element_of,
    field_set,
    from_fields_v1,
    to_fields_v1,
    to_words,
    with_named_parents,
)

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
    """Empty: unknown, of who only confirmed what others set, or wrote through the scale subresource."""


type Ownership = Mapping[Owner, Share]


@dataclass(frozen=True, slots=True)
class Conflict:
    owner: Owner
    path: Path


def read_ownership(obj: Object) -> Ownership:
    return {
        Owner(entry["operation"], entry["manager"], entry["apiVersion"], entry.get("subresource", "")): Share(
            frozenset(from_fields_v1(entry["fieldsV1"])), entry.get("time", "")
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
        "subresource": owner.subresource,
    }
    return {name: value for name, value in entry.items() if value or name == "fieldsV1"}


def after_update(
    ownership: Ownership, owner: Owner, old: Object, new: Object, schema: Schema, *, time: str
) -> Ownership:
    """Return who owns what after `owner` turned `old` into `new`.

    Only who gains a field gets a new time, and who scales gets none.
    Source: apimachinery, managedfields/internal/managedfieldsupdater.go and managedfields/scalehandler.go.
    """
    changed, removed = changed_fields(old, new, schema)
    result = _without_fields(ownership, changed | removed)
    if changed:
        kept = result[owner].fields if owner in result else frozenset()
        result[owner] = Share(kept | changed, "" if owner.subresource == "scale" else time)
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
    """Merge what `owner` applies into the live object. Source: structured-merge-diff, merge/update.go, Apply."""
    wanted = field_set(configuration, schema)
    others = {other: share for other, share in ownership.items() if other != owner}
    merged = _merge(copy_of(live), configuration, schema)
    if owner in ownership and not ownership[owner].fields <= wanted:  # else there is nothing to prune
        owned = wanted.union(*(share.fields for share in others.values()))
        merged = _prune(merged, ownership[owner].fields, owned, schema)
    changed, removed = changed_fields(live, merged, schema)
    conflicts = tuple(
        Conflict(other, path) for other, share in sorted(others.items()) for path in sorted(share.fields & changed)
    )
    others = _without_fields(others, changed | removed)
    if merged == live:
        time = ownership[owner].time if owner in ownership else ""
    return Applied(merged, {**others, owner: Share(wanted, time)}, () if force else conflicts)


def conflict_message(conflicts: Sequence[Conflict]) -> str:
    if len(conflicts) == 1:
        return f"Apply failed with 1 conflict: conflict with {conflicts[0].owner}: {to_words(conflicts[0].path)}"
    by_owner: dict[str, list[str]] = {}
    for conflict in conflicts:
        by_owner.setdefault(str(conflict.owner), []).append(f"- {to_words(conflict.path)}")
    lists = [f"conflicts with {owner}:\n" + "\n".join(paths) for owner, paths in sorted(by_owner.items())]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lists)


def _without_fields(ownership: Ownership, fields: FieldSet) -> dict[Owner, Share]:
    """Take fields away from all; who then owns nothing is no owner."""
    kept = {owner: Share(share.fields - fields, share.time) for owner, share in ownership.items()}
    return {owner: share for owner, share in kept.items() if share.fields}


# ── merging and removing ──────────────────────────────────────────────────────────────────────────────────────────────


def _merge(live: Any, applied: Any, schema: Schema) -> Any:
    if not schema.is_granular:
        return applied
    if not applied:  # an empty container or a null takes nothing away
        return live or applied
    if isinstance(applied, dict):
        merged = dict(live) if isinstance(live, dict) else {}
        for name, value in applied.items():
            merged[name] = _merge(merged.get(name), value, schema.child(name))
        return merged
    return _merge_items(live or [], applied, schema)


def _merge_items(live: Sequence[Any], applied: Sequence[Any], schema: Schema) -> list[Any]:
    """Merge item by item; of several live items with one key none is merged, and all stay unless one is applied."""
    before: dict[str, list[Any]] = {}
    for item in live:
        before.setdefault(element_of(item, schema), []).append(item)
    wanted = {element_of(item, schema): item for item in applied}
    merged: list[Any] = []
    for name in _merged_order(list(before), list(wanted)):
        found = before.get(name, [])
        if name in wanted:
            merged.append(_merge(found[0] if len(found) == 1 else None, wanted[name], schema.element or ANYTHING))
        else:
            merged += found
    return merged


def _merged_order(live: Sequence[str], applied: Sequence[str]) -> list[str]:
    """Return all items: the applied ones in their order, each other one as early as the live order allows.

    So new items come after those that are there. Source: structured-merge-diff, typed/merge.go, visitListItems.
    """
    merged: dict[str, None] = {}
    shared = deque(name for name in applied if name in live)
    coming, wanted = deque(live), deque(applied)
    while coming or wanted:
        name = coming[0] if coming else None
        if name is not None and (name in merged or (wanted and name in shared and name != shared[0])):
            coming.popleft()  # it stands, or will stand, where the applied order wants it
        elif name is not None and name not in applied:
            merged[coming.popleft()] = None
        else:
            name = wanted.popleft()
            merged[name] = None
            if shared and shared[0] == name:
                shared.popleft()
    return list(merged)


def _prune(merged: Object, last: FieldSet, owned: FieldSet, schema: Schema) -> Object:
    """Remove what the manager applied the last time and nobody owns now.

    Source: structured-merge-diff, merge/update.go, prune.
    """

    def named(fields: FieldSet) -> FieldSet:
        return with_named_parents(fields, schema)

    def fields_of(value: Object) -> FieldSet:
        return named(field_set(value, schema))

    everything, last = fields_of(merged), named(last)
    without_last = _remove(merged, to_fields_v1(last), schema) or {}
    with_owned = _remove(merged, to_fields_v1(everything - fields_of(without_last) - named(owned)), schema) or {}
    pruned: Object = _remove(merged, to_fields_v1((everything - fields_of(with_owned)) & last), schema) or {}
    return pruned


def _remove(value: Any, tree: Object, schema: Schema) -> Any:
    """Return the value without what the tree names, and None when nothing is left of it."""
    if isinstance(value, dict):
        entries = ((name, child, tree.get(f"f:{name}"), schema.child(name)) for name, child in value.items())
        kept = {
            name: child if below is None else _remove(child, below, child_schema)
            for name, child, below, child_schema in entries
            if not _is_member(below)
        }
        return kept or None
    if isinstance(value, list) and schema.is_granular:
        items = ((item, tree.get(element_of(item, schema))) for item in value)
        element = schema.element or ANYTHING
        return [
            item if below is None else _remove(item, below, element) for item, below in items if not _is_member(below)
        ] or None
    return value


def _is_member(node: Object | None) -> bool:
    """Say whether a node of `fieldsV1` itself is meant, not only something in it."""
    return node is not None and (not node or "." in node)
