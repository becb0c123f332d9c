"""Phase 1: extensions, ledger and `document_chunk` in Open WebUI's database.

Changes the server's extension allow-list (merged, never replaced), the extensions `vector` and `uuid-ossp`, the schema
`scaleout` and the table, which the application's own role makes so that it owns it; with options.enable_pgbouncer also
PgBouncer (`phases.enable_pgvector.pooler`). Undo takes away what was not there before. Every statement says IF NOT
EXISTS, so a rerun is safe.
"""

from dataclasses import dataclass, replace

from phases.enable_pgvector import pooler as connection_pooler
from phases.enable_pgvector.pooler import PoolerPlan
from shared.errors import ConfigurationError, UnsupportedDeployment, VerificationFailed
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Ports
from shared.model.survey import DatabaseAddress, DeploymentFacts, Problem
from shared.programs import mover_job
from shared.wire import JsonObject

ALLOW_LISTED = {"vector": "VECTOR", "uuid-ossp": "UUID-OSSP"}
"""Extension → its name in `azure.extensions`."""


@dataclass(frozen=True, slots=True)
class Plan:
    run: str
    deployment: DeploymentFacts
    address: DatabaseAddress
    allow_list_before: tuple[str, ...]
    allow_list_after: tuple[str, ...]
    extensions_before: dict[str, str]
    dimension: int
    half_precision: bool
    creates_table: bool
    creates_ledger: bool
    pooler: PoolerPlan | None = None
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    survey = brief.survey
    if not (survey.deployment and survey.address and survey.database and survey.server):
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    before = survey.server.allow_list
    made = Plan(
        run=brief.run,
        deployment=survey.deployment,
        address=survey.address,
        allow_list_before=before,
        allow_list_after=merged(before, tuple(ALLOW_LISTED.values())),
        extensions_before={k: v for k, v in survey.database.extensions.items() if k in ALLOW_LISTED},
        dimension=survey.column_dimension,
        half_precision=survey.half_precision,
        creates_table=survey.database.chunk_table is None,
        creates_ledger=not survey.database.ledger_exists,
        pooler=connection_pooler.plan_pooler(brief, ports),
    )
    changes = [
        *_changes(made, survey.database.available_extensions),
        *connection_pooler.changes(made.pooler, survey),
    ]
    return replace(made, changes=tuple(changes))


def merged(before: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The allow-list with ours added; writing only ours would take the others' extensions away. Source: facts §1.6."""
    return before + tuple(name for name in wanted if name not in before)


def apply(plan: Plan, ports: Ports) -> Progress:
    database = ports.databases.as_admin(plan.address)
    if plan.allow_list_after != plan.allow_list_before:
        ports.server.write_allow_list(plan.allow_list_after)
    for extension in ALLOW_LISTED:
        database.enable_extension(extension)
    database.create_ledger(plan.address.role)
    half = ["--halfvec"] if plan.half_precision else []
    mover_job.run_in_pod(
        ports.cluster, plan.deployment, ["create-table", "--run", plan.run, "--dimension", str(plan.dimension), *half]
    )
    facts = database.read_facts(plan.address.role)
    missing = [name for name in ALLOW_LISTED if name not in facts.extensions]
    if missing or facts.chunk_table is None or facts.chunk_table.owner != plan.address.role:
        raise VerificationFailed(f"after phase 1 these are still missing: {', '.join(missing) or 'document_chunk'}")
    result: JsonObject = {
        "extensions": {name: facts.extensions[name] for name in ALLOW_LISTED},
        "dimension": plan.dimension,
    }
    if plan.pooler:
        connection_pooler.turn_on(plan.pooler, plan.run, plan.address, ports)
        result["pgbouncer_port"] = plan.pooler.port
    return Progress(finished=True, step="extensions and table ready", result=result)


def undo(plan: Plan, ports: Ports) -> Progress:
    database = ports.databases.as_admin(plan.address)
    kept = []
    if plan.creates_table and not database.drop_empty_chunk_table():
        kept.append("document_chunk, which holds rows")
    if plan.creates_ledger:
        database.drop_ledger()
    for extension in ALLOW_LISTED:
        if extension not in plan.extensions_before and not kept:
            try:
                database.drop_extension(extension)
            except ConfigurationError:
                kept.append(f"extension {extension}, which something depends on")
    if plan.pooler:
        connection_pooler.turn_off(plan.pooler, ports)
    if plan.allow_list_after != plan.allow_list_before and not kept:
        ports.server.write_allow_list(plan.allow_list_before)
    return Progress(finished=True, step="database as before", result={"kept": kept})


def _changes(made: Plan, available: dict[str, str]) -> list[Change]:
    found = []
    if made.allow_list_after != made.allow_list_before:
        detail = f"{','.join(made.allow_list_before) or '(empty)'} → {','.join(made.allow_list_after)}"
        found.append(Change("change", "server parameter", "azure.extensions", detail))
    for name in ALLOW_LISTED:
        before, after = made.extensions_before.get(name), available.get(name, "")
        if before is None:
            found.append(Change("create", "extension", name, f"version {after}"))
        elif before != after:
            found.append(Change("change", "extension", name, f"{before} → {after}"))
    if made.creates_ledger:
        found.append(Change("create", "schema", "scaleout", "the copy's ledger"))
    if made.creates_table:
        column = f"{'halfvec' if made.half_precision else 'vector'}({made.dimension})"
        found.append(Change("create", "table", "document_chunk", f"{column}, owned by {made.address.role}"))
    return found
