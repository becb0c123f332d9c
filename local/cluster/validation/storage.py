"""Claims, volumes and storage classes."""

from local.cluster.objects import Object
from local.cluster.status_errors import Cause
from local.cluster.validation.rules import Causes, ChangeRules, Rules


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
    before, after = ({k: v for k, v in o["spec"].items() if k not in may_change} for o in (old, obj))
    if before != after:
        yield Cause.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )


def _volume(obj: Object) -> Causes:
    for name in ("accessModes", "capacity"):
        if not obj["spec"].get(name):
            yield Cause.required(f"spec.{name}")


def _volume_change(obj: Object, old: Object) -> Causes:
    if obj["spec"].get("csi") != old["spec"].get("csi"):
        yield Cause.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")


def _storage_class_change(obj: Object, old: Object) -> Causes:
    for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        if obj.get(name) != old.get(name):
            yield Cause.forbidden(name, f"updates to {name} are forbidden.")


RULES: Rules = {"PersistentVolumeClaim": _claim, "PersistentVolume": _volume}
CHANGE_RULES: ChangeRules = {
    "PersistentVolumeClaim": _claim_change,
    "PersistentVolume": _volume_change,
    "StorageClass": _storage_class_change,
}
