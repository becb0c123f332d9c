"""Nodes whose kubelet has fallen silent: not ready, tainted, and their pods no longer counted as ready.

Source: pkg/controller/nodelifecycle of Kubernetes 1.36: --node-monitor-grace-period is 50 s. Pods are not evicted
here: that takes five minutes on a real cluster, by which time a phase has long given up.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.model.kinds import LEASES, NODES, PODS
from local.kubernetes.model.objects import (
    Object,
    condition,
    from_timestamp,
    is_ready,
    name_of,
    status_of,
    to_timestamp,
    with_condition,
)
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Event, Key

_LEASE_NAMESPACE = "kube-node-lease"
_GRACE = timedelta(seconds=50)
_TAINT_KEY = "node.kubernetes.io/unreachable"


class NodeLifecycleController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is NODES:
            yield event.key
        elif event.resource is LEASES and event.key.namespace == _LEASE_NAMESPACE:
            yield Key(NODES, "", event.key.name)

    def reconcile(self, key: Key) -> timedelta | None:
        node = self._registry.store.get(key)
        heard = self._last_heard(node) if node else None
        if node is None or heard is None:
            return None
        left = heard + _GRACE - self._registry.clock()
        if left > timedelta(0):
            self._set_taint(key, node, wanted=_is_unknown(node))
            return left
        if not _is_unknown(node):
            self._mark_unknown(key)
            self._mark_pods_unready(name_of(node))
        self._set_taint(key, node, wanted=True)
        return None

    def _last_heard(self, node: Object) -> datetime | None:
        """Return when the kubelet last renewed its lease; None when it never had one."""
        lease = self._registry.store.get(Key(LEASES, _LEASE_NAMESPACE, name_of(node)))
        renewed = lease["spec"].get("renewTime") if lease else None
        return from_timestamp(renewed) if renewed else None

    def _mark_unknown(self, key: Key) -> None:
        now = to_timestamp(self._registry.clock())
        unknown = {
            "type": "Ready",
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        self._registry.change(key, lambda node: _put_condition(node, unknown), MANAGER, "status")

    def _mark_pods_unready(self, node: str) -> None:
        unready = {"type": "Ready", "status": "False", "lastTransitionTime": self._registry.now()}
        for pod in self._registry.store.all_of(PODS):
            if pod["spec"].get("nodeName") == node and is_ready(pod):
                self._registry.change(
                    key_of(PODS, pod), lambda found: _put_condition(found, unready), MANAGER, "status"
                )

    def _set_taint(self, key: Key, node: Object, *, wanted: bool) -> None:
        others = [taint for taint in node["spec"].get("taints") or () if taint["key"] != _TAINT_KEY]
        taints = [*others, {"key": _TAINT_KEY, "effect": "NoSchedule"}] if wanted else others
        self._registry.change(key, lambda obj: obj["spec"].update(taints=taints), MANAGER)


def _is_unknown(node: Object) -> bool:
    ready = condition(node, "Ready")
    return ready is not None and ready["status"] == "Unknown"


def _put_condition(obj: Object, new: Object) -> None:
    status = obj.setdefault("status", {})
    status["conditions"] = with_condition(status_of(obj).get("conditions") or [], new)
