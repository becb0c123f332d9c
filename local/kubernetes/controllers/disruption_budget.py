"""Disruption budgets: how many pods may be evicted right now.

Source: pkg/controller/disruption/disruption.go of Kubernetes 1.36.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.controllers.workloads.rolling_update import resolve_percentage
from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import DEPLOYMENTS, DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS, find_kind
from local.kubernetes.model.objects import (
    Object,
    controller_of,
    from_timestamp,
    is_finished,
    is_ready,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    status_of,
    uid_of,
    with_condition,
)
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Event, Key

# An evicted pod that has not even begun to terminate after this time will not: it counts again.
_EVICTION_TIMEOUT = timedelta(minutes=2)


class DisruptionBudgetController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is DISRUPTION_BUDGETS:
            yield event.key
        elif event.resource in (PODS, REPLICA_SETS, DEPLOYMENTS, STATEFUL_SETS):
            for budget in self._registry.store.all_of(DISRUPTION_BUDGETS, event.key.namespace):
                yield key_of(DISRUPTION_BUDGETS, budget)

    def reconcile(self, key: Key) -> timedelta | None:
        budget = self._registry.store.get(key)
        if budget is None:
            return None
        selector = selectors.from_object(budget["spec"].get("selector"))
        pods = [
            pod
            for pod in self._registry.store.all_of(PODS, key.namespace)
            if selectors.matches(selector, labels_of(pod)) and not is_finished(pod)
        ]
        expected, desired = self._expectation(budget, pods)
        disrupted = self._still_disrupted(budget, pods)
        healthy = len([p for p in pods if is_ready(p) and not is_terminating(p) and name_of(p) not in disrupted])
        allowed = max(0, healthy - desired) if expected else 0
        status = {
            "observedGeneration": budget["metadata"]["generation"],
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            **({"disruptedPods": disrupted} if disrupted else {}),
            "conditions": with_condition(status_of(budget).get("conditions") or [], self._condition(budget, allowed)),
        }
        self._registry.set_status(key, status, MANAGER)
        return _EVICTION_TIMEOUT if disrupted else None

    def _expectation(self, budget: Object, pods: Sequence[Object]) -> tuple[int, int]:
        """Return how many pods there should be and how many of them must be healthy.

        An absolute `minAvailable` counts the pods that are there; everything else counts what their owners want.
        """
        spec = budget["spec"]
        if isinstance(spec.get("minAvailable"), int):
            return len(pods), spec["minAvailable"]
        expected = self._wanted_by_owners(pods)
        if "minAvailable" in spec:
            return expected, resolve_percentage(spec["minAvailable"], expected, round_up=True)
        unavailable = resolve_percentage(spec.get("maxUnavailable", 0), expected, round_up=True)
        return expected, max(0, expected - unavailable)

    def _wanted_by_owners(self, pods: Sequence[Object]) -> int:
        owners = {uid_of(owner): owner for pod in pods if (owner := self._topmost_owner(pod)) is not None}
        return sum(owner["spec"].get("replicas", 0) for owner in owners.values())

    def _topmost_owner(self, obj: Object) -> Object | None:
        reference = controller_of(obj)
        resource = find_kind(reference["apiVersion"], reference["kind"]) if reference else None
        if reference is None or resource is None:
            return None
        owner = self._registry.store.get(Key(resource, namespace_of(obj), reference["name"]))
        return (self._topmost_owner(owner) or owner) if owner is not None else None

    def _still_disrupted(self, budget: Object, pods: Sequence[Object]) -> dict[str, str]:
        """Return the evicted pods that have not gone or begun to terminate yet."""
        waiting = {name_of(pod) for pod in pods if not is_terminating(pod)}
        since = self._registry.clock() - _EVICTION_TIMEOUT
        evicted: dict[str, str] = status_of(budget).get("disruptedPods") or {}
        return {name: time for name, time in evicted.items() if name in waiting and from_timestamp(time) > since}

    def _condition(self, budget: Object, allowed: int) -> Object:
        return {
            "type": "DisruptionAllowed",
            "status": "True" if allowed else "False",
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
            "observedGeneration": budget["metadata"]["generation"],
            "lastTransitionTime": self._registry.now(),
        }
