"""ReplicaSets: as many pods as wanted, and how many of them are ready and available."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from local.kubernetes.controllers.ownership import MANAGER, create_pod, owned_by, owner_keys
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.model.kinds import PODS, REPLICA_SETS
from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    condition,
    from_timestamp,
    is_active,
    is_ready,
    is_terminating,
    name_of,
    phase_of,
    status_of,
    without_empty,
)
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Event, Key

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


class ReplicaSetController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events = Recorder(registry, "replicaset-controller")

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is REPLICA_SETS:
            yield event.key
        elif event.resource is PODS:
            yield from owner_keys(event, REPLICA_SETS)

    def reconcile(self, key: Key) -> timedelta | None:
        replica_set = self._registry.store.get(key)
        if replica_set is None:
            return None
        if not is_terminating(replica_set):
            self._fill_or_thin(replica_set, owned_by(self._registry, replica_set, PODS))
        return self._report(key)

    def _fill_or_thin(self, replica_set: Object, pods: Sequence[Object]) -> None:
        active = [pod for pod in pods if is_active(pod)]
        missing = replica_set["spec"]["replicas"] - len(active)
        for _ in range(missing):
            try:
                pod = create_pod(self._registry, replica_set, prefix=f"{name_of(replica_set)}-")
            except ApiError as error:
                self._events.warning(replica_set, "FailedCreate", f"Error creating: {error}")
                raise
            self._events.normal(replica_set, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        if missing < 0:
            for pod in sorted(active, key=expendability)[:-missing]:
                self._registry.delete(key_of(PODS, pod))
                self._events.normal(replica_set, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _report(self, key: Key) -> timedelta | None:
        replica_set = self._registry.get(key)
        now = self._registry.clock()
        least = timedelta(seconds=replica_set["spec"].get("minReadySeconds", 0))
        pods = owned_by(self._registry, replica_set, PODS)
        active = [pod for pod in pods if is_active(pod)]
        ready = [pod for pod in active if is_ready(pod)]
        waits = [wait for pod in ready if (wait := _ready_since(pod) + least - now) > timedelta(0)] if least else []
        counts = without_empty(
            {
                "fullyLabeledReplicas": len(active),
                "readyReplicas": len(ready),
                "availableReplicas": len(ready) - len(waits),
                "observedGeneration": replica_set["metadata"]["generation"],
            }
        )
        terminating = len([pod for pod in pods if is_terminating(pod)])
        status = {"replicas": len(active), **counts, "terminatingReplicas": terminating}
        if status != status_of(replica_set):
            self._registry.set_status(key, status, MANAGER)
        return min(waits) + timedelta(seconds=1) if waits else None


def expendability(pod: Object) -> tuple[bool, int, bool, int, float]:
    """Order pods by which goes first: unscheduled, pending, not ready, cheap to delete, young.

    Source: controller.ActivePodsWithRanks of Kubernetes 1.36, without its rank by node.
    """
    cost = int(annotations_of(pod).get(_DELETION_COST, "0"))
    created = from_timestamp(pod["metadata"]["creationTimestamp"]).timestamp()
    return bool(pod["spec"].get("nodeName")), _PHASE_RANK.get(phase_of(pod), 1), is_ready(pod), cost, -created


def _ready_since(pod: Object) -> datetime:
    ready = condition(pod, "Ready")
    assert ready is not None
    return from_timestamp(ready["lastTransitionTime"])
