"""What the guard is allowed and how soon it acts: one policy for each Deployment.

Counts of readings are ticks; the defaults are made for a tick of one minute. Under each field stand its meaning, its
unit and the reason for its default, which `docs/guard.md` repeats from here.
"""

from dataclasses import dataclass, fields
from datetime import timedelta

from shared.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Policy:
    """Windows, thresholds, cooldowns and limits of the guard of one Deployment."""

    application: str = "open-webui"
    """Prefix of `application_name` of Open WebUI's own sessions; set it with the variable PGAPPNAME."""
    tick: timedelta = timedelta(minutes=1)
    """Period of the timer; a reading older than two ticks decides nothing."""
    window: int = 15
    """Readings. How far back the judge looks; longer than every other count below."""

    minimum_replicas: int = 1
    """Never fewer; set it to the migration's replica count."""
    maximum_replicas: int = 0
    """Never more, whatever the budget carries; 0: the budget alone decides."""
    largest_step: int = 4
    """Replicas added at once. A pod takes 24-48 s to be ready, so more only overshoots."""
    may_scale: bool = True
    """False: the guard calls the operator instead."""
    may_roll_back: bool = True
    """False: it calls the operator instead, inside the soak as well."""
    dry_run: bool = False
    """True: verdicts are recorded and nothing is changed, so effects are not verified."""

    readings_to_act: int = 2
    """Readings. One odd reading is not a condition; two minutes of one is."""
    readings_to_roll_back: int = 5
    """Readings, for a revision that was healthy before: it did not get worse by itself, and what it needs (Redis, the
    file share) restarts within two minutes. A revision that never was healthy needs only `readings_to_act`."""
    headroom: float = 0.1
    """Share of the user limit that stays free when replicas are added, as in the connection budget."""
    used_warning: float = 0.8
    """Share of the user limit at which the operator hears of it, while there is still room."""
    used_critical: float = 0.92
    """Share of the user limit at which one reading is enough: on a B1ms 2 connections are left."""

    busy_high: float = 0.7
    """Share of Open WebUI's pools in use above which queries start to wait: replicas are added."""
    busy_critical: float = 0.95
    """Share of the pools at which one reading is enough: requests wait already."""
    busy_target: float = 0.5
    """Share of the pools that a change of replicas aims at."""
    busy_low: float = 0.25
    """Share of the pools below which a replica is superfluous: one fewer stays below the target."""
    readings_to_scale_down: int = 10
    """Readings. Scaling down early costs users, late costs cents."""

    up_cooldown: timedelta = timedelta(minutes=2)
    """The last replicas must be ready and loaded before more are added."""
    down_cooldown: timedelta = timedelta(minutes=5)
    """Between two steps down; the HPA's default stabilisation window is the same."""
    calm: timedelta = timedelta(minutes=10)
    """At most one change of direction in it: this is what stops flapping."""
    readings_to_return: int = 5
    """Readings for which the budget must carry the old count before a cap is lifted."""

    startup_grace: timedelta = timedelta(minutes=1)
    """Start to ready takes 24-48 s; with the second reading a pod has two minutes."""
    start_patience: timedelta = timedelta(minutes=10)
    """Added replicas that are not ready by then are taken back."""
    settle: timedelta = timedelta(minutes=10)
    """After a failure of the database or a node pods come back late: no rollback meanwhile."""
    operator_patience: timedelta = timedelta(minutes=5)
    """A database failover takes 1-2 minutes and a lost replica restarts: they need nobody."""
    operator_repeat: timedelta = timedelta(minutes=30)
    """The same finding is told again only after this."""
    idle_in_transaction: timedelta = timedelta(minutes=10)
    """Age of an open transaction that does nothing but hold a connection, before it is told."""
    restarts: int = 3
    """Restarts of the Deployment's pods within the window, before they are told."""
    kept_verdicts: int = 100
    """Verdicts kept in the state, for GET /api/guard."""

    def __post_init__(self) -> None:
        """Refuse a policy that contradicts itself, naming every problem at once."""
        problems = [f"{rule} must hold" for rule, holds in self._rules() if not holds]
        if problems:
            raise ConfigurationError("The guard's policy is wrong: " + "; ".join(problems) + ".")

    def _rules(self) -> tuple[tuple[str, bool], ...]:
        """Every rule that the numbers keep, and whether they do."""
        values = [getattr(self, field.name) for field in fields(self)]
        numbers = [value for value in values if isinstance(value, int | float)]
        spans = [value for value in values if isinstance(value, timedelta)]
        counts = (
            self.readings_to_act,
            self.readings_to_roll_back,
            self.readings_to_scale_down,
            self.readings_to_return,
        )
        low, target, high, critical = self.busy_low, self.busy_target, self.busy_high, self.busy_critical
        return (
            ("every number >= 0", all(number >= 0 for number in numbers)),
            ("every time > 0", all(span > timedelta() for span in spans)),
            ("minimum_replicas >= 1", self.minimum_replicas >= 1),
            ("maximum_replicas 0 or >= minimum_replicas", not 0 < self.maximum_replicas < self.minimum_replicas),
            ("every count of readings >= 1", min(counts) >= 1),
            (f"window >= {max(counts)}, the longest count of readings", self.window >= max(counts)),
            ("busy_low < busy_target < busy_high <= busy_critical", low < target < high <= critical),
            ("used_warning <= used_critical <= 1", self.used_warning <= self.used_critical <= 1),
            ("down_cooldown <= calm", self.down_cooldown <= self.calm),
        )
