"""Claims, volumes and storage classes."""

import difflib
import json
from collections.abc import Collection

from local.kubernetes.model.objects import Object
from local.kubernetes.model.status_errors import Cause
from local.kubernetes.registry.validation.rules import IMMUTABLE, Causes, ChangeRules, Rules

_CONTEXT_LINES = 3


def _claim(obj: Object) -> Causes:
    yield from claim_spec(obj["spec"], "spec")


def claim_spec(spec: Object, path: str) -> Causes:
    """What every claim needs, also one that is made from a template."""
    if not spec.get("accessModes"):
        yield Cause.required(f"{path}.accessModes", "at least 1 access mode is required")
    if "storage" not in spec.get("resources", {}).get("requests", {}):
        yield Cause.required(f"{path}.resources[storage]")


def _claim_change(obj: Object, old: Object) -> Causes:
    once = ("volumeName",) if "volumeName" not in old["spec"] else ()
    may_change = ("resources", "volumeAttributesClassName", *once)
    before, after = (_fixed(o["spec"], old["spec"], may_change) for o in (old, obj))
    if before != after:
        what = "resources.requests and volumeAttributesClassName for bound claims"
        yield Cause.forbidden("spec", f"spec is immutable after creation except {what}\n{_difference(before, after)}")


def _fixed(spec: Object, old: Object, may_change: Collection[str]) -> Object:
    """Return a claim's spec with the old value of everything that may change."""
    kept = {name: value for name, value in spec.items() if name not in may_change}
    return kept | {name: old[name] for name in may_change if name in old}


def _difference(before: Object, after: Object) -> str:
    """Return the difference in the words of the server, which prints its Go structs."""
    old, new = (json.dumps(_in_go(spec), indent=1).splitlines() for spec in (before, after))
    hunks = list(difflib.unified_diff(old, new, n=_CONTEXT_LINES, lineterm=""))[2:]  # without the names of files
    return "".join(f"{line}\n" for line in hunks)


def _in_go(spec: Object) -> Object:
    resources = spec.get("resources") or {}
    return {
        "AccessModes": spec.get("accessModes"),
        "Selector": spec.get("selector"),
        "Resources": {"Limits": resources.get("limits"), "Requests": resources.get("requests")},
        "VolumeName": spec.get("volumeName", ""),
        "StorageClassName": spec.get("storageClassName"),
        "VolumeMode": spec.get("volumeMode"),
        "DataSource": spec.get("dataSource"),
        "DataSourceRef": spec.get("dataSourceRef"),
        "VolumeAttributesClassName": spec.get("volumeAttributesClassName"),
    }


def _volume(obj: Object) -> Causes:
    for name in ("accessModes", "capacity"):
        if not obj["spec"].get(name):
            yield Cause.required(f"spec.{name}")


def _volume_change(obj: Object, old: Object) -> Causes:
    if obj["spec"].get("csi") != old["spec"].get("csi"):
        yield Cause.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")


def _storage_class(obj: Object) -> Causes:
    if not obj.get("provisioner"):
        yield Cause.required("provisioner")


def _storage_class_change(obj: Object, old: Object) -> Causes:
    for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        if obj.get(name) != old.get(name):
            yield Cause.invalid(name, obj.get(name), IMMUTABLE)


RULES: Rules = {"PersistentVolumeClaim": _claim, "PersistentVolume": _volume, "StorageClass": _storage_class}
CHANGE_RULES: ChangeRules = {
    "PersistentVolumeClaim": _claim_change,
    "PersistentVolume": _volume_change,
    "StorageClass": _storage_class_change,
}
