"""The scheduler: finds a node for each pod, and tells claims that wait for their first consumer which one it is."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.controllers.scheduling.placement import Place, best_place, explain, explain_for_all, obstacle
from local.kubernetes.controllers.volumes.volume_binding import SELECTED_NODE
from local.kubernetes.model.kinds import CLAIMS, NODES, PODS, STORAGE_CLASSES, VOLUMES
from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    claims_of,
    is_finished,
    is_terminating,
    name_of,
    namespace_of,
    status_of,
    with_condition,
    without_empty,
)
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import DELETED, Event, Key

_NAME = "default-scheduler"
_MANAGER = "kube-scheduler"


class Unschedulable(Exception):
    """No node does, for the reason given."""


class Scheduler:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events = Recorder(registry, _NAME)

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is PODS and event.type != DELETED and not is_finished(event.obj):
            yield event.key
        elif event.resource in (NODES, PODS, CLAIMS, VOLUMES, STORAGE_CLASSES):
            # Room has been made, a node has come up, a volume is there: whoever waits may try again.
            for pod in self._registry.store.all_of(PODS):
                if _waits(pod):
                    yield key_of(PODS, pod)

    def reconcile(self, key: Key) -> timedelta | None:
        pod = self._registry.store.get(key)
        if pod is None or not _waits(pod):
            return None
        try:
            claims = self._claims(pod)
            volumes = self._volumes(claims)
            place = self._choose(pod, volumes)
        except Unschedulable as reason:
            self._report(key, "False", "Unschedulable", str(reason), pod["metadata"].get("generation", 1))
            self._events.warning(pod, "FailedScheduling", str(reason))
            return None
        unbound = [claim for claim in claims if "volumeName" not in claim["spec"] or _phase(claim) != "Bound"]
        if unbound:
            self._select_node(unbound, name_of(place.node))
            return None
        self._registry.change(key, lambda obj: obj["spec"].update(nodeName=name_of(place.node)), _MANAGER)
        self._report(key, "True")
        assigned = f"Successfully assigned {key.namespace}/{key.name} to {name_of(place.node)}"
        self._events.normal(pod, "Scheduled", assigned)
        return None

    def _claims(self, pod: Object) -> list[Object]:
        """Return the pod's claims, all of which must exist, and be bound unless they wait for a consumer."""
        claims = []
        for name in claims_of(pod):
            claim = self._registry.store.get(Key(CLAIMS, namespace_of(pod), name))
            if claim is None:
                raise self._unschedulable(f'persistentvolumeclaim "{name}" not found')
            if is_terminating(claim):
                raise self._unschedulable(f'persistentvolumeclaim "{name}" is being deleted')
            if _phase(claim) == "Lost":
                raise self._unschedulable(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume')
            if _phase(claim) != "Bound" and not self._waits_for_consumer(claim):
                raise self._unschedulable("pod has unbound immediate PersistentVolumeClaims")
            claims.append(claim)
        return claims

    def _unschedulable(self, why: str) -> Unschedulable:
        return Unschedulable(explain_for_all(why, len(self._registry.store.all_of(NODES))))

    def _waits_for_consumer(self, claim: Object) -> bool:
        found = self._registry.store.get(Key(STORAGE_CLASSES, "", claim["spec"].get("storageClassName") or ""))
        return found is not None and found["volumeBindingMode"] == "WaitForFirstConsumer"

    def _volumes(self, claims: Iterable[Object]) -> list[Object]:
        names = [claim["spec"].get("volumeName") for claim in claims]
        found = [self._registry.store.get(Key(VOLUMES, "", name)) for name in names if name]
        return [volume for volume in found if volume is not None]

    def _choose(self, pod: Object, volumes: Sequence[Object]) -> Place:
        pods = [other for other in self._registry.store.all_of(PODS) if not is_finished(other)]
        places = [
            Place(node, tuple(other for other in pods if other["spec"].get("nodeName") == name_of(node)))
            for node in self._registry.store.all_of(NODES)
        ]
        obstacles = [(place, obstacle(pod, place, volumes)) for place in places]
        possible = [place for place, reason in obstacles if reason is None]
        if not possible:
            raise Unschedulable(explain([reason for _, reason in obstacles if reason]))
        return best_place(possible)

    def _select_node(self, claims: Iterable[Object], node: str) -> None:
        def edit(obj: Object) -> None:
            obj["metadata"].setdefault("annotations", {})[SELECTED_NODE] = node

        for claim in claims:
            if SELECTED_NODE not in annotations_of(claim):
                self._registry.change(key_of(CLAIMS, claim), edit, _MANAGER)

    def _report(self, key: Key, status: str, reason: str = "", message: str = "", generation: int = 0) -> None:
        scheduled = {"type": "PodScheduled", "status": status, "lastTransitionTime": self._registry.now()}
        scheduled |= without_empty({"reason": reason, "message": message, "observedGeneration": generation})

        def edit(obj: Object) -> None:
            current = obj.setdefault("status", {})
            current["conditions"] = with_condition(current.get("conditions") or [], scheduled)

        self._registry.change(key, edit, _MANAGER, "status")


def _waits(pod: Object) -> bool:
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName") == _NAME
        and not is_terminating(pod)
        and not is_finished(pod)
    )


def _phase(claim: Object) -> str:
    return str(status_of(claim).get("phase", ""))
