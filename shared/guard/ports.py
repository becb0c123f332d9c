"""What observing and acting need from the world; adapters implement it.

The guard asks each source for its own part, each with its own deadline, so that one that hangs costs one part of a
reading and not the tick. A source raises `TransientError` (unreachable) or `PermissionMissing` (forbidden); a server
that has no connection left raises `NoConnectionLeft`. `Unread` records which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.errors import TransientError
from shared.guard.readings import Answer, Autoscaler, Connections, Deployment, Event, MigrationState, Pod


class NoConnectionLeft(TransientError):
    """The database answered SQLSTATE 53300: all connections for users are taken."""


class ConnectionStatistics(Protocol):
    """The database server's sessions and limits."""

    def read_connections(self) -> Connections:
        """Open one connection (application_name `scaleout-guard`), read, and close it."""


class Workload(Protocol):
    """The Deployment, its pods and its autoscaler."""

    def read_deployment(self) -> Deployment:
        """Spec, status, revision and pool sizes; ConfigurationError when there is no such Deployment."""

    def list_pods(self) -> Sequence[Pod]:
        """Pods of every revision, ending ones included, each with its node's readiness."""

    def read_autoscaler(self) -> Autoscaler | None:
        """The HPA whose scaleTargetRef is the Deployment; None when there is none."""

    def list_events(self, since: datetime) -> Sequence[Event]:
        """Warnings about the Deployment and its pods."""


class ReplicaHealth(Protocol):
    """Open WebUI's own word, from every replica and not through the Service."""

    def ask_replicas(self, pods: Sequence[str]) -> Sequence[Answer]:
        """`GET /ready` on each, at the same time; no answer is an `Answer` with status None, not an error."""


class MigrationWatch(Protocol):
    """What the migration is doing to the Deployment."""

    def read_migration(self) -> MigrationState:
        """The last run, the phase that is running, and the end of the soak."""


class Actuator(Protocol):
    """Carries a verdict out. Every method is idempotent: asking twice for the same is asking once."""

    def scale(self, replicas: int) -> None:
        """Set the Deployment's replicas; only where there is no autoscaler."""

    def set_bounds(self, minimum: int, maximum: int) -> None:
        """Set the autoscaler's minReplicas and maxReplicas."""

    def roll_back(self, run: str) -> None:
        """Start the run's rollback orchestration, the same that `POST …/rollback` starts."""

    def undo_rollout(self, revision: int) -> None:
        """Put the Deployment's pod template back to that of this revision."""

    def call_operator(self, message: str) -> None:
        """Raise the alert; the message is the verdict's sentence."""


@dataclass(frozen=True, slots=True)
class GuardPorts:
    """All of it, for one guarded Deployment."""

    connections: ConnectionStatistics
    workload: Workload
    replicas: ReplicaHealth
    migration: MigrationWatch
    actuator: Actuator
