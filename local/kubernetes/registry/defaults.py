"""The values that the API server fills in where a request leaves them out.

Source: pkg/apis/*/v1/defaults.go of Kubernetes 1.36. They matter because they come back: an applied manifest without
`strategy` reads `RollingUpdate` afterwards, and those fields belong to nobody.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object
from local.kubernetes.model.schema import ANYTHING, Schema, Shape, schema_of

_POD = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
}
_PROBE = {"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_READABLE_BY_ALL = 0o644


def fill_defaults(resource: Resource, obj: Object) -> None:
    """Fill the gaps of `obj` in place."""
    schema = schema_of(resource)
    if "spec" in schema.fields:
        obj.setdefault("spec", {})  # in Go a struct, which is always written
    fill_status(resource, obj)
    fill = _BY_KIND.get(resource.kind)
    if fill is not None:
        fill(obj)


def fill_status(resource: Resource, obj: Object) -> None:
    """Write what Go writes of a status in which nobody has written."""
    if resource.has_status:
        _fill_zeros(obj.setdefault("status", {}), schema_of(resource).child("status"))


def _fill_zeros(value: Any, schema: Schema) -> None:
    """Give the scalars of a status that Go always writes their zero value, and what it writes as null that."""
    if isinstance(value, list):
        for item in value:
            _fill_zeros(item, schema.element or ANYTHING)
    elif isinstance(value, dict):
        for name, child in value.items():
            _fill_zeros(child, schema.child(name))
        for name in schema.always - value.keys():
            if schema.fields[name].shape is Shape.SCALAR:
                value[name] = schema.fields[name].types[0]()
        for name in schema.written_null - value.keys():
            value[name] = None


def _fill(target: Object, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        target.setdefault(name, value)


def _namespace(obj: Object) -> None:
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    plain: Mapping[str, str] = obj.pop("stringData", None) or {}
    for name, text in plain.items():
        obj.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _service(obj: Object) -> None:
    spec = obj["spec"]
    _fill(spec, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _pod(obj: Object) -> None:
    spec = obj["spec"]
    fill_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        resources = container["resources"]
        if "limits" in resources:  # in a template the limits stand alone
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}


def fill_pod_spec(spec: Object) -> None:
    _fill(spec, _POD)
    spec.setdefault("securityContext", {})
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)


def _container(container: Object) -> None:
    tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
    policy = "Always" if tag in ("", "latest") else "IfNotPresent"
    _fill(container, {"imagePullPolicy": policy, "terminationMessagePath": "/dev/termination-log"})
    _fill(container, {"terminationMessagePolicy": "File"})
    container.setdefault("resources", {})
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for name in _PROBES:
        if name in container:
            _probe(container[name])
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom", {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _probe(probe: Object) -> None:
    _fill(probe, _PROBE)
    if "httpGet" in probe:
        _fill(probe["httpGet"], {"path": "/", "scheme": "HTTP"})


def _volume(volume: Object) -> None:
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if source in volume:
            volume[source].setdefault("defaultMode", _READABLE_BY_ALL)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def _pod_template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    fill_pod_spec(template.setdefault("spec", {}))


def _deployment(obj: Object) -> None:
    spec = obj["spec"]
    _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), {"maxSurge": "25%", "maxUnavailable": "25%"})
    _pod_template(spec)


def _replica_set(obj: Object) -> None:
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    _pod_template(spec)


def _stateful_set(obj: Object) -> None:
    """Source: pkg/apis/apps/v1/defaults.go, SetDefaults_StatefulSet, and conversion.go for the claim templates."""
    spec = obj["spec"]
    _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady", "serviceName": ""})
    strategy = spec.setdefault("updateStrategy", {})
    if "type" not in strategy:
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    rolling = strategy.get("rollingUpdate")
    if rolling is not None:
        rolling.pop("maxUnavailable", None)  # of a feature that is off by default: MaxUnavailableStatefulSet
        if strategy["type"] == "RollingUpdate":
            rolling.setdefault("partition", 0)
    _fill(
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {}), {"whenDeleted": "Retain", "whenScaled": "Retain"}
    )
    for claim in spec.get("volumeClaimTemplates", ()):
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        for name in ("metadata", "spec", "status"):
            claim.setdefault(name, {})
        _claim(claim)
        claim["status"].setdefault("phase", "Pending")
    _pod_template(spec)


def _controller_revision(obj: Object) -> None:
    obj.setdefault("revision", 0)


def _job(obj: Object) -> None:
    spec = obj["spec"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(spec, {"parallelism": 1, "completionMode": "NonIndexed", "suspend": False})
    _fill(spec, {"backoffLimit": 6, "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed"})
    _pod_template(spec)


def _claim(obj: Object) -> None:
    obj["spec"].setdefault("volumeMode", "Filesystem")


def _volume_object(obj: Object) -> None:
    spec = obj["spec"]
    _fill(spec, {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"})


def _storage_class(obj: Object) -> None:
    _fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


def _csi_driver(obj: Object) -> None:
    spec = obj["spec"]
    _fill(spec, {"attachRequired": True, "podInfoOnMount": False, "storageCapacity": False})
    _fill(spec, {"fsGroupPolicy": "ReadWriteOnceWithFSType", "requiresRepublish": False, "seLinuxMount": False})
    spec.setdefault("volumeLifecycleModes", ["Persistent"])


def _autoscaler(obj: Object) -> None:
    spec = obj["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


_BY_KIND: Mapping[str, Callable[[Object], None]] = {
    "Namespace": _namespace,
    "Secret": _secret,
    "Service": _service,
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "ControllerRevision": _controller_revision,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume_object,
    "StorageClass": _storage_class,
    "CSIDriver": _csi_driver,
    "HorizontalPodAutoscaler": _autoscaler,
}
