"""Services, ConfigMaps and Secrets."""

from local.cluster.objects import Object
from local.cluster.status_errors import Cause
from local.cluster.validation.rules import IMMUTABLE, Causes, ChangeRules, Rules


def _service(obj: Object) -> Causes:
    spec = obj["spec"]
    if not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield Cause.required("spec.ports")
    if len(spec.get("ports") or ()) > 1:
        for index, port in enumerate(spec["ports"]):
            if "name" not in port:
                yield Cause.required(f"spec.ports[{index}].name")


def _service_change(obj: Object, old: Object) -> Causes:
    if obj["spec"].get("clusterIP") != old["spec"].get("clusterIP") and obj["spec"]["type"] != "ExternalName":
        yield Cause.invalid("spec.clusterIPs[0]", obj["spec"].get("clusterIPs"), "may not change once set")


def _unchanged_if_immutable(obj: Object, old: Object) -> Causes:
    if old.get("immutable"):
        for name in ("data", "binaryData", "immutable"):
            if obj.get(name) != old.get(name):
                yield Cause.forbidden(name, "field is immutable when `immutable` is set")


def _secret_change(obj: Object, old: Object) -> Causes:
    if obj["type"] != old["type"]:
        yield Cause.invalid("type", obj["type"], IMMUTABLE)
    yield from _unchanged_if_immutable(obj, old)


RULES: Rules = {"Service": _service}
CHANGE_RULES: ChangeRules = {
    "Service": _service_change,
    "ConfigMap": _unchanged_if_immutable,
    "Secret": _secret_change,
}
