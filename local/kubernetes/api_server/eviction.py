"""Eviction: deleting a pod, but only if its disruption budget allows it.

Source: pkg/registry/core/pod/storage/eviction.go of Kubernetes 1.36.
"""

from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import DISRUPTION_BUDGETS
from local.kubernetes.model.objects import Object, is_finished, labels_of, name_of, namespace_of, phase_of
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Key, Store

_MANAGER = "kube-apiserver"


def evict(registry: Registry, key: Key, deletion: Deletion) -> Object:
    """Delete a pod, or raise a 429 when its budget does not allow another disruption."""
    pod = registry.get(key)
    budgets = budgets_of(registry.store, pod)
    if not is_finished(pod) and phase_of(pod) != "Pending" and budgets:
        if len(budgets) > 1:
            message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise ApiError(500, message, "")
        _take_one(registry, budgets[0], pod, dry_run=deletion.dry_run)
    registry.delete(key, deletion)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def budgets_of(store: Store, pod: Object) -> list[Object]:
    """Return the budgets whose selector picks the pod."""
    return [
        budget
        for budget in store.all_of(DISRUPTION_BUDGETS, namespace_of(pod))
        if selectors.matches(selectors.from_object(budget["spec"].get("selector")), labels_of(pod))
    ]


def _take_one(registry: Registry, budget: Object, pod: Object, *, dry_run: bool) -> None:
    """Count the disruption at once, so that two evictions in a row do not both see the same allowance."""
    status = budget.get("status") or {}
    if status.get("observedGeneration", 0) < budget["metadata"]["generation"]:
        cause = "The disruption budget is still being processed by the server."
    elif status["disruptionsAllowed"] < 1:
        needed, healthy = status["desiredHealthy"], status["currentHealthy"]
        cause = f"The disruption budget {name_of(budget)} needs {needed} healthy pods and has {healthy} currently"
    else:
        disrupted = {**status.get("disruptedPods", {}), name_of(pod): registry.now()}
        allowed = status["disruptionsAllowed"] - 1
        if not dry_run:
            changed = {**status, "disruptionsAllowed": allowed, "disruptedPods": disrupted}
            registry.set_status(key_of(DISRUPTION_BUDGETS, budget), changed, _MANAGER)
        return
    details = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    raise ApiError(429, "Cannot evict pod as it would violate the pod's disruption budget.", details=details)
