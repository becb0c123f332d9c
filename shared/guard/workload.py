"""The Deployment, its pods and its autoscaler, read from and written to a `shared.model.ports.Cluster`.

Implements `guard.ports.Workload` and the scaling half of `guard.ports.Actuator`. The functions that turn manifests into
values are pure. A rollout is undone like `kubectl rollout undo`: the pod template of the old ReplicaSet is put back.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.errors import ConfigurationError, PermissionMissing
from shared.guard.readings import UPSTREAM_POOLS, Autoscaler, Deployment, Event, Pod, ReplicaSet
from shared.kubernetes.pods import living
from shared.model.ports import Cluster, Manifest
from shared.sizing.connection_budget import PoolSizes

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
POOL_VARIABLES = tuple(UPSTREAM_POOLS.as_environment())


class ClusterWorkload:
    """One Deployment in one namespace; `container` names Open WebUI's container, empty: the first."""

    def __init__(self, cluster: Cluster, deployment: str, *, container: str = "") -> None:
        self._cluster = cluster
        self._name = deployment
        self._container = container

    def read_deployment(self) -> Deployment:
        """Spec, status, pools and ReplicaSets."""
        found = self._manifest()
        return to_deployment(found, self._replica_sets(found), self._container)

    def list_pods(self) -> Sequence[Pod]:
        """Pods that the Deployment's selector matches; without permission to list nodes, all nodes count as ready."""
        found = self._manifest()
        revisions = {rs["metadata"]["name"]: revision_of(rs) for rs in self._replica_sets(found)}
        try:
            lost = {node["metadata"]["name"] for node in self._cluster.list("Node") if not _is_node_ready(node)}
        except PermissionMissing:
            lost = set()
        pods = living(self._cluster.list("Pod", _selector(found)))
        return [to_pod(pod, revisions, lost) for pod in pods]

    def read_autoscaler(self) -> Autoscaler | None:
        """The HPA that targets this Deployment."""
        for found in self._cluster.list("HorizontalPodAutoscaler"):
            target = found["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) == ("Deployment", self._name):
                return to_autoscaler(found)
        return None

    def list_events(self, since: datetime) -> Sequence[Event]:
        """Warnings about objects whose names start with the Deployment's."""
        events = [to_event(e) for e in self._cluster.list("Event") if e.get("type") == "Warning"]
        mine = [e for e in events if e and e.subject.split("/")[1].startswith(self._name) and e.at >= since]
        return sorted(mine, key=lambda event: event.at)

    def scale(self, replicas: int) -> None:
        """Set the Deployment's replicas."""
        self._cluster.scale(self._name, replicas)

    def set_bounds(self, minimum: int, maximum: int) -> None:
        """Set the autoscaler's bounds; ConfigurationError when there is none (any more)."""
        autoscaler = self.read_autoscaler()
        if autoscaler is None:
            raise ConfigurationError(f"Deployment {self._name} has no autoscaler to set bounds of.")
        bounds = {"spec": {"minReplicas": minimum, "maxReplicas": maximum}}
        self._cluster.patch("HorizontalPodAutoscaler", autoscaler.name, bounds)

    def undo_rollout(self, revision: int) -> None:
        """Put back the pod template of this revision; nothing to do when that was done already.

        Kubernetes gives the restored ReplicaSet a new revision and keeps the old number in its history.
        """
        found = self._manifest()
        old = next((rs for rs in self._replica_sets(found) if revision in _revisions(rs)), None)
        if old is not None and revision_of(old) == revision_of(found):
            return
        if old is None:
            hint = f"See `kubectl rollout history deployment/{self._name}`."
            raise ConfigurationError(f"Revision {revision} of {self._name} is no longer kept.", hint=hint)
        template = dict(old["spec"]["template"])
        metadata = dict(template["metadata"])
        metadata["labels"] = {k: v for k, v in metadata["labels"].items() if k != "pod-template-hash"}
        restored = {**found, "spec": {**found["spec"], "template": {**template, "metadata": metadata}}}
        self._cluster.replace(restored)

    def _manifest(self) -> Manifest:
        found = self._cluster.read("Deployment", self._name)
        if found is None:
            raise ConfigurationError(f"There is no Deployment {self._name} in {self._cluster.namespace}.")
        return found

    def _replica_sets(self, deployment: Manifest) -> list[Manifest]:
        found = self._cluster.list("ReplicaSet", _selector(deployment))
        return [rs for rs in found if _owner(rs, "Deployment") == self._name]


def to_deployment(found: Manifest, replica_sets: Sequence[Manifest], container: str = "") -> Deployment:
    """The Deployment as a value."""
    spec = found["spec"]
    replicas = int(spec.get("replicas", 1))
    conditions = (found.get("status") or {}).get("conditions") or []
    return Deployment(
        replicas=replicas,
        revision=revision_of(found),
        pools=to_pools(spec["template"]["spec"]["containers"], container),
        max_surge=to_pods((spec.get("strategy") or {}), replicas),
        deadline_exceeded=any(c.get("reason") == "ProgressDeadlineExceeded" for c in conditions),
        replica_sets=tuple(
            ReplicaSet(
                revision_of(rs), int(rs["spec"].get("replicas", 0)), int(rs.get("status", {}).get("readyReplicas", 0))
            )
            for rs in replica_sets
        ),
    )


def to_pools(containers: Sequence[Manifest], name: str = "") -> PoolSizes:
    """Pool sizes from the container's variables; upstream's where one is not set, or set from elsewhere."""
    container = next((c for c in containers if c["name"] == name), containers[0])
    given = {entry["name"]: entry.get("value", "") for entry in container.get("env") or []}
    defaults = UPSTREAM_POOLS.as_environment()
    sizes = [given[name] if given.get(name, "").isdigit() else defaults[name] for name in POOL_VARIABLES]
    return PoolSizes(*map(int, sizes))


def to_pods(strategy: Mapping[str, Any], replicas: int) -> int:
    """maxSurge in pods; a percentage is of the replicas, rounded up, 25 % by default. Recreate has none."""
    if strategy.get("type") == "Recreate":
        return 0
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    if isinstance(surge, int):
        return surge
    return math.ceil(replicas * int(surge.rstrip("%")) / 100)


def to_pod(pod: Manifest, revisions: Mapping[str, int], lost_nodes: set[str]) -> Pod:
    """One pod as a value; revision 0 when its ReplicaSet is not the Deployment's."""
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    states = [c.get("state") or {} for c in (*containers, *(status.get("initContainerStatuses") or []))]
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    waiting = [state["waiting"].get("reason", "") for state in states if state.get("waiting")]
    started = [(c.get("state") or {}).get("running", {}).get("startedAt") for c in containers]
    return Pod(
        name=pod["metadata"]["name"],
        revision=revisions.get(_owner(pod, "ReplicaSet"), 0),
        ready=conditions.get("Ready") == "True",
        running_since=_time(started[0]) if started and started[0] else None,
        restarts=sum(int(c.get("restartCount", 0)) for c in containers),
        waiting_reason=next((reason for reason in waiting if reason not in {"", "PodInitializing"}), ""),
        out_of_memory=any(_was_killed_for_memory(c) for c in containers),
        ending="deletionTimestamp" in pod["metadata"],
        node_ready=(pod.get("spec") or {}).get("nodeName") not in lost_nodes,
    )


def to_autoscaler(found: Manifest) -> Autoscaler:
    """The HPA as a value; without a status it wishes for its minimum."""
    spec, status = found["spec"], found.get("status") or {}
    minimum = int(spec.get("minReplicas", 1))
    metrics = [m.get("resource", {}).get("current", {}) for m in status.get("currentMetrics") or []]
    utilisation = next((m["averageUtilization"] for m in metrics if m.get("averageUtilization") is not None), None)
    desired = int(status.get("desiredReplicas") or minimum)
    return Autoscaler(found["metadata"]["name"], minimum, int(spec["maxReplicas"]), desired, utilisation)


def to_event(found: Manifest) -> Event | None:
    """The event as a value; None when it has no time."""
    at = found.get("lastTimestamp") or found.get("eventTime") or found["metadata"].get("creationTimestamp")
    if not at:
        return None
    about = found.get("involvedObject") or {}
    subject = f"{about.get('kind', '')}/{about.get('name', '')}"
    return Event(_time(at), found.get("reason", ""), subject, found.get("message", ""), int(found.get("count") or 1))


def revision_of(found: Manifest) -> int:
    """The revision that the Deployment controller noted on a Deployment or ReplicaSet."""
    return int((found["metadata"].get("annotations") or {}).get(REVISION, 0))


def _revisions(replica_set: Manifest) -> set[int]:
    """The revisions that this ReplicaSet is and was."""
    history = (replica_set["metadata"].get("annotations") or {}).get(REVISION_HISTORY, "")
    return {revision_of(replica_set), *(int(number) for number in history.split(",") if number)}


def _selector(deployment: Manifest) -> dict[str, str]:
    return dict(deployment["spec"]["selector"].get("matchLabels") or {})


def _owner(found: Manifest, kind: str) -> str:
    owners = found["metadata"].get("ownerReferences") or []
    return next((str(owner["name"]) for owner in owners if owner["kind"] == kind), "")


def _is_node_ready(node: Manifest) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _was_killed_for_memory(container: Mapping[str, Any]) -> bool:
    states = (container.get("state") or {}, container.get("lastState") or {})
    return any((state.get("terminated") or {}).get("reason") == "OOMKilled" for state in states)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
