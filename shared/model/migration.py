"""The words of a migration, as frozen values.

A run is asked for by a `MigrationRequest`; its phases are planned from a `Brief` (request and survey); each step
answers with an `Outcome` that carries a plan or a `Progress`. All of them cross the wire (`shared.wire`) and stay in
durable history, so none of them ever holds a secret.
"""

import enum
from dataclasses import dataclass, field

from shared.model.survey import Survey
from shared.sizing.storage_costs import DISK_PER_GIB, FILES_PER_GIB
from shared.wire import JsonObject


class Mode(enum.StrEnum):
    """What a run does: only read and report, read and then migrate, or add later phases to what was migrated."""

    PLAN = "plan"
    MIGRATE = "migrate"
    PHASES = "phases"


LATER_PHASES = {
    "enable_autoscaling": "autoscaling",
    "install_monitoring": "monitoring",
    "load_test": "load_test",
    "write_handbook": "handbook",
    "retire_source": "retire_source",
}
"""Phases that a migration leaves out unless this option asks for them, and that can be run alone afterwards."""


class RunState(enum.StrEnum):
    """How a run stands, or how it ended."""

    RUNNING = "running"
    PLANNED = "planned"
    REFUSED = "refused"  # the plan found a blocking problem: nothing was changed
    MIGRATED = "migrated"
    APPLIED = "applied"  # later phases were added to an installation that had been migrated
    ROLLED_BACK = "rolled_back"
    HALTED = "halted"  # an operator decides; the healthy side serves


class PhaseState(enum.StrEnum):
    """How one phase of a run stands."""

    PENDING = "pending"
    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"
    SKIPPED = "skipped"  # not asked for, or nobody approved it: nothing was done


@dataclass(frozen=True, slots=True)
class Target:
    """Where the Open WebUI to migrate lives. The defaults are the runbook's names."""

    subscription_id: str
    resource_group: str
    cluster: str
    key_vault: str
    """URL of the vault, `https://<name>.vault.azure.net`."""
    postgres_server: str
    postgres_resource_group: str = ""
    """Empty: the cluster's resource group."""
    namespace: str = "ollama"
    deployment: str = "open-webui"
    service: str = "open-webui"
    disk_claim: str = "open-webui-disk-pvc"
    files_claim: str = "open-webui-files-pvc"
    database: str = "openwebui"
    admin_user: str = ""
    """Empty: the server's administrator login."""
    admin_password_secret: str = "postgres-admin-password"  # noqa: S105 - the name of a secret, not a secret

    @property
    def key(self) -> str:
        """Names the Deployment among all that this app may migrate: one run at a time per key."""
        return f"{self.cluster}-{self.namespace}-{self.deployment}"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator may choose; every default is the safe choice."""

    replicas: int = 3
    """Pods in the end, 1 to 20; fewer when the connection budget allows fewer."""
    approval: bool = False
    """Wait for `POST …/approve` before Open WebUI is stopped."""
    approval_deadline_seconds: int = 24 * 3600
    """After it an unapproved run is undone."""
    cut_over_deadline_seconds: int = 900
    """Longest time from the stop to the switch; after it the old pod comes back."""
    retire_source: bool = False
    """Delete the old disk at the very end, after an approval that names it. There is no way back from that."""
    retire_deadline_seconds: int = 14 * 24 * 3600
    """How long that approval may take; without it the disk stays."""
    native_dimension: bool = False
    """Make the vector column as wide as the embeddings are, instead of Open WebUI's default of 1536."""
    storage_class: str = "azurefile-csi-premium"
    """Of the new claim: one whose volumes many pods can mount."""
    share_size: str = "100Gi"
    """The smallest Azure Files Premium share. Source: facts §1.8."""
    volume_snapshot: bool = True
    """Take a VolumeSnapshot of the disk before anything is changed, where the cluster has a class for its driver."""
    unused_storage_class: str = ""
    """A StorageClass to remove in phase 2 (runbook step 2.2); empty: none."""
    redis_image: str = "redis:7.4-alpine"
    """Used only where the Deployment has no REDIS_URL."""
    workers: int = 2
    """Database connections of the mover."""
    throttle_rows_per_second: int = 0
    """0: as fast as the budget's connections go."""
    full_verification: bool = False
    """Read every row back, beyond counts and digests."""
    enable_pgbouncer: bool = False
    """Turn on the server's PgBouncer and let Open WebUI connect through it; Burstable tiers have none."""
    force_conflicts: bool = False
    """Take over fields that another field manager owns, instead of stopping with the list of conflicts."""
    disk_price_per_gib: float = DISK_PER_GIB
    """US dollars a month for the report's costs; the runbook's price. Yours: the Azure pricing calculator."""
    files_price_per_gib: float = FILES_PER_GIB
    """The same for the share."""
    soak_seconds: int = 3600
    """How long after the migration the health guard may roll back by itself."""
    autoscaling: bool = False
    """Phase 6: add a HorizontalPodAutoscaler, from `replicas` up to what the connections allow, at most 20."""
    monitoring: bool = False
    """Phase 7: add alert rules and a Grafana dashboard for what is installed."""
    load_test: bool = False
    """Phase 8: put a load of test users on the service, judge it, and recommend replicas and pools."""
    load_test_users: int = 200
    """How many work at the same time."""
    load_test_seconds: int = 120
    """How long one trial lasts after the last user came; they take as long to come, a minute at most."""
    load_test_trials: int = 4
    """Replica counts and pool sizes to try at most; 1 only measures the service as it stands."""
    load_test_secret: str = "open-webui-administrator"  # noqa: S105 - the name of a secret, not a secret
    """In the key vault: `email:password` or an API key of an administrator of Open WebUI, who makes the test users."""
    load_test_image: str = "locustio/locust:2.47.0"
    """Of the load test's Job: any image with Locust and python3."""
    handbook: bool = False
    """Phase 9: read this installation's limits and sizes for `GET /api/migrations/{id}/handbook`."""


@dataclass(frozen=True, slots=True)
class MigrationRequest:
    """What `POST /api/migrations` asks for."""

    target: Target
    mode: Mode = Mode.PLAN
    options: Options = Options()
    phases: tuple[str, ...] = ()
    """With mode `phases`: which of the later phases to run on what was migrated before."""

    def wants(self, phase: str) -> bool:
        """Whether this later phase was asked for."""
        if self.mode is Mode.PHASES:
            return phase in self.phases
        return bool(getattr(self.options, LATER_PHASES[phase]))


@dataclass(frozen=True, slots=True)
class Change:
    """One object that a phase will create, change or delete."""

    action: str
    """create | change | delete | keep"""
    kind: str
    name: str
    detail: str = ""
    """A diff or a sentence; never a secret's value."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a phase plans from."""

    run: str
    """Name of the run, fit for labels and object names."""
    request: MigrationRequest
    survey: Survey


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one call of `apply` or `undo` has come."""

    finished: bool
    step: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    check_again_in_seconds: float = 1.0
    interruptible: bool = True
    """False between the old pod's stop and the new one's first answer: a pause would only lengthen the downtime."""
    awaits: str = ""
    """Name of an external event that must come before the next call (the approval gate)."""
    down_since: str = ""
    """ISO time at which Open WebUI stopped answering; empty when it was not stopped."""
    answering_since: str = ""
    result: JsonObject = field(default_factory=dict)
    """What this phase adds to the run's report."""


NOT_ASKED_FOR = Progress(finished=True, step="not asked for", result={"skipped": True})
"""What a later phase answers that nobody wants."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an activity answers: never an exception, except TransientError, which Durable retries."""

    phase: str
    state: str
    """done | failed"""
    message: str = ""
    hint: str = ""
    needs_operator: bool = False
    result: JsonObject | None = None

    @property
    def failed(self) -> bool:
        return self.state == "failed"
