"""Where a pod may run, pure: each rule says why a node does not do.

Source: the default filter plugins of kube-scheduler 1.36; here are those that a migration can meet: readiness,
cordons, taints, node selectors and affinity, the place of volumes, and room.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from local.kubernetes.model import selectors
from local.kubernetes.model.objects import Object, condition, labels_of, name_of, status_of
from local.kubernetes.model.quantities import parse_quantity

_KEEPING_OUT = ("NoSchedule", "NoExecute")
_RESOURCES = ("cpu", "memory")
_FULL = ("Insufficient", "Too many pods")
_NO_VICTIMS, _NO_HELP = "No preemption victims found for incoming pod", "Preemption is not helpful for scheduling"


@dataclass(frozen=True, slots=True)
class Place:
    """A node with the pods that it already has."""

    node: Object
    pods: Sequence[Object] = field(default_factory=tuple)


def obstacle(pod: Object, place: Place, volumes: Iterable[Object] = ()) -> str | None:
    """Return why the pod cannot run there, in the scheduler's words; None when it can."""
    node = place.node
    ready = condition(node, "Ready")
    if ready is None or ready["status"] != "True":
        return "node(s) were not ready"
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    taint = _untolerated(pod, node)
    if taint is not None:
        return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    if not _is_wanted(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    if not all(_reaches(node, volume) for volume in volumes):
        return "node(s) had volume node affinity conflict"
    return _shortage(pod, place)


def best_place(places: Sequence[Place]) -> Place:
    """Return the place with the fewest pods, the first by name among equals."""
    return min(places, key=lambda place: (len(place.pods), name_of(place.node)))


def explain(obstacles: Sequence[str]) -> str:
    """Return why no node does, in the scheduler's words: what is in the way, and whether evicting pods would help.

    Source: kube-scheduler, framework/types.go, FitError; the recordings in `tests/local_cluster/recordings`.
    """
    if not obstacles:
        return "no nodes available to schedule pods"
    counted = Counter(obstacles)
    full = sum(count for words, count in counted.items() if words.startswith(_FULL))
    preemption = Counter({_NO_VICTIMS: full, _NO_HELP: len(obstacles) - full})
    none = f"0/{len(obstacles)} nodes are available"
    return f"{none}: {_listed(counted)}. no new claims to deallocate, preemption: {none}: {_listed(+preemption)}."


def explain_for_all(obstacle: str, nodes: int) -> str:
    """Return why no node does when the reason is the pod's and the same everywhere."""
    return f"0/{nodes} nodes are available: {obstacle}. not found"


def _listed(counted: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {words}" for words, count in counted.items()))


def _untolerated(pod: Object, node: Object) -> Object | None:
    tolerations: Sequence[Object] = pod["spec"].get("tolerations") or ()
    taints: Sequence[Object] = node["spec"].get("taints") or ()
    return next(
        (t for t in taints if t["effect"] in _KEEPING_OUT and not any(_tolerates(each, t) for each in tolerations)),
        None,
    )


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("value", "") == taint.get("value", ""))


def _is_wanted(pod: Object, node: Object) -> bool:
    wanted: dict[str, str] = pod["spec"].get("nodeSelector") or {}
    if any(labels_of(node).get(key) != value for key, value in wanted.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return _matches_terms(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), node)


def _reaches(node: Object, volume: Object) -> bool:
    return _matches_terms((volume["spec"].get("nodeAffinity") or {}).get("required"), node)


def _matches_terms(selector: Object | None, node: Object) -> bool:
    """Terms are alternatives; within one, all expressions must hold. No selector at all: anything goes."""
    if selector is None:
        return True
    labels = labels_of(node)
    return any(
        selectors.matches(selectors.from_expressions(term.get("matchExpressions") or ()), labels)
        for term in selector["nodeSelectorTerms"]
    )


def _shortage(pod: Object, place: Place) -> str | None:
    allocatable = status_of(place.node).get("allocatable") or {}
    if "pods" in allocatable and len(place.pods) >= int(allocatable["pods"]):
        return "Too many pods"
    for resource in _RESOURCES:
        if resource in allocatable:
            used = sum((requested(other, resource) for other in place.pods), Decimal(0))
            if used + requested(pod, resource) > parse_quantity(allocatable[resource]):
                return f"Insufficient {resource}"
    return None


def requested(pod: Object, resource: str) -> Decimal:
    """Return what the containers ask for together."""
    containers: Sequence[Object] = pod["spec"]["containers"]
    wanted = [(container.get("resources", {}).get("requests") or {}).get(resource, "0") for container in containers]
    return sum((parse_quantity(amount) for amount in wanted), Decimal(0))
