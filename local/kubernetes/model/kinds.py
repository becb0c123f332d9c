"""The kinds this API serves: one table, from which paths are resolved and discovery documents are written.

A kind stands here because a phase, the guard or the kubelet uses it. Anything else answers 404, as on a cluster
without it, until a CustomResourceDefinition brings it (`local.kubernetes.model.custom_kinds`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)
READ_ONLY = ("get", "list")

# The type that travels over a subresource, where it is not the parent's own. (group, version, kind)
SUBRESOURCE_KINDS: Mapping[str, tuple[str, str, str]] = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "exec": ("", "v1", "PodExecOptions"),
    "proxy": ("", "v1", "PodProxyOptions"),
}
SUBRESOURCE_VERBS: Mapping[str, tuple[str, ...]] = {
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "eviction": CREATE_ONLY,
    "exec": ("create", "get"),
    "log": ("get",),
    "proxy": ("get",),
    "finalize": ("update",),
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table: a kind and how it is served."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    short_names: tuple[str, ...] = ()
    counts_generations: bool = False
    """Whether metadata.generation grows with every change of the spec."""
    returns_deleted_object: bool = False
    """Whether DELETE answers with the object itself instead of a Status.

    Source: the registries' ReturnDeletedObject.
    """
    custom: bool = False
    """Whether it comes with a CustomResourceDefinition: it takes no strategic merge patch."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified_name(self) -> str:
        """The name used in messages: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


def _core(plural: str, kind: str, **options: Any) -> Resource:
    return Resource("", "v1", plural, kind, **options)


def _replicated(plural: str, kind: str, short_name: str) -> Resource:
    """Return a kind of apps/v1 that keeps a number of pods."""
    subresources = ("scale", "status")
    return Resource(
        "apps", "v1", plural, kind, subresources=subresources, short_names=(short_name,), counts_generations=True
    )


NAMESPACES = _core(
    "namespaces",
    "Namespace",
    namespaced=False,
    subresources=("status", "finalize"),
    short_names=("ns",),
    returns_deleted_object=True,
)
PODS = _core(
    "pods",
    "Pod",
    subresources=("eviction", "exec", "log", "proxy", "status"),
    short_names=("po",),
    counts_generations=True,
    returns_deleted_object=True,
)
NODES = _core("nodes", "Node", namespaced=False, subresources=("status",), short_names=("no",))
EVENTS = _core("events", "Event", short_names=("ev",))
CONFIG_MAPS = _core("configmaps", "ConfigMap", short_names=("cm",))
SECRETS = _core("secrets", "Secret")
SERVICES = _core("services", "Service", subresources=("status",), short_names=("svc",), returns_deleted_object=True)
ENDPOINTS = _core("endpoints", "Endpoints", short_names=("ep",))
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", short_names=("sa",), returns_deleted_object=True)
VOLUMES = _core(
    "persistentvolumes",
    "PersistentVolume",
    namespaced=False,
    subresources=("status",),
    short_names=("pv",),
    returns_deleted_object=True,
)
CLAIMS = _core(
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    subresources=("status",),
    short_names=("pvc",),
    returns_deleted_object=True,
)
DEPLOYMENTS = _replicated("deployments", "Deployment", "deploy")
REPLICA_SETS = _replicated("replicasets", "ReplicaSet", "rs")
STATEFUL_SETS = _replicated("statefulsets", "StatefulSet", "sts")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch", "v1", "jobs", "Job", subresources=("status",), counts_generations=True)
AUTOSCALERS = Resource(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    subresources=("status",),
    short_names=("hpa",),
)
DISRUPTION_BUDGETS = Resource(
    "policy",
    "v1",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    subresources=("status",),
    short_names=("pdb",),
    counts_generations=True,
)
STORAGE_CLASSES = Resource(
    "storage.k8s.io",
    "v1",
    "storageclasses",
    "StorageClass",
    namespaced=False,
    short_names=("sc",),
    returns_deleted_object=True,
)
CSI_DRIVERS = Resource(
    "storage.k8s.io",
    "v1",
    "csidrivers",
    "CSIDriver",
    namespaced=False,
    counts_generations=True,
    returns_deleted_object=True,
)
CSI_NODES = Resource("storage.k8s.io", "v1", "csinodes", "CSINode", namespaced=False, returns_deleted_object=True)
VOLUME_ATTACHMENTS = Resource(
    "storage.k8s.io",
    "v1",
    "volumeattachments",
    "VolumeAttachment",
    namespaced=False,
    subresources=("status",),
    returns_deleted_object=True,
)
_SNAPSHOTS = "snapshot.storage.k8s.io"
SNAPSHOTS = Resource(
    _SNAPSHOTS,
    "v1",
    "volumesnapshots",
    "VolumeSnapshot",
    subresources=("status",),
    short_names=("vs",),
    counts_generations=True,
    custom=True,
)
SNAPSHOT_CLASSES = Resource(
    _SNAPSHOTS,
    "v1",
    "volumesnapshotclasses",
    "VolumeSnapshotClass",
    namespaced=False,
    short_names=("vsclass",),
    counts_generations=True,
    custom=True,
)
SNAPSHOT_CONTENTS = Resource(
    _SNAPSHOTS,
    "v1",
    "volumesnapshotcontents",
    "VolumeSnapshotContent",
    namespaced=False,
    subresources=("status",),
    short_names=("vsc",),
    counts_generations=True,
    custom=True,
)
DEFINITIONS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
    subresources=("status",),
    short_names=("crd", "crds"),
    counts_generations=True,
)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", counts_generations=True)
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=CREATE_ONLY,
)
SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=CREATE_ONLY
)
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", verbs=READ_ONLY)

# What travels in bodies but is no resource of its own.
DELETE_OPTIONS = _core("", "DeleteOptions")
SCALE = Resource("autoscaling", "v1", "", "Scale")
EVICTION = Resource("policy", "v1", "", "Eviction")

STORED = (
    NAMESPACES,
    PODS,
    NODES,
    EVENTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICES,
    ENDPOINTS,
    SERVICE_ACCOUNTS,
    VOLUMES,
    CLAIMS,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    CONTROLLER_REVISIONS,
    JOBS,
    AUTOSCALERS,
    DISRUPTION_BUDGETS,
    STORAGE_CLASSES,
    CSI_DRIVERS,
    CSI_NODES,
    VOLUME_ATTACHMENTS,
    SNAPSHOTS,
    SNAPSHOT_CLASSES,
    SNAPSHOT_CONTENTS,
    DEFINITIONS,
    LEASES,
    ENDPOINT_SLICES,
)
SERVED = (*STORED, ACCESS_REVIEWS, SUBJECT_REVIEWS, POD_METRICS)


_brought: dict[str, tuple[Resource, ...]] = {}
"""Name of a CustomResourceDefinition → the kinds that it brought to this process's API."""


def bring(definition: str, resources: tuple[Resource, ...]) -> None:
    """Serve these kinds from now on."""
    _brought[definition] = resources


def take_away(definition: str) -> tuple[Resource, ...]:
    """Serve its kinds no longer; returns them."""
    return _brought.pop(definition, ())


def served() -> tuple[Resource, ...]:
    """Everything that the API offers now."""
    return (*SERVED, *(resource for resources in _brought.values() for resource in resources))


def find_resource(group: str, version: str, plural: str) -> Resource | None:
    return next((r for r in served() if (r.group, r.version, r.plural) == (group, version, plural)), None)


def find_kind(api_version: str, kind: str) -> Resource | None:
    """Of kinds that are stored."""
    reviews = (ACCESS_REVIEWS, SUBJECT_REVIEWS, POD_METRICS)
    return next((r for r in served() if (r.api_version, r.kind) == (api_version, kind) and r not in reviews), None)


def discovery_document(path: str) -> dict[str, Any] | None:
    """Return what discovery answers at `path` (`/api`, `/apis`, `/api/v1`, `/apis/<group>[/<version>]`), or None."""
    match path.strip("/").split("/"):
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = [_group(name) for name in dict.fromkeys(r.group for r in served() if r.group)]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["api", "v1"]:
            return _resource_list("", "v1")
        case ["apis", group] if any(r.group == group for r in served()):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        case ["apis", group, version] if any((r.group, r.version) == (group, version) for r in served()):
            return _resource_list(group, version)
    return None


def _group(name: str) -> dict[str, Any]:
    versions = dict.fromkeys(resource.version for resource in served() if resource.group == name)
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(group: str, version: str) -> dict[str, Any]:
    rows = [
        row
        for resource in served()
        if (resource.group, resource.version) == (group, version)
        for row in _rows(resource)
    ]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": rows}


def _rows(resource: Resource) -> Iterable[dict[str, Any]]:
    yield {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
        "shortNames": list(resource.short_names),
    }
    for name in resource.subresources:
        row: dict[str, Any] = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(SUBRESOURCE_VERBS[name]),
        }
        if name in SUBRESOURCE_KINDS:
            row["group"], row["version"], row["kind"] = SUBRESOURCE_KINDS[name]
        yield row
