"""What the API server adds to a new object, beyond defaults: identity, finalizers, a first status, addresses.

Source: the PrepareForCreate of each registry strategy and the default admission plugins of Kubernetes 1.36.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping

from local.kubernetes.model.kinds import JOBS, NODES, SERVICES, STORAGE_CLASSES, Resource
from local.kubernetes.model.objects import Object, annotations_of, labels_of, name_of, uid_of
from local.kubernetes.registry import cluster_ips
from local.kubernetes.registry.store import Store

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

# No vowels and nothing that looks like something else. Source: apimachinery, util/rand.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def give_name(obj: Object) -> None:
    """Turn `generateName` into a name, in place."""
    metadata = obj["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))
        metadata["name"] = f"{metadata['generateName'][:58]}{suffix}"


def give_identity(resource: Resource, obj: Object, now: str) -> None:
    metadata = obj["metadata"]
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"):
        metadata.pop(name, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now
    if resource.counts_generations:
        metadata["generation"] = 1


def prepare(resource: Resource, obj: Object, store: Store) -> None:
    """Complete a new object in place, before defaults and validation."""
    if resource.has_status and resource is not NODES:  # a kubelet creates its node complete with status
        obj.pop("status", None)
    step = _BY_KIND.get(resource.kind)
    if step is not None:
        step(obj, store)


def allocate(resource: Resource, obj: Object, store: Store) -> None:
    """Give a new and valid object what is allocated to it."""
    if resource is SERVICES:
        cluster_ips.allocate(obj, cluster_ips.addresses_in_use(store.all_of(SERVICES)))
    if resource is JOBS and not labels_of(obj):  # Source: pkg/apis/batch/v1/defaults.go, SetDefaults_Job, on reading
        obj["metadata"]["labels"] = dict(labels_of(obj["spec"]["template"]))


def _add_finalizer(obj: Object, name: str) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if name not in finalizers:
        finalizers.append(name)


def _definition(obj: Object, _store: Store) -> None:
    """Its kinds are served at once."""
    spec, now = obj.get("spec") or {}, obj["metadata"]["creationTimestamp"]
    reasons = (("NamesAccepted", "NoConflicts", "no conflicts found"), ("Established", "InitialNamesAccepted", ""))
    obj["status"] = {
        "acceptedNames": spec.get("names") or {},
        "storedVersions": [each["name"] for each in spec.get("versions") or [] if each.get("storage")],
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "message": text, "lastTransitionTime": now}
            for kind, reason, text in reasons
        ],
    }


def _pod(obj: Object, _store: Store) -> None:
    """Complete it as the admission plugins ServiceAccount, Priority and DefaultTolerationSeconds do."""
    obj["status"] = {"phase": "Pending", "qosClass": _quality_of_service(obj)}
    spec = obj["spec"]
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerated = {(one.get("key"), one.get("effect")) for one in spec.setdefault("tolerations", [])}
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not tolerated & {(key, "NoExecute"), (key, None), (None, None), (None, "NoExecute")}:
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            spec["tolerations"].append(toleration)


def _quality_of_service(pod: Object) -> str:
    """Return the class by which a node under pressure chooses whom to evict."""
    wanted = [container.get("resources", {}) for container in pod.get("spec", {}).get("containers", ())]
    if not any(resources.get("requests") or resources.get("limits") for resources in wanted):
        return "BestEffort"
    fixed = all(
        {"cpu", "memory"} <= resources.get("limits", {}).keys()
        and resources.get("requests", resources["limits"]) == resources["limits"]
        for resources in wanted
    )
    return "Guaranteed" if fixed else "Burstable"


def _namespace(obj: Object, _store: Store) -> None:
    obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]  # taken off by the controller that empties it
    obj["status"] = {"phase": "Active"}


def _claim(obj: Object, store: Store) -> None:
    _add_finalizer(obj, CLAIM_PROTECTION)
    obj["status"] = {"phase": "Pending"}
    spec = obj.setdefault("spec", {})
    if "storageClassName" not in spec:
        defaults = [c for c in store.all_of(STORAGE_CLASSES) if annotations_of(c).get(DEFAULT_CLASS) == "true"]
        if defaults:
            spec["storageClassName"] = name_of(defaults[0])


def _volume(obj: Object, _store: Store) -> None:
    _add_finalizer(obj, VOLUME_PROTECTION)
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"]["creationTimestamp"]}


def _deployment(obj: Object, _store: Store) -> None:
    obj["status"] = {}


def _service(obj: Object, _store: Store) -> None:
    obj["status"] = {"loadBalancer": {}}


def _job(obj: Object, _store: Store) -> None:
    """Let the job's pods be found by its uid, under today's labels and the old ones."""
    obj["status"] = {}
    spec = obj.get("spec", {})
    template = spec.get("template")
    if spec.get("manualSelector") or not isinstance(template, dict):
        return
    uid, name = uid_of(obj), name_of(obj)
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    labels |= {"controller-uid": uid, "job-name": name}
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


_BY_KIND: Mapping[str, Callable[[Object, Store], None]] = {
    "Namespace": _namespace,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "Deployment": _deployment,
    "ReplicaSet": _deployment,
    "StatefulSet": _deployment,
    "Service": _service,
    "Job": _job,
    "CustomResourceDefinition": _definition,
}
