"""What happens by itself in a cluster: the controllers and the scheduler.

Each controller is a small loop of its own (`runtime`), triggered by events; what is difficult in them is pure and
stands apart: `rolling_update`, `rollout_status`, `stateful_steps`, `completion`, `volume_matching`, `placement`,
`autoscaling`.
"""

from dataclasses import dataclass
from datetime import timedelta

from local.kubernetes.api_server.kubelet_proxy import KubeletProxy
from local.kubernetes.controllers.autoscaler import Autoscaler
from local.kubernetes.controllers.disruption_budget import DisruptionBudgetController
from local.kubernetes.controllers.endpoints import EndpointsController
from local.kubernetes.controllers.event_expiry import EventExpiry
from local.kubernetes.controllers.garbage_collection import GarbageCollector, NamespaceController
from local.kubernetes.controllers.runtime import Controller, Controllers
from local.kubernetes.controllers.scheduling.node_lifecycle import NodeLifecycleController
from local.kubernetes.controllers.scheduling.scheduler import Scheduler
from local.kubernetes.controllers.service_accounts import ServiceAccountController
from local.kubernetes.controllers.volumes.attachment import AttachmentController
from local.kubernetes.controllers.volumes.volume_binding import ClaimController, VolumeController
from local.kubernetes.controllers.workloads.deployment import DeploymentController
from local.kubernetes.controllers.workloads.job import JobController
from local.kubernetes.controllers.workloads.replica_set import ReplicaSetController
from local.kubernetes.controllers.workloads.stateful_set import StatefulSetController
from local.kubernetes.registry.registry import Registry


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
