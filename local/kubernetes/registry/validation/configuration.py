"""Services, ConfigMaps and Secrets."""

import re
from collections.abc import Mapping

from local.kubernetes.model.objects import Object
from local.kubernetes.model.status_errors import Cause
from local.kubernetes.registry.validation.rules import IMMUTABLE, Causes, ChangeRules, Rules

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_LARGEST_CONTENT = 1024 * 1024


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


def _config_map(obj: Object) -> Causes:
    plain: Mapping[str, str] = obj.get("data") or {}
    encoded: Mapping[str, str] = obj.get("binaryData") or {}
    yield from _keys("data", plain)
    yield from _keys("binaryData", encoded)
    yield from _size(sum(len(text.encode()) for text in plain.values()) + _decoded_size(encoded))


def _secret(obj: Object) -> Causes:
    encoded: Mapping[str, str] = obj.get("data") or {}
    yield from _keys("data", encoded)
    yield from _size(_decoded_size(encoded))


def _keys(field: str, content: Mapping[str, str]) -> Causes:
    """Keys become the names of files."""
    for key in content:
        if not _KEY.fullmatch(key):
            yield Cause.invalid(f"{field}[{key}]", key, _KEY_RULE)


def _size(size: int) -> Causes:
    if size > _LARGEST_CONTENT:
        yield Cause("[]", f"Too long: may not be more than {_LARGEST_CONTENT} bytes", "FieldValueTooLong")


def _decoded_size(encoded: Mapping[str, str]) -> int:
    return sum(len(text) * 3 // 4 - text[-2:].count("=") for text in encoded.values())


def _unchanged_if_immutable(obj: Object, old: Object) -> Causes:
    if old.get("immutable"):
        for name in ("data", "binaryData", "immutable"):
            if obj.get(name) != old.get(name):
                yield Cause.forbidden(name, "field is immutable when `immutable` is set")


def _secret_change(obj: Object, old: Object) -> Causes:
    if obj["type"] != old["type"]:
        yield Cause.invalid("type", obj["type"], IMMUTABLE)
    yield from _unchanged_if_immutable(obj, old)


RULES: Rules = {"Service": _service, "ConfigMap": _config_map, "Secret": _secret}
CHANGE_RULES: ChangeRules = {
    "Service": _service_change,
    "ConfigMap": _unchanged_if_immutable,
    "Secret": _secret_change,
}
