"""The PgBouncer that a Flexible Server brings along: when it helps, and how Open WebUI is led through it. Pure.

It lends server connections for one transaction at a time, so clients may be many where server connections are few. Two
things follow. Open WebUI's asynchronous engine (psycopg 3) prepares statements under names, and a name holds on one
server connection only: PgBouncer must keep track of them (`pgbouncer.max_prepared_statements`, 0 as delivered). And
whoever looks at the server itself, the guard and this app's administrator, goes past PgBouncer to the server's own
port. Nothing else of Open WebUI outlives a transaction: settings are SET LOCAL, locks pg_advisory_xact_lock.
Source: learn.microsoft.com/azure/postgresql/connectivity/concepts-pgbouncer, .../server-parameters-table-pgbouncer;
Open WebUI 0.12.4, internal/db.py, retrieval/vector/dbs/pgvector.py, models/groups.py; psycopg, prepared statements.
"""

from dataclasses import replace
from typing import Any

from shared.model.survey import DatabaseAddress, Problem, ServerFactsBrief, Severity
from shared.sizing.azure_skus import PGBOUNCER_POOL
from shared.sizing.connection_budget import ConnectionBudget, Demand, ServerLimits, plan_budget
from shared.transfer.database_url import parse_url

PGBOUNCER_PORT, POSTGRES_PORT = 6432, 5432
DIRECT_PORT_VARIABLE = "SCALEOUT_DATABASE_PORT"
"""Set beside a DATABASE_URL that leads to PgBouncer: the server's own port, for whoever must go past it."""
ENABLED, PREPARED_STATEMENTS = "pgbouncer.enabled", "pgbouncer.max_prepared_statements"
"""Server parameters. The second is there only while the first is true; neither needs a restart."""
STATEMENTS_KEPT = 200
"""Of each connection. PgBouncer's own default since 1.24; Azure delivers 0."""


def direct(address: DatabaseAddress, direct_port: str | None) -> DatabaseAddress:
    """The server's own address, of one that may lead to PgBouncer; `direct_port` as the container's variable says."""
    if direct_port and direct_port.isdigit():
        return replace(address, port=int(direct_port), pooled=True)
    if address.port == PGBOUNCER_PORT:
        return replace(address, port=POSTGRES_PORT, pooled=True)
    return address


def through(url: str, port: int) -> str:
    """The same database URL, password and all, by way of another port."""
    return str(parse_url(url).with_port(port))


def refused_parameters(url: str) -> list[str]:
    """What in this URL PgBouncer refuses at the start of a session. Source: PgBouncer, ignore_startup_parameters."""
    return [name for name, _ in parse_url(url).parameters if name == "options"]


def port_to_use(server: ServerFactsBrief | None, address: DatabaseAddress | None, *, wanted: bool) -> int:
    """PgBouncer's port when Open WebUI is to be led through it, 0 when its DATABASE_URL stays as it is."""
    offered = server is not None and bool(server.pgbouncer)
    return server.pgbouncer_port if wanted and server and offered and address and not address.pooled else 0


def advice(
    server: ServerFactsBrief | None,
    address: DatabaseAddress | None,
    limits: ServerLimits,
    demand: Demand,
    *,
    wanted: bool,
) -> list[Problem]:
    """What the plan says of PgBouncer, with figures: asked for, of use, or not to be had."""
    if server is None or address is None:
        return []
    if address.pooled:
        note = "Open WebUI connects through PgBouncer already; its DATABASE_URL stays as it is"
        return [Problem("pgbouncer", Severity.NOTE, note)]
    if not server.pgbouncer:
        return [_not_to_be_had(server)] if wanted else []
    without = plan_budget(replace(limits, pgbouncer=False), demand)
    eased = plan_budget(replace(limits, pgbouncer=True), demand)
    if wanted:
        return [_will_be_used(server, without, eased)]
    return [_would_help(without, eased)] if without.needs == "pgbouncer" and eased.sufficient else []


def variables(secret: str, key: str, server_port: int) -> list[dict[str, Any]]:
    """The container's variables that lead it through PgBouncer."""
    return [
        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}},
        {"name": DIRECT_PORT_VARIABLE, "value": str(server_port)},
    ]


def _will_be_used(server: ServerFactsBrief, without: ConnectionBudget, eased: ConnectionBudget) -> Problem:
    turned_on = "is on already" if server.pgbouncer == "true" else "is turned on, without a restart"
    message = (
        f"PgBouncer {turned_on}: Open WebUI connects to port {server.pgbouncer_port}, and its processes share "
        f"{PGBOUNCER_POOL} server connections, {eased.pools.most_per_process} each at most; directly "
        f"{without.largest_replica_count} replicas fit, with {without.pools.most_per_process} each"
    )
    hint = f"A Secret gets a copy of DATABASE_URL with that port; {PREPARED_STATEMENTS} is set to {STATEMENTS_KEPT}."
    return Problem("pgbouncer", Severity.NOTE, message, hint)


def _would_help(without: ConnectionBudget, eased: ConnectionBudget) -> Problem:
    message = (
        f"directly only {without.largest_replica_count} replicas fit; through PgBouncer {eased.replicas} do, sharing "
        f"{PGBOUNCER_POOL} server connections, with {eased.pools.most_per_process} client connections each"
    )
    return Problem("pgbouncer", Severity.WARNING, message, "Set options.enable_pgbouncer; it needs no restart.")


def _not_to_be_had(server: ServerFactsBrief) -> Problem:
    message = f"server {server.name} ({server.sku}, {server.tier}) has no PgBouncer"
    hint = "Leave options.enable_pgbouncer out, or move the server to General Purpose or Memory Optimized."
    return Problem("pgbouncer", Severity.BLOCKING, message, hint)
