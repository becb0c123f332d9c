"""How many database connections there are, and how they are shared out. Pure: values in, values out.

A PostgreSQL server refuses the connection after its last one, so the pools of every pod that can be alive at once, the
guard, the mover and whoever else is connected must fit under the limit for users, in every state of a rolling update:

    for_users  ≥  headroom + other + guard + mover + pods alive at once × most connections of one process

Three things make the right side larger than it looks.
- One Open WebUI process has three SQLAlchemy engines: a sync and an async one sharing one pair of settings, and
  pgvector's. Source: Open WebUI 0.12.4, internal/db.py and retrieval/vector/dbs/pgvector.py.
- A pool size of 0 is not "none": it selects NullPool, which opens connections without limit. So no pool is ever 0 here.
- During a rolling update a Deployment does not count pods that are ending: at each step there are replicas + surge pods
  and, until their grace period is over, those just replaced. Source: KEP-3973, podReplacementPolicy.

When the wish does not fit, concessions are made in this order, each said in the reason: smaller pools (down to
`MINIMUM`), the mover on one connection, no surge. Only then is the server too small, and the budget says which will do.
"""

from dataclasses import dataclass, fields
from typing import Literal

from shared.errors import ConfigurationError
from shared.sizing.azure_skus import AZURE_SKUS, PGBOUNCER_CLIENTS, PGBOUNCER_POOL

Needs = Literal["none", "pgbouncer", "larger_sku"]

MINIMUM = 5
"""Connections of one process below which Open WebUI is not usable: 2 in each of the sync and async engines (with one, a
slow query starves the `/ready` ping behind it, and the pod drops out of the Service), 1 for vectors."""

COMFORTABLE = 22
"""What one replica used at 20 concurrent queries. Measured on 0.12.4: 8 idle, 22 at 20; three replicas 20 and 61."""

LARGEST = 45
"""Upstream's own default, 3 × (5 + 10). More does not help: a process is one event loop and about 40 worker threads."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server says: `SHOW max_connections`, `reserved_connections`, `superuser_reserved_connections`.

    `sku` and `tier` are ARM's words ("Standard_B1ms", "Burstable"), empty when unknown. `pgbouncer`: the built-in one
    is on and the pods connect through it.
    """

    max_connections: int
    reserved_connections: int
    superuser_reserved_connections: int
    sku: str = ""
    tier: str = ""
    pgbouncer: bool = False

    @property
    def for_users(self) -> int:
        """Connections an ordinary role can open."""
        return max(0, self.max_connections - self.reserved_connections - self.superuser_reserved_connections)


@dataclass(frozen=True, slots=True)
class PoolSizes:
    """Open WebUI's pool settings, in connections of one process; an overflow is opened on demand, closed on return."""

    database_pool_size: int
    database_max_overflow: int
    pgvector_pool_size: int
    pgvector_max_overflow: int

    @property
    def most_per_process(self) -> int:
        """The database pair counts twice: the sync and the async engine each have their own pool of that size."""
        database = self.database_pool_size + self.database_max_overflow
        return 2 * database + self.pgvector_pool_size + self.pgvector_max_overflow

    def as_environment(self) -> dict[str, str]:
        """The variables Open WebUI reads. `PGVECTOR_POOL_*` only counts when `PGVECTOR_DB_URL` is set (its default)."""
        return {
            "DATABASE_POOL_SIZE": str(self.database_pool_size),
            "DATABASE_POOL_MAX_OVERFLOW": str(self.database_max_overflow),
            "PGVECTOR_POOL_SIZE": str(self.pgvector_pool_size),
            "PGVECTOR_POOL_MAX_OVERFLOW": str(self.pgvector_max_overflow),
        }


@dataclass(frozen=True, slots=True)
class Demand:
    """What is wanted: pods and sessions that may be alive at the same time.

    `autoscaler_maximum`: the HPA's wish, None without one. `other_connections`: user sessions already there that are
    not ours (other databases, an operator's psql). `max_surge`: pods above the replica count during a rolling update.
    """

    replicas: int
    max_surge: int = 1
    autoscaler_maximum: int | None = None
    guard_connections: int = 1
    mover_connections: int = 2
    other_connections: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, naming every problem at once."""
        least = {"replicas": 1, "autoscaler_maximum": 1}
        given = [(field.name, getattr(self, field.name), least.get(field.name, 0)) for field in fields(self)]
        problems = [f"{name} is {n}, must be at least {low}" for name, n, low in given if n is not None and n < low]
        if problems:
            raise ConfigurationError("The connection budget cannot be planned: " + "; ".join(problems) + ".")


@dataclass(frozen=True, slots=True)
class ConnectionBudget:
    """Who may open how many connections.

    - `replicas`: as wished, or as many as fit when the server is too small (never below one).
    - `largest_replica_count`: what fits with these pools, a rolling update included: the ceiling for the HPA and the
      guard (0: not even one). `connections_at_peak` ≤ `for_users` whenever it is at least 1.
    - `max_surge`: 0 means the Deployment must use maxUnavailable 1.
    - `recommended_sku`: the smallest that gives comfortable pools; None when these are, or when no size would do.
    - `states`: (name, server connections) of every state of a rolling update, all pools full.
    """

    pools: PoolSizes
    replicas: int
    largest_replica_count: int
    max_surge: int
    connections_at_peak: int
    for_users: int
    mover_connections: int
    sufficient: bool
    needs: Needs
    recommended_sku: str | None
    reason: str
    states: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Allotment:
    """One way to share the connections out: `room` is what all pods together may open, `per_process` what one does."""

    room: int
    per_process: int
    max_surge: int
    mover: int

    @property
    def largest(self) -> int:
        """Replicas that fit, the pods of a rolling update included."""
        return max(0, self.room // self.per_process - transient_pods(self.max_surge))


def plan_budget(limits: ServerLimits, demand: Demand, *, headroom_ratio: float = 0.1) -> ConnectionBudget:
    """Share the server's connections out. `headroom_ratio` of the user limit stays free for whoever was not planned.

    A tenth is 3 of a B1ms's 35: an operator's psql, a backup and one more.
    """
    allotment = _first_that_fits(limits, demand, headroom_ratio)
    replicas = min(demand.replicas, max(1, allotment.largest))
    sufficient = allotment.largest >= demand.replicas
    states = _states(limits, demand, allotment, replicas)
    missing = _what_is_missing(limits, demand, headroom_ratio, sufficient, allotment.per_process)
    peak = max(connections for _, connections in states)
    return ConnectionBudget(
        pools=split_pools(allotment.per_process),
        replicas=replicas,
        largest_replica_count=allotment.largest,
        max_surge=allotment.max_surge,
        connections_at_peak=peak,
        for_users=limits.for_users,
        mover_connections=allotment.mover,
        sufficient=sufficient,
        needs=missing[0],
        recommended_sku=missing[1],
        reason=_reason(limits, demand, allotment, missing, peak),
        states=states,
    )


def replicas_that_fit(
    limits: ServerLimits, per_process: int, *, taken: int, transient: int = 0, headroom_ratio: float = 0.0
) -> int:
    """Count the replicas that the server carries now; 0 when not even one.

    `taken`: sessions of others that are there, the guard's included. `transient`: pods beyond the replica count to keep
    room for (`transient_pods`), 0 to ask only what fits as things stand.
    """
    return max(0, _room(limits, taken, headroom_ratio) // per_process - transient)


def split_pools(per_process: int) -> PoolSizes:
    """Divide the connections of one process among its three engines, evenly. 45 gives upstream's 15, 15 and 15.

    Half of each pool stays open, because opening one to Azure costs a TLS handshake of tens of milliseconds.
    """
    database = (per_process + 1) // 3
    vectors = per_process - 2 * database
    return PoolSizes((database + 1) // 2, database // 2, (vectors + 1) // 2, vectors // 2)


def transient_pods(max_surge: int) -> int:
    """Pods alive above the replica count at the worst moment of a rolling update: those starting and those ending.

    With a surge, as many end as started. Without one (maxUnavailable 1) the replacement starts while the old pod ends.
    Holds while a new pod takes longer to be ready (24-48 s, or minReadySeconds) than an old one to end (30 s at most).
    """
    return 2 * max_surge if max_surge else 1


def _first_that_fits(limits: ServerLimits, demand: Demand, headroom_ratio: float) -> _Allotment:
    """Concede the mover's second connection, then the surge; the last concession stands even when it does not fit."""
    least_mover = min(1, demand.mover_connections)
    concessions = ((demand.max_surge, demand.mover_connections), (demand.max_surge, least_mover), (0, least_mover))
    allotment = _allot(limits, demand, headroom_ratio, *concessions[0])
    for max_surge, mover in concessions:
        allotment = _allot(limits, demand, headroom_ratio, max_surge, mover)
        if allotment.largest >= demand.replicas:
            break
    return allotment


def _allot(limits: ServerLimits, demand: Demand, headroom_ratio: float, max_surge: int, mover: int) -> _Allotment:
    """Size the pools: comfortable for as many replicas as the autoscaler wants, smaller only for those wished."""
    room = _room_for_pods(limits, demand, headroom_ratio, mover)
    extra = transient_pods(max_surge)
    wanted = max(demand.replicas, demand.autoscaler_maximum or 0)
    at_comfort = room // COMFORTABLE - extra
    sized_for = max(demand.replicas, min(wanted, at_comfort))
    per_process = min(LARGEST, max(MINIMUM, room // (sized_for + extra)))
    return _Allotment(room, per_process, max_surge, mover)


def _room_for_pods(limits: ServerLimits, demand: Demand, headroom_ratio: float, mover: int) -> int:
    """Connections all pods may open together, when every session that was planned for is there."""
    return _room(limits, demand.other_connections + demand.guard_connections + mover, headroom_ratio)


def _room(limits: ServerLimits, taken: int, headroom_ratio: float) -> int:
    """The server's connections, less headroom and those taken; PgBouncer's clients when its own pool fits in there."""
    room = max(0, limits.for_users - int(limits.for_users * headroom_ratio) - taken)
    if limits.pgbouncer:
        return PGBOUNCER_CLIENTS if room >= PGBOUNCER_POOL else 0
    return room


def _states(limits: ServerLimits, demand: Demand, allotment: _Allotment, replicas: int) -> tuple[tuple[str, int], ...]:
    """Server connections in every state of a rolling update, all pools full."""
    fixed = demand.other_connections + demand.guard_connections + allotment.mover

    def connections(pods: int) -> int:
        opened = pods * allotment.per_process
        return fixed + (min(opened, PGBOUNCER_POOL) if limits.pgbouncer else opened)

    surge, extra = allotment.max_surge, transient_pods(allotment.max_surge)
    ceiling = max(replicas, min(demand.autoscaler_maximum or 0, allotment.largest))
    return (
        ("one replica", connections(1)),
        ("all replicas", connections(replicas)),
        ("rolling update, new pods starting", connections(replicas + surge)),
        ("rolling update, old pods ending", connections(replicas + extra)),
        ("autoscaler at its maximum", connections(ceiling)),
        ("autoscaler at its maximum, rolling update", connections(ceiling + extra)),
    )


def _what_is_missing(
    limits: ServerLimits, demand: Demand, headroom_ratio: float, sufficient: bool, per_process: int
) -> tuple[Needs, str | None]:
    """PgBouncer costs nothing where the tier has it; otherwise a larger SKU."""
    if sufficient and per_process >= COMFORTABLE:
        return "none", None
    recommended = _smallest_comfortable_sku(limits, demand, headroom_ratio)
    if sufficient:
        return "none", recommended
    if limits.tier in {"GeneralPurpose", "MemoryOptimized"} and not limits.pgbouncer:
        return "pgbouncer", recommended
    return "larger_sku", recommended


def _smallest_comfortable_sku(limits: ServerLimits, demand: Demand, headroom_ratio: float) -> str | None:
    """Look among the larger sizes; never from a better tier back to Burstable. None when the largest is too small."""
    for sku in AZURE_SKUS:
        if sku.for_users <= limits.for_users or (limits.tier not in {"", "Burstable"} and not sku.has_pgbouncer):
            continue
        server = ServerLimits(sku.max_connections, sku.max_connections - sku.for_users, 0, sku.name, sku.tier)
        allotment = _allot(server, demand, headroom_ratio, demand.max_surge, demand.mover_connections)
        if allotment.per_process >= COMFORTABLE and allotment.largest >= demand.replicas:
            return sku.name
    return None


def _reason(
    limits: ServerLimits, demand: Demand, allotment: _Allotment, missing: tuple[Needs, str | None], peak: int
) -> str:
    """Say it with numbers, in one paragraph for the plan and the report."""
    needs, recommended = missing
    sentences = [
        f"{limits.sku or 'The server'} has {limits.for_users} connections for users; with at most"
        f" {allotment.per_process} a process, {allotment.largest} replicas fit, and the peak is {peak}"
        f" (surge {allotment.max_surge}, mover {allotment.mover}, guard {demand.guard_connections},"
        f" other {demand.other_connections})."
    ]
    if allotment.largest < demand.replicas:
        sentences.append(f"{demand.replicas} replicas do not fit even with {MINIMUM} connections each.")
    elif (allotment.max_surge, allotment.mover) != (demand.max_surge, demand.mover_connections):
        sentences.append(f"To make {demand.replicas} fit, the surge or the mover's connections were reduced.")
    if (demand.autoscaler_maximum or 0) > allotment.largest:
        sentences.append(f"The autoscaler's maximum of {demand.autoscaler_maximum} is lowered to {allotment.largest}.")
    if limits.max_connections < _default_of(limits.sku):
        sentences.append(f"This SKU allows max_connections {_default_of(limits.sku)}; it is set to less.")
    if needs == "pgbouncer":
        sentences.append("Turn the built-in PgBouncer on: it needs no restart.")
    if recommended:
        sentences.append(
            f"{recommended} would give every process {COMFORTABLE} or more; set max_connections too, which a change of"
            " SKU does not do."
        )
    return " ".join(sentences)


def _default_of(sku: str) -> int:
    """`max_connections` of a new server of this SKU; 0 when the SKU is not in the table."""
    return next((known.max_connections for known in AZURE_SKUS if known.name == sku), 0)
