"""The three patches, as pure functions from a document and a patch to a new document.

JSON Patch (RFC 6902) comes from `jsonpatch`; JSON Merge Patch (RFC 7386) is six lines; the strategic merge patch is
Kubernetes' own: lists with a merge key are merged item by item, and directives (`$patch`, `$retainKeys`,
`$deleteFromPrimitiveList`) say what merging cannot.
Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-
patch.md
"""

from collections.abc import Sequence
from typing import Any

import jsonpatch

from local.cluster.objects import Object, copy_of
from local.cluster.schema import Schema, Shape

_ORDER = "$setElementOrder/"
_DELETE_VALUES = "$deleteFromPrimitiveList/"


class PatchFailed(Exception):
    """The patch does not apply to this document: a failed test, a path that is not there."""


def json_patch(document: Object, operations: Any) -> Object:
    try:
        patched: Object = jsonpatch.apply_patch(document, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        raise PatchFailed(str(error)) from error
    return patched


def merge_patch(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_merge_patch(document: Object, patch: Object, schema: Schema) -> Object:
    return _merge_struct(copy_of(document), patch, schema)


def _merge_struct(document: Object, patch: Object, schema: Schema) -> Object:
    directive = patch.get("$patch")
    if directive == "replace":
        return _without_directives(patch)
    if directive == "delete":
        return {}
    if "$retainKeys" in patch:
        document = {name: value for name, value in document.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if name.startswith(_DELETE_VALUES):
            _delete_values(document, name.removeprefix(_DELETE_VALUES), value)
        elif name.startswith("$"):
            continue
        elif value is None:
            document.pop(name, None)
        else:
            document[name] = _merge_value(document.get(name), value, schema.child(name))
    for name, order in patch.items():
        if name.startswith(_ORDER):
            _reorder(document, name.removeprefix(_ORDER), order, schema)
    return document


def _merge_value(current: Any, value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        if schema.patch_strategy == {"replace"}:
            return value
        return _merge_struct(current if isinstance(current, dict) else {}, value, schema)
    if isinstance(value, list) and "merge" in schema.patch_strategy:
        merge = _merge_items if schema.patch_key else _merge_values
        return merge(list(current or []), value, schema)
    return value


def _merge_values(current: list[Any], values: Sequence[Any], _schema: Schema) -> list[Any]:
    return current + [value for value in values if value not in current]


def _merge_items(current: list[Object], items: Sequence[Object], schema: Schema) -> list[Object]:
    key, element = schema.patch_key, schema.element
    assert key is not None and element is not None
    if not all(isinstance(item, dict) for item in (*current, *items)):
        raise PatchFailed(f"a list that is merged by {key} must consist of maps")
    if any(item.get("$patch") == "replace" for item in items):
        return [_without_directives(item) for item in items if set(item) != {"$patch"}]
    for item in items:
        if key not in item:
            raise PatchFailed(f"map: {item} does not contain declared merge key: {key}")
        index = next((i for i, found in enumerate(current) if found.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            current = [found for found in current if found.get(key) != item[key]]
        elif index is None:
            current.append(_merge_struct({}, item, element) if element.shape is Shape.STRUCT else item)
        else:
            current[index] = _merge_struct(current[index], item, element)
    return current


def _delete_values(document: Object, name: str, values: Sequence[Any]) -> None:
    if name in document:
        document[name] = [value for value in document[name] if value not in values]


def _reorder(document: Object, name: str, order: Sequence[Any], schema: Schema) -> None:
    """Put the named items into the given order; items that the order does not name come last."""
    if name not in document:
        return
    key = schema.child(name).patch_key

    def position(item: Any) -> int:
        wanted = {key: item.get(key)} if key else item
        return order.index(wanted) if wanted in order else len(order)

    document[name] = sorted(document[name], key=position)


def _without_directives(patch: Object) -> Object:
    return {name: value for name, value in patch.items() if not name.startswith("$")}
