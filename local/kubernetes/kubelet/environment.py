"""A container's environment: literal values, references to ConfigMaps, Secrets, fields and resources, and `$(NAME)`.

Source: k8s.io/kubernetes/pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables) and
third_party/forked/golang/expansion.
"""

import base64
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from local.kubernetes.kubelet.api import Object

type ReadEntries = Callable[[str, str], Awaitable[dict[str, bytes] | None]]
"""("configmaps" or "secrets", name) → the object's entries, or None when there is none."""

_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_REFERENCE = re.compile(r"\$(\$|\(([^()\s]*)\))")


class ConfigurationMissing(Exception):
    """The container cannot be made until an object or a key exists: CreateContainerConfigError."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; an unknown name stays as it is and `$$` is an escaped `$`."""

    def value(found: re.Match[str]) -> str:
        if found.group(1) == "$":
            return "$"
        return values.get(found.group(2), found.group(0))

    return _REFERENCE.sub(value, text)


async def resolve(container: Object, pod: Object, read: ReadEntries) -> dict[str, str]:
    """Resolve `envFrom`, then `env` in order; raises ConfigurationMissing."""
    values: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for kind, reference in (("configmaps", source.get("configMapRef")), ("secrets", source.get("secretRef"))):
            if reference is not None:
                entries = await _entries(kind, reference, read)
                prefix = source.get("prefix") or ""
                values |= {prefix + key: text.decode("utf-8", "replace") for key, text in entries.items()}
    for entry in container.get("env") or []:
        value = await _value(entry, container, pod, values, read)
        if value is not None:
            values[entry["name"]] = value
    return values


async def _value(
    entry: Object, container: Object, pod: Object, values: Mapping[str, str], read: ReadEntries
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", values)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"])
    for kind, key in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        if key in source:
            return await _entry(kind, source[key], read)
    raise ConfigurationMissing(f"variable {entry['name']} has a source that is not supported: {', '.join(source)}")


async def _entry(kind: str, reference: Object, read: ReadEntries) -> str | None:
    entries = await _entries(kind, reference, read)
    if reference["key"] in entries:
        return entries[reference["key"]].decode("utf-8", "replace")
    if reference.get("optional"):
        return None
    raise ConfigurationMissing(f"couldn't find key {reference['key']} in {kind[:-1]} {reference['name']}")


async def _entries(kind: str, reference: Object, read: ReadEntries) -> dict[str, bytes]:
    entries = await read(kind, reference["name"])
    if entries is None and not reference.get("optional"):
        raise ConfigurationMissing(f'{kind[:-1]} "{reference["name"]}" not found')
    return entries or {}


def entries_of(kind: str, item: Object) -> dict[str, bytes]:
    """Return the entries of a ConfigMap or Secret as bytes."""
    encoded = {key: base64.b64decode(text) for key, text in (item.get("binaryData") or {}).items()}
    if kind == "secrets":
        return {key: base64.b64decode(text) for key, text in (item.get("data") or {}).items()}
    return encoded | {key: text.encode() for key, text in (item.get("data") or {}).items()}


def field_value(pod: Object, path: str) -> str:
    """Read a downward API field, such as `metadata.labels['app']` or `status.podIP`."""
    subscript = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if subscript:
        return str((pod["metadata"].get(subscript[1]) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{text}"' for key, text in sorted(entries.items()))
    found: Any = pod
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if found is None and path == "spec.serviceAccountName":
        return "default"
    return "" if found is None else str(found)


def resource_value(container: Object, reference: Object) -> str:
    """Read a request or limit as a whole number of the divisor, rounded up."""
    group, _, name = str(reference["resource"]).partition(".")
    resources = container.get("resources") or {}
    text = (resources.get(group) or {}).get(name) or (resources.get("limits") or {}).get(name) or "0"
    divisor = quantity(str(reference.get("divisor") or "1")) or 1
    return str(math.ceil(quantity(str(text)) / divisor))


def quantity(text: str) -> float:
    """Parse a Kubernetes quantity: `250m`, `1Gi`, `0.5`."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    if not found or found[2] not in _UNITS:
        raise ConfigurationMissing(f"{text!r} is not a quantity")
    return float(found[1]) * _UNITS[found[2]]
