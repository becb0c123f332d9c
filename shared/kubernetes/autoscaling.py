"""How far an autoscaler may go, and the object that says so. Pure: values in, manifests out.

The maximum comes from the database: each replica may open all its pools, so one replica too many is refused
connections under load, which is when the autoscaler adds replicas. Source: facts §1.9, 20 replicas are 900 connections
at Open WebUI's default pools.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.kubernetes import deployments, manifests
from shared.model.ports import Manifest
from shared.sizing.connection_budget import ConnectionBudget, PoolSizes, ServerLimits, replicas_that_fit, transient_pods

LARGEST = 20
"""The runbook's wish."""
CPU_PERCENT = 70
"""Of the CPU that the pods request; the runbook's."""
BECAUSE = "scaleout.dev/maximum-because"
APPLIED_AT = "scaleout.dev/applied-at"
HEADROOM = 0.1
"""Of the server's connections, kept free as in the connection budget."""
RESERVED = 3
"""Connections of the health guard (one) and of a mover (two), as in the migration's budget."""

BEHAVIOUR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 60,  # a replica takes 24-48 s to start: look once more before the next one
        "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,  # every pod that ends closes its users' websockets
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
    },
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Smallest and largest replica count, and why there are not more."""

    minimum: int
    maximum: int
    because: str


def bounds_within_budget(replicas: int, budget: ConnectionBudget, sku: str) -> Bounds:
    """For pools that the migration is about to set."""
    return _bounds(replicas, budget.largest_replica_count, budget.pools.most_per_process, budget.for_users, sku)


def bounds_with_pools(replicas: int, limits: ServerLimits, pools: PoolSizes, surge: int, others: int) -> Bounds:
    """For pools as the running pods have them. `others`: sessions that are not Open WebUI's."""
    taken, transient = others + RESERVED, transient_pods(surge)
    fits = replicas_that_fit(limits, pools.most_per_process, taken=taken, transient=transient, headroom_ratio=HEADROOM)
    return _bounds(replicas, fits, pools.most_per_process, limits.for_users, limits.sku)


def _bounds(replicas: int, fits: int, per_process: int, for_users: int, sku: str) -> Bounds:
    maximum = max(1, min(LARGEST, fits))
    room = (
        f"{sku or 'the server'} has {for_users} connections for users and a replica may open {per_process},"
        f" so {fits} replicas fit, a rolling update included"
    )
    because = f"{room}; {LARGEST} is the most that is asked for" if fits >= LARGEST else room
    return Bounds(min(replicas, maximum), maximum, because)


def autoscaler(name: str, run: str, deployment: str, bounds: Bounds, applied_at: str) -> Manifest:
    """The HorizontalPodAutoscaler. It owns the Deployment's replica count from now on. Source: facts §7."""
    metric: dict[str, Any] = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name,
            "labels": manifests.labels(run),
            "annotations": {BECAUSE: bounds.because, APPLIED_AT: applied_at},
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": bounds.minimum,
            "maxReplicas": bounds.maximum,
            "metrics": [{"type": "Resource", "resource": metric}],
            "behavior": BEHAVIOUR,
        },
    }


def containers_without_request(deployment: Manifest) -> list[str]:
    """Containers without a CPU request: one of them makes the utilisation unknowable, and the autoscaler blind.

    Source: Kubernetes, Horizontal Pod Autoscaling, "how does it work". A limit alone counts as a request.
    """
    containers = deployments.pod_spec(deployment)["containers"]
    return [c["name"] for c in containers if not _has_cpu(c.get("resources") or {})]


def _has_cpu(resources: Manifest) -> bool:
    return any("cpu" in (resources.get(kind) or {}) for kind in ("requests", "limits"))


def autoscalers_of(found: Sequence[Manifest], deployment: str) -> list[Manifest]:
    """Those that scale this Deployment."""
    return [
        one
        for one in found
        if (one["spec"]["scaleTargetRef"]["kind"], one["spec"]["scaleTargetRef"]["name"]) == ("Deployment", deployment)
    ]


def sight(found: Manifest) -> tuple[bool, str]:
    """Whether it can see the pods' usage, and what it says of that; nothing while it has not looked yet."""
    for condition in (found.get("status") or {}).get("conditions") or []:
        if condition["type"] == "ScalingActive":
            return condition["status"] == "True", str(condition.get("message") or condition.get("reason") or "")
    return False, ""
