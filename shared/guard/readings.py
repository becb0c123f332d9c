"""What one look at a Deployment and its database found.

A part that could not be read is None and stands in `Reading.unread` with the reason: unread is not unhealthy, and the
judge treats the two differently. Everything here is plain JSON on the wire (`shared.wire`) and holds no secret.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.sizing.connection_budget import PoolSizes, ServerLimits

UPSTREAM_POOLS = PoolSizes(5, 10, 5, 10)
"""What Open WebUI opens when no pool size is set: SQLAlchemy's defaults. Source: facts §1.3."""

BUSY_STATES = frozenset({"active", "idle in transaction", "idle in transaction (aborted)", "fastpath function call"})
"""States in which a session is in somebody's hands. Source: PostgreSQL, pg_stat_activity.state."""


class Part(enum.StrEnum):
    """What a reading is made of."""

    CONNECTIONS = "connections"
    DEPLOYMENT = "deployment"
    PODS = "pods"
    AUTOSCALER = "autoscaler"
    EVENTS = "events"
    ANSWERS = "answers"
    MIGRATION = "migration"


class Obstacle(enum.StrEnum):
    """Why a part could not be read."""

    UNREACHABLE = "unreachable"
    FORBIDDEN = "forbidden"
    NO_CONNECTION_LEFT = "no_connection_left"  # SQLSTATE 53300: the server is there and full, which is a finding


@dataclass(frozen=True, slots=True)
class Unread:
    """One part that is missing from a reading, and why."""

    part: Part
    obstacle: Obstacle
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Client sessions of one application in one state: a row of pg_stat_activity grouped by both.

    Count `backend_type = 'client backend'` of every role: Azure's own sessions take from the users' share as well,
    because the reserved connections are those that must stay free. Source: PostgreSQL, reserved_connections.
    """

    application: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Connections:
    """The server's sessions against its limits. `latency`: of one `select 1` on the guard's own connection."""

    sessions: tuple[Sessions, ...]
    limits: ServerLimits
    longest_idle_in_transaction: timedelta = timedelta()
    latency: timedelta = timedelta()

    @property
    def used(self) -> int:
        """All client sessions, the guard's own among them."""
        return sum(group.count for group in self.sessions)


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """One revision of the Deployment; `ready` as its status says."""

    revision: int
    wanted: int
    ready: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """The Deployment as its spec and status stand.

    `pools`: as its environment sets them, upstream's defaults otherwise. `max_surge`: in pods, percentages resolved.
    `deadline_exceeded`: condition Progressing is False with ProgressDeadlineExceeded.
    """

    replicas: int
    revision: int
    pools: PoolSizes = UPSTREAM_POOLS
    max_surge: int = 1
    deadline_exceeded: bool = False
    replica_sets: tuple[ReplicaSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of the Deployment.

    `running_since`: when its current container started, None while it has none (pending, pulling, waiting).
    `waiting_reason`: of the container, such as CrashLoopBackOff. `ending`: it has a deletion timestamp.
    `node_ready`: False when its node is not Ready or unreachable.
    """

    name: str
    revision: int
    ready: bool
    running_since: datetime | None
    restarts: int = 0
    waiting_reason: str = ""
    out_of_memory: bool = False
    ending: bool = False
    node_ready: bool = True


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """A HorizontalPodAutoscaler; `desired` from its status; `utilisation`: its first metric, percent of requests."""

    name: str
    minimum: int
    maximum: int
    desired: int
    utilisation: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one replica's `/ready` answered: the HTTP status, None when nothing came back."""

    pod: str
    status: int | None
    latency: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes warning about the Deployment or its pods, kept for the report; the judge does not decide on it."""

    at: datetime
    reason: str
    subject: str
    message: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class MigrationState:
    """What the migration is doing to this Deployment.

    `run`: the last run's name, empty when there was none. `phase`: the one running now, empty when none is.
    `restarts_pods`: that phase stops or replaces pods on purpose. `soak_until`: until then the guard may ask for the
    run's rollback; None outside a soak or once the source was retired.
    """

    run: str = ""
    phase: str = ""
    restarts_pods: bool = False
    soak_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `autoscaler` is None both when there is none and when it could not be read; `unread` tells which."""

    at: datetime
    connections: Connections | None = None
    deployment: Deployment | None = None
    pods: tuple[Pod, ...] | None = None
    autoscaler: Autoscaler | None = None
    answers: tuple[Answer, ...] | None = None
    events: tuple[Event, ...] = ()
    migration: MigrationState = MigrationState()
    unread: tuple[Unread, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether any part is missing."""
        return bool(self.unread)

    def obstacle(self, part: Part) -> Obstacle | None:
        """Why `part` is missing; None when it was read."""
        return next((missing.obstacle for missing in self.unread if missing.part is part), None)
