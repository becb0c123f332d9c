"""What the preflight finds before anything is changed: one `Survey`, from which every later phase plans.

Frozen values that cross the wire (`shared.wire`) and stay in durable history, so none of them ever holds a secret.
"""

import enum
from dataclasses import dataclass, field

from shared.sizing.connection_budget import ConnectionBudget, ServerLimits
from shared.wire import JsonObject


class Severity(enum.StrEnum):
    """How much a finding matters: blocking stops the run before anything is changed."""

    BLOCKING = "blocking"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a plan, with what to do about it."""

    code: str
    severity: Severity
    message: str
    hint: str = ""
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where Open WebUI's database is, as its own DATABASE_URL says, without the password."""

    host: str
    port: int
    name: str
    role: str
    """The application's role: it must own `document_chunk`. Source: facts §2."""
    pooled: bool = False
    """DATABASE_URL leads to PgBouncer; `port` is the server's own."""


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """`document_chunk` as it was found."""

    rows: int
    dimension: int
    column_type: str
    owner: str
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What the preflight reads from PostgreSQL."""

    version: str
    limits: ServerLimits
    sessions: int
    """Sessions of other clients, beside Open WebUI's own."""
    extensions: dict[str, str]
    """Installed extension → version."""
    available_extensions: dict[str, str]
    chunk_table: ChunkTable | None = None
    ledger_exists: bool = False
    grants: dict[str, bool] = field(default_factory=dict)
    """Privilege (`phases.reading.problems.GRANTS`) → whether it is held."""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """What the phases need to know of the user's Deployment, without its literal values."""

    container: str
    image: str
    replicas: int
    strategy: str
    mount_path: str
    """Open WebUI's data directory in the container."""
    volume: str
    """The pod volume that is the disk claim."""
    port: int
    labels: dict[str, str]
    """matchLabels of its selector."""
    environment: tuple[str, ...]
    """Names of the variables that are set."""
    pod: str
    node: str
    digest: str
    """Of the whole spec: tells whether somebody changed it after the plan."""
    sub_path: str = ""
    """Where on the volume the data directory is; empty: its root. On the share it is at the same place."""


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """The source volume and the classes around it."""

    volume: str
    reclaim_policy: str
    size: str
    storage_class: str
    files_claim_exists: bool = False
    going: tuple[str, ...] = ()
    """Claims of ours that somebody deleted: they go as soon as no pod names them."""
    target_class_exists: bool = False
    unused_class_exists: bool = False


@dataclass(frozen=True, slots=True)
class ServerFactsBrief:
    """What Azure says of the database server."""

    name: str
    version: str
    sku: str
    tier: str
    allow_list: tuple[str, ...]
    """`azure.extensions`, upper case."""
    pgbouncer: str = ""
    """`pgbouncer.enabled`, true or false; empty where the tier has none."""
    pgbouncer_port: int = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything the preflight found; later phases plan from it. A part that could not be read is None."""

    problems: tuple[Problem, ...] = ()
    deployment: DeploymentFacts | None = None
    address: DatabaseAddress | None = None
    database: DatabaseFacts | None = None
    server: ServerFactsBrief | None = None
    storage: StorageFacts | None = None
    store: JsonObject = field(default_factory=dict)
    """The mover's `inspect` result: collections, rows, files, models."""
    budget: ConnectionBudget | None = None
    pooler_port: int = 0
    """PgBouncer's, when the migration leads Open WebUI through it; 0: its DATABASE_URL stays as it is."""
    column_dimension: int = 1536
    half_precision: bool = False

    @property
    def blocked(self) -> bool:
        return any(problem.severity is Severity.BLOCKING for problem in self.problems)
