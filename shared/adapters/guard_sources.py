"""Make the guard's ports of one Deployment, and keep them: a tick must not fetch kubeconfig and secrets anew.

What is kept is made again after half an hour, and at once when the cluster has refused us or has not answered, so that
rotated credentials are picked up and one lost API server costs one tick.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from shared.adapters.cluster import KubernetesCluster
from shared.adapters.composition import Clients, client_maker
from shared.adapters.replica_health import ReplicasOfDeployment
from shared.adapters.session_statistics import KEPT as LOGIN_KEPT
from shared.adapters.session_statistics import PostgresSessions
from shared.errors import ConfigurationError
from shared.guard.ports import GuardPorts, MigrationWatch
from shared.guard.readings import Part, Reading
from shared.guard.targets import Guarded
from shared.guard.workload import ClusterWorkload
from shared.kubernetes import deployments
from shared.kubernetes.container_environment import read_database_address
from shared.model.migration import Target
from shared.model.ports import Manifest
from shared.model.settings import Settings
from shared.model.survey import DatabaseAddress
from shared.telemetry import Event, announce

KEPT = timedelta(minutes=30)
DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of `GuardPorts` that last longer than one tick."""

    connections: PostgresSessions
    workload: ClusterWorkload
    replicas: ReplicasOfDeployment
    made: float


class GuardConnector:
    """Makes `GuardPorts`. What talks to durable storage comes from the caller, for each tick."""

    def __init__(self, settings: Settings) -> None:
        self._clients = client_maker(settings)
        self._options = settings.libpq_options()
        self._login_kept = timedelta() if settings.postgres_auth == "entra" else LOGIN_KEPT
        self._kept: dict[Guarded, Sources] = {}
        self._lock = threading.Lock()

    def connect(self, guarded: Guarded, migration: MigrationWatch, roll_back: Callable[[str], None]) -> GuardPorts:
        """The ports of one Deployment; nothing connects before it is asked."""
        sources = self._sources(guarded)
        return GuardPorts(
            connections=sources.connections,
            workload=sources.workload,
            replicas=sources.replicas,
            migration=migration,
            actuator=WorkloadActuator(guarded.target, sources.workload, roll_back),
        )

    def review(self, guarded: Guarded, reading: Reading) -> None:
        """Forget clients through which the Deployment could not be read."""
        if reading.obstacle(Part.DEPLOYMENT) is not None:
            with self._lock:
                self._kept.pop(guarded, None)

    def _sources(self, guarded: Guarded) -> Sources:
        with self._lock:
            kept = self._kept.get(guarded)
            if kept is None or time.monotonic() - kept.made > KEPT.total_seconds():
                kept = self._kept[guarded] = self._make(guarded)
            return kept

    def _make(self, guarded: Guarded) -> Sources:
        clients = self._clients(guarded.target)
        return Sources(
            connections=sessions_of(guarded, clients, self._options, self._login_kept),
            workload=ClusterWorkload(clients.cluster, guarded.target.deployment),
            replicas=ReplicasOfDeployment(
                clients.cluster, cache(lambda: main_container(clients.cluster, guarded.target.deployment))
            ),
            made=time.monotonic(),
        )


class WorkloadActuator:
    """`shared.guard.ports.Actuator` on the cluster; `roll_back` starts the run's rollback orchestration."""

    def __init__(self, target: Target, workload: ClusterWorkload, roll_back: Callable[[str], None]) -> None:
        self._target = target
        self._workload = workload
        self._roll_back = roll_back

    def scale(self, replicas: int) -> None:
        self._workload.scale(replicas)

    def set_bounds(self, minimum: int, maximum: int) -> None:
        self._workload.set_bounds(minimum, maximum)

    def roll_back(self, run: str) -> None:
        self._roll_back(run)

    def undo_rollout(self, revision: int) -> None:
        self._workload.undo_rollout(revision)

    def call_operator(self, message: str) -> None:
        """An error in the log and an event in Application Insights: alert rules listen for both."""
        key = self._target.key
        sentence = f"guard calls the operator of {key}: {message}"
        about = {"deployment": key, "source": "guard", "reason": message}
        announce(Event.OPERATOR_NEEDED, sentence, about, level=logging.ERROR)


def sessions_of(
    guarded: Guarded, clients: Clients, options: dict[str, str], login_kept: timedelta = LOGIN_KEPT
) -> PostgresSessions:
    """The statistics of the database that this Deployment's DATABASE_URL names."""
    target = guarded.target

    def address() -> DatabaseAddress | None:
        found = _read_deployment(clients.cluster, target.deployment)
        containers = deployments.pod_spec(found)["containers"]
        addresses = (read_database_address(clients.cluster, container) for container in containers)
        return next((clients.admit(found) for found in addresses if found), None)

    return PostgresSessions(
        address,
        lambda: (clients.administrator(), clients.password()),
        options,
        application=guarded.policy.application,
        login_kept=login_kept,
    )


def main_container(cluster: KubernetesCluster, deployment: str) -> tuple[str, int]:
    """Name and port of Open WebUI's container: the one that has a DATABASE_URL, else the first."""
    containers: list[Manifest] = deployments.pod_spec(_read_deployment(cluster, deployment))["containers"]
    named = (c for c in containers if deployments.environment_entry(c, "DATABASE_URL"))
    main = next(named, containers[0])
    ports = main.get("ports") or []
    return str(main["name"]), int(ports[0]["containerPort"]) if ports else DEFAULT_PORT


def _read_deployment(cluster: KubernetesCluster, name: str) -> Manifest:
    found = cluster.read("Deployment", name)
    if found is None:
        raise ConfigurationError(f"there is no Deployment {name} in {cluster.namespace}")
    return found
