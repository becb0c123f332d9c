"""The strategic merge patch, Kubernetes' own: a pure function from a document and a patch to a new document.

Lists with a merge key are merged item by item, and directives (`$patch`, `$retainKeys`, `$setElementOrder`,
`$deleteFromPrimitiveList`) say what merging cannot. New items of a merged list come before those that are there,
unless `$setElementOrder` says otherwise.
Source: apimachinery, pkg/util/strategicpatch/patch.go, and the recordings in `tests/local_cluster/recordings`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from local.kubernetes.api_server.patches import PatchFailed
from local.kubernetes.model.objects import Object, copy_of
from local.kubernetes.model.schema import Schema

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE_VALUES = "$setElementOrder/", "$deleteFromPrimitiveList/"
_BAD, _UNPROCESSABLE, _FAILED = 400, 422, 500


def strategic_merge_patch(document: Object, patch: Object, schema: Schema) -> Object:
    """Return the patched document; raises `PatchFailed`."""
    return _merge_map(copy_of(document), copy_of(patch), schema)


def _merge_map(document: Object, patch: Object, schema: Schema) -> Object:
    match patch.get(_DIRECTIVE):
        case "replace":
            return {name: value for name, value in patch.items() if name != _DIRECTIVE}
        case "delete":
            return {}
        case None:
            pass
        case other:
            raise PatchFailed(f"unknown patch type: {other} in map: {patch}", _FAILED)
    if _RETAIN in patch:
        document = _retained(document, patch)
    ordered = [name.removeprefix(_ORDER) for name in patch if name.startswith(_ORDER)]
    before = {name: document.get(name) or [] for name in ordered}
    for name, value in patch.items():
        if name.startswith(_DELETE_VALUES):
            _delete_values(document, name.removeprefix(_DELETE_VALUES), value)
        elif value is None:
            document.pop(name, None)
        elif not name.startswith("$"):
            _merge_entry(document, name, value, schema.child(name))
    for name in ordered:
        _check_order(patch, name, schema.child(name))
        if document.get(name):
            key = schema.child(name).patch_key
            document[name] = _in_order(document[name], patch[_ORDER + name], before[name], key)
    return document


def _retained(document: Object, patch: Object) -> Object:
    """Keep only what `$retainKeys` names, which must name everything that the patch sets."""
    keys = patch[_RETAIN]
    if not isinstance(keys, list):
        raise PatchFailed("invalid patch format of retainKeys", _BAD)
    if any(value is not None and not name.startswith("$") and name not in keys for name, value in patch.items()):
        raise PatchFailed("invalid patch format of retainKeys", _BAD)
    return {name: value for name, value in document.items() if name in keys}


def _merge_entry(document: Object, name: str, value: Any, schema: Schema) -> None:
    current = document.get(name)
    if type(current) is not type(value):
        added = list(_without_directives([value]))
        if added:
            document[name] = added[0]
        else:
            document.pop(name, None)
    elif isinstance(value, dict) and "replace" not in schema.patch_strategy:
        document[name] = _merge_map(document[name], value, schema)
    elif isinstance(value, list) and "merge" in schema.patch_strategy:
        document[name] = _merge_list(document[name], value, schema)
    else:
        document[name] = value


def _merge_list(current: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    _check_types([*current, *patch])
    if not any(isinstance(item, dict) for item in (*current, *patch)):
        return _in_order([*current, *(value for value in dict.fromkeys(patch) if value not in current)], patch, current)
    if schema.patch_key is None:
        raise PatchFailed("cannot merge lists without merge key", _FAILED)
    kept, items = _without_special_items(current, patch, schema.patch_key)
    return _in_order(_merge_items(kept, items, schema), items, kept, schema.patch_key)


def _check_types(items: Sequence[Any]) -> None:
    kinds = {type(item) for item in items}
    if list in kinds:
        raise PatchFailed("lists of lists are not supported", _UNPROCESSABLE)
    if len(kinds) > 1:
        raise PatchFailed(f"list element types are not identical: {items}", _FAILED)


def _without_special_items(current: list[Object], patch: list[Object], key: str) -> tuple[list[Object], list[Object]]:
    """Carry out the items that are directives; returns what is left of both lists."""
    items = [item for item in patch if _DIRECTIVE not in item]
    for item in patch:
        match item.get(_DIRECTIVE):
            case None | "replace":
                pass
            case "delete":
                wanted = _key_of(item, key)
                current = [found for found in current if found.get(key) != wanted]
            case "merge":
                raise PatchFailed("merging lists cannot yet be specified in the patch", _FAILED)
            case other:
                raise PatchFailed(f"unknown patch type: {other} in map: {item}", _FAILED)
    replaced = any(item.get(_DIRECTIVE) == "replace" for item in patch)
    return (items, []) if replaced else (current, items)


def _merge_items(current: list[Object], items: list[Object], schema: Schema) -> list[Object]:
    key, element = schema.patch_key, schema.element
    assert key is not None and element is not None
    merged = list(current)
    for item in items:
        name = _key_of(item, key)
        index = next((i for i, found in enumerate(merged) if found.get(key) == name), None)
        if index is None:
            merged += _without_directives([item])
        else:
            merged[index] = _merge_map(merged[index], item, element)
    return merged


def _key_of(item: Object, key: str) -> Any:
    if key not in item:
        raise PatchFailed(f"map: {item} does not contain declared merge key: {key}", _FAILED)
    return item[key]


def _delete_values(document: Object, name: str, values: Sequence[Any]) -> None:
    if name in document:
        document[name] = [value for value in document[name] if value not in values]


def _check_order(patch: Object, name: str, schema: Schema) -> None:
    """Refuse a patch whose own items do not stand in the order that it asks for."""
    order, items = patch[_ORDER + name], patch.get(name) or []
    if not isinstance(order, list) or not isinstance(items, list):
        raise PatchFailed("invalid patch format of setElementOrder list", _BAD)
    plain = [item for item in items if not (isinstance(item, dict) and _DIRECTIVE in item)]
    places = [_position(item, order, schema.patch_key) for item in plain]
    found = [place for place in places if place is not None]
    if order and (len(found) < len(places) or found != sorted(found)):
        words = f"The order in patch list:\n{items}\n doesn't match $setElementOrder list:\n{order}\n"
        raise PatchFailed(words, _FAILED)


def _in_order(items: list[Any], wanted: Sequence[Any], before: Sequence[Any], key: str | None = None) -> list[Any]:
    """Put `items` into the order of `wanted`; the others stand before the first one that they preceded `before`.

    Both orders are kept. A wanted item that was not there precedes nobody, so it comes first.
    """
    named = sorted(
        (item for item in items if _position(item, wanted, key) is not None),
        key=lambda item: _position(item, wanted, key) or 0,
    )
    others = [item for item in items if _position(item, wanted, key) is None]
    merged: list[Any] = []
    for item in named:
        place = _position(item, before, key)
        while others and place is not None and (_position(others[0], before, key) or 0) < place:
            merged.append(others.pop(0))
        merged.append(item)
    return merged + others


def _position(item: Any, order: Sequence[Any], key: str | None) -> int | None:
    if key is None:
        return order.index(item) if item in order else None
    if not all(isinstance(other, dict) for other in (item, *order)):
        raise PatchFailed(f"a list that is merged by {key} must consist of maps", _FAILED)
    wanted = _key_of(item, key)
    return next((at for at, other in enumerate(order) if other.get(key) == wanted), None)


def _without_directives(items: Sequence[Any]) -> Iterator[Any]:
    """Copy what is new: without nulls, and without maps that are directives."""
    for item in items:
        if isinstance(item, dict):
            if _DIRECTIVE not in item:
                entries = ((name, list(_without_directives([value]))) for name, value in item.items())
                yield {name: value[0] for name, value in entries if value and not name.startswith("$")}
        elif isinstance(item, list):
            yield list(_without_directives(item))
        elif item is not None:
            yield item
