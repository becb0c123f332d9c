"""What happens by itself in a cluster: the controllers and the scheduler.

Each controller is a small loop of its own (`runtime`), triggered by events; what is difficult in them is pure and
stands apart: `rolling_update`, `rollout_status`, `stateful_steps`, `completion`, `volume_matching`, `placement`,
`autoscaling`.
"""

from dataclasses import dataclass
from datetime import timedelta

from local.cluster.controllers.attachment import AttachmentController
from local.cluster.controllers.autoscaler import Autoscaler
from local.cluster.controllers.deployment import DeploymentController
from local.cluster.controllers.disruption_budget import DisruptionBudgetController
from local.cluster.controllers.endpoints import EndpointsController
from local.cluster.controllers.event_expiry import EventExpiry
from local.cluster.controllers.garbage_collection import GarbageCollector, NamespaceController
from local.cluster.controllers.job import JobController
from local.cluster.controllers.node_lifecycle import NodeLifecycleController
from local.cluster.controllers.replica_set import ReplicaSetController
from local.cluster.controllers.runtime import Controller, Controllers
from local.cluster.controllers.scheduler import Scheduler
from local.cluster.controllers.service_accounts import ServiceAccountController
from local.cluster.controllers.stateful_set import StatefulSetController
from local.cluster.controllers.volume_binding import ClaimController, VolumeController
from local.cluster.kubelet_proxy import KubeletProxy
from local.cluster.registry import Registry


@dataclass(frozen=True, slots=True)
class Timing:
    """The waits that tests shorten; the defaults are Kubernetes'."""

    autoscaler_sync: timedelta = timedelta(seconds=15)
    autoscaler_haste: float = 1.0
    """How many times as fast as the clock its windows and periods pass."""
    job_backoff: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Running:
    controllers: Controllers
    autoscaler: Autoscaler

    async def stop(self) -> None:
        await self.autoscaler.stop()
        await self.controllers.stop()


def event_driven(registry: Registry, timing: Timing) -> tuple[Controller, ...]:
    """Return all controllers but the autoscaler, which looks at its pods by the clock."""
    return (
        ServiceAccountController(registry),
        DeploymentController(registry),
        ReplicaSetController(registry),
        StatefulSetController(registry),
        JobController(registry, timing.job_backoff),
        ClaimController(registry),
        VolumeController(registry),
        Scheduler(registry),
        AttachmentController(registry),
        EndpointsController(registry),
        DisruptionBudgetController(registry),
        GarbageCollector(registry),
        NamespaceController(registry),
        NodeLifecycleController(registry),
        EventExpiry(registry),
    )


def start(registry: Registry, kubelets: KubeletProxy, timing: Timing) -> Running:
    """Start everything on the running event loop."""
    controllers = Controllers(registry, event_driven(registry, timing))
    controllers.start()
    autoscaler = Autoscaler(registry, kubelets, timing.autoscaler_sync, timing.autoscaler_haste)
    autoscaler.start()
    return Running(controllers, autoscaler)
