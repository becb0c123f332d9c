"""What the API server refuses although it is well-formed: each rule returns the causes that a 422 lists, all at once.

Source: pkg/apis/*/validation/validation.go of Kubernetes 1.36; here are the rules that a migration can run into.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from local.cluster import selectors
from local.cluster.kinds import Resource
from local.cluster.objects import Object, annotations_of, labels_of, name_of
from local.cluster.schema import Schema, Shape, schema_of
from local.cluster.status_errors import Cause

type Causes = Iterator[Cause]

_IMMUTABLE = "field is immutable"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character"
)
_NAMED_BY_LABEL = ("Namespace", "Service")
_LONGEST_NAME, _LONGEST_LABEL, _LARGEST_ANNOTATIONS = 253, 63, 256 * 1024


def find_causes(resource: Resource, obj: Object, old: Object | None) -> list[Cause]:
    """Return everything wrong with `obj`, which replaces `old` or is new."""
    causes = [*_metadata(resource, obj), *_required(obj, schema_of(resource), "")]
    if not causes:
        causes += _BY_KIND.get(resource.kind, _nothing)(obj)
    if not causes and old is not None:
        causes += _CHANGES_BY_KIND.get(resource.kind, _no_change)(obj, old)
    return causes


def _nothing(_obj: Object) -> Causes:
    yield from ()


def _no_change(_obj: Object, _old: Object) -> Causes:
    yield from ()


def _metadata(resource: Resource, obj: Object) -> Causes:
    name = name_of(obj)
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
        return
    by_label = resource.kind in _NAMED_BY_LABEL
    pattern, rule, longest = (
        (_LABEL, _LABEL_RULE, _LONGEST_LABEL) if by_label else (_SUBDOMAIN, _SUBDOMAIN_RULE, _LONGEST_NAME)
    )
    if not pattern.fullmatch(name):
        yield Cause.invalid("metadata.name", name, rule)
    if len(name) > longest:
        yield Cause("metadata.name", f"Too long: may not be more than {longest} bytes", "FieldValueTooLong")
    for value in labels_of(obj).values():
        if len(value) > _LONGEST_LABEL or not _LABEL_VALUE.fullmatch(value):
            yield Cause.invalid("metadata.labels", value, _LABEL_VALUE_RULE)
    if sum(len(key) + len(value) for key, value in annotations_of(obj).items()) > _LARGEST_ANNOTATIONS:
        yield Cause(
            "metadata.annotations", f"Too long: may not be more than {_LARGEST_ANNOTATIONS} bytes", "FieldValueTooLong"
        )


def _required(value: Any, schema: Schema, path: str) -> Causes:
    """Find fields that the schema requires; a missing list, and anything in status, is merely empty in Go."""
    if schema.shape is Shape.STRUCT and isinstance(value, dict):
        for name in sorted(schema.required - value.keys()):
            if schema.fields[name].shape is not Shape.LIST:
                yield Cause.required(f"{path}{name}")
        for name, child in value.items():
            if name != "status":
                yield from _required(child, schema.child(name), f"{path}{name}.")
    elif schema.shape is Shape.LIST and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _required(item, schema.element or schema, f"{path[:-1]}[{index}].")


# ── pods and what makes them ──────────────────────────────────────────────────────────────────────────────────────────


def _pod(obj: Object) -> Causes:
    yield from _pod_spec(obj.get("spec", {}), "spec")


def _pod_spec(spec: Object, path: str) -> Causes:
    containers = spec.get("containers") or []
    if not containers:
        yield Cause.required(f"{path}.containers")
    volumes = [volume.get("name") for volume in spec.get("volumes") or []]
    for list_name in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(list_name) or []):
            yield from _container(container, volumes, f"{path}.{list_name}[{index}]")
    names = [container.get("name") for container in containers]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Cause(f"{path}.containers[{index}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate")


def _container(container: Object, volumes: list[Any], path: str) -> Causes:
    if not container.get("image"):
        yield Cause.required(f"{path}.image")
    if not _LABEL.fullmatch(str(container.get("name"))):
        yield Cause.invalid(f"{path}.name", container.get("name"), _LABEL_RULE)
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            where = f"{path}.volumeMounts[{index}].name"
            yield Cause(where, f'Not found: "{mount.get("name")}"', "FieldValueNotFound")


def _pod_change(obj: Object, old: Object) -> Causes:
    # The scheduler's binding is the one change of nodeName that the API allows, through pods/binding.
    may_change = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName", "containers")
    before, after = ({k: v for k, v in o["spec"].items() if k not in may_change} for o in (old, obj))
    images_aside = [[{**c, "image": ""} for c in o["spec"]["containers"]] for o in (old, obj)]
    moved = old["spec"].get("nodeName") not in (None, obj["spec"].get("nodeName"))
    if before != after or images_aside[0] != images_aside[1] or moved:
        yield Cause.forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )


def _workload(obj: Object) -> Causes:
    spec = obj["spec"]
    if spec["replicas"] < 0:
        yield Cause.invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    labels = labels_of({"metadata": spec["template"].get("metadata") or {}})
    selector = selectors.from_object(spec["selector"])
    if not selector:
        yield Cause.invalid("spec.selector", {}, "empty selector is invalid for deployment")
    elif not selectors.matches(selector, labels):
        where = "spec.template.metadata.labels"
        yield Cause.invalid(where, dict(labels), "`selector` does not match template `labels`")
    yield from _pod_spec(spec["template"].get("spec", {}), "spec.template.spec")
    policy = spec["template"]["spec"]["restartPolicy"]
    if policy != "Always":
        yield Cause.unsupported("spec.template.spec.restartPolicy", policy, ["Always"])


def _deployment(obj: Object) -> Causes:
    yield from _workload(obj)
    strategy = obj["spec"]["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield Cause.unsupported("spec.strategy.type", strategy["type"], ["Recreate", "RollingUpdate"])
    if strategy["type"] == "Recreate" and "rollingUpdate" in strategy:
        why = "may not be specified when strategy `type` is 'Recreate'"
        yield Cause.forbidden("spec.strategy.rollingUpdate", why)
    rolling = strategy.get("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and {rolling["maxSurge"], rolling["maxUnavailable"]} <= {0, "0%"}:
        why = "may not be 0 when `maxSurge` is 0"
        yield Cause.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why)


def _same_selector(obj: Object, old: Object) -> Causes:
    if obj["spec"]["selector"] != old["spec"]["selector"]:
        yield Cause.invalid("spec.selector", obj["spec"]["selector"], _IMMUTABLE)


def _job(obj: Object) -> Causes:
    spec = obj["spec"]
    policy = spec["template"]["spec"]["restartPolicy"]
    if policy not in ("OnFailure", "Never"):
        yield Cause.unsupported("spec.template.spec.restartPolicy", policy, ["OnFailure", "Never"])
    if spec["completionMode"] == "Indexed" and "completions" not in spec:
        yield Cause.required("spec.completions", "when completion mode is Indexed")
    yield from _pod_spec(spec["template"]["spec"], "spec.template.spec")


def _job_change(obj: Object, old: Object) -> Causes:
    for name in ("selector", "template", "completionMode", "backoffLimitPerIndex", "podFailurePolicy"):
        # A suspended job that never started may change what its pods ask for; a migration never does, so here it may
        # not.
        if obj["spec"].get(name) != old["spec"].get(name):
            yield Cause.invalid(f"spec.{name}", obj["spec"].get(name), _IMMUTABLE)
    if obj["spec"]["completionMode"] != "Indexed" and obj["spec"].get("completions") != old["spec"].get("completions"):
        yield Cause.invalid("spec.completions", obj["spec"].get("completions"), _IMMUTABLE)


def _disruption_budget(obj: Object) -> Causes:
    spec = obj.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield Cause.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")


def _autoscaler(obj: Object) -> Causes:
    spec = obj["spec"]
    if spec["minReplicas"] < 1:
        yield Cause.invalid("spec.minReplicas", spec["minReplicas"], "must be greater than or equal to 1")
    if spec["maxReplicas"] < spec["minReplicas"]:
        yield Cause.invalid("spec.maxReplicas", spec["maxReplicas"], "must be greater than or equal to `minReplicas`")


# ── storage and services ──────────────────────────────────────────────────────────────────────────────────────────────


def _claim(obj: Object) -> Causes:
    spec = obj["spec"]
    if not spec.get("accessModes"):
        yield Cause.required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in spec.get("resources", {}).get("requests", {}):
        yield Cause.required("spec.resources[storage]")


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
        yield Cause.invalid("type", obj["type"], _IMMUTABLE)
    yield from _unchanged_if_immutable(obj, old)


_BY_KIND: Mapping[str, Callable[[Object], Causes]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "Job": _job,
    "PodDisruptionBudget": _disruption_budget,
    "HorizontalPodAutoscaler": _autoscaler,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "Service": _service,
}
_CHANGES_BY_KIND: Mapping[str, Callable[[Object, Object], Causes]] = {
    "Pod": _pod_change,
    "Deployment": _same_selector,
    "ReplicaSet": _same_selector,
    "Job": _job_change,
    "PersistentVolumeClaim": _claim_change,
    "PersistentVolume": _volume_change,
    "StorageClass": _storage_class_change,
    "Service": _service_change,
    "ConfigMap": _unchanged_if_immutable,
    "Secret": _secret_change,
}
