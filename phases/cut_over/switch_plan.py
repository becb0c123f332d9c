"""What the cut-over will do, decided before anything is changed: the new pods' environment, the Jobs, whose fields."""

from collections.abc import Collection
from dataclasses import dataclass

from shared.errors import UnsupportedDeployment
from shared.kubernetes import deployments, pgbouncer
from shared.kubernetes.redis_choice import redis_variables, url_of
from shared.model.migration import Brief, Change
from shared.model.ports import Manifest, Ports
from shared.model.survey import DatabaseAddress, DeploymentFacts, Problem, Severity, Survey
from shared.names import DATABASE_URL_KEY, Names
from shared.programs import mover_job
from shared.sizing.connection_budget import ConnectionBudget
from shared.transfer.database_url import composes_url

RECONCILERS = ("argocd", "kustomize-controller", "helm-controller", "flux", "rancher", "fleet")
"""Field managers that put back what they own within minutes. Source: Argo CD and Flux, docs on server-side apply."""


@dataclass(frozen=True, slots=True)
class Plan:
    run: str
    deployment: str
    facts: DeploymentFacts
    address: DatabaseAddress
    files_claim: str
    volume: str
    """The disk's PersistentVolume: it must be Retain before anything is stopped."""
    environment: tuple[Manifest, ...]
    """What is set in the container, without any secret's value."""
    connections: int
    """That the new pod and the mover may open together."""
    index: mover_job.MoverJob
    """Phase 3c's: its result says which index settings Open WebUI must have to start."""
    catch_up: mover_job.MoverJob
    """Just before the stop: what changed since the bulk pass, or while an approval was waited for."""
    finish: mover_job.MoverJob
    """Stands by before the stop, so that only its work is in the downtime."""
    carry_back: mover_job.MoverJob
    step_deadline_seconds: int = 900
    """From the stop to the switch; after it the old pod comes back."""
    awaits: str = ""
    """External event that must come before the first apply; empty: none."""
    deadline_seconds: int = 0
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    target, options, survey = brief.request.target, brief.request.options, brief.survey
    facts, budget = survey.deployment, survey.budget
    if facts is None or survey.address is None or budget is None or survey.storage is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    environment = tuple(decide_environment(survey, budget, Names(target.deployment, brief.run)))
    live = ports.cluster.read("Deployment", target.deployment) or {}
    return Plan(
        run=brief.run,
        deployment=target.deployment,
        facts=facts,
        address=survey.address,
        files_claim=target.files_claim,
        volume=survey.storage.volume,
        environment=environment,
        connections=budget.pools.most_per_process + budget.mover_connections,
        index=mover_job.job_for(brief, facts, "build-indexes", ("build-indexes",)),
        catch_up=mover_job.job_for(brief, facts, "catch-up", _both("catch-up", brief.run)),
        finish=mover_job.job_for(brief, facts, "finish", (*_both("finish", brief.run), "--wait-for", mover_job.GO)),
        carry_back=mover_job.way_back_for(brief, facts, "carry-back", _carry_back(brief.run)),
        step_deadline_seconds=options.cut_over_deadline_seconds,
        awaits="approval" if options.approval else "",
        deadline_seconds=options.approval_deadline_seconds if options.approval else 0,
        changes=tuple(_changes(target.deployment, facts, target.files_claim, environment)),
        problems=(_downtime_note(), *owner_problems(live, facts, environment, force=options.force_conflicts)),
    )


def decide_environment(survey: Survey, budget: ConnectionBudget, names: Names) -> list[Manifest]:
    """The variables of the new pods, and why each is there. Source: facts §1.5 and §2."""
    facts = survey.deployment
    set_already = frozenset(facts.environment if facts else ())
    literal = {
        "VECTOR_DB": "pgvector",
        **_vectors_url(set_already),
        "PGVECTOR_CREATE_EXTENSION": "false",  # phase 1 made it; the application's role may not
        "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": str(survey.column_dimension),
        "PGVECTOR_USE_HALFVEC": "true" if survey.half_precision else "false",
        "ENABLE_DB_MIGRATIONS": "false",  # the old pod has run them; replicas have no lock against each other
        "UVICORN_WORKERS": "1",  # more would multiply the pools of the budget
        **budget.pools.as_environment(),
    }
    literal |= redis_variables(set_already, url_of(names.redis))
    environment = [
        *_through_pgbouncer(survey, names),
        *({"name": name, "value": value} for name, value in literal.items()),
    ]
    if "WEBUI_SECRET_KEY" not in set_already:
        reference = {"secretKeyRef": {"name": names.session_secret, "key": "webui-secret-key"}}
        environment.append({"name": "WEBUI_SECRET_KEY", "valueFrom": reference})
    return environment


def _vectors_url(set_already: Collection[str]) -> dict[str, str]:
    """The kubelet expands it, so the password stays where the user keeps it. Left out, it is the application's own
    database, however that is said. Source: Open WebUI 0.12.4, config.py: `os.getenv('PGVECTOR_DB_URL', DATABASE_URL)`.
    """
    return {} if composes_url(set_already) else {"PGVECTOR_DB_URL": "$(DATABASE_URL)"}


def _through_pgbouncer(survey: Survey, names: Names) -> list[Manifest]:
    """DATABASE_URL by way of PgBouncer, where the migration turned it on."""
    if not (survey.pooler_port and survey.address):
        return []
    return pgbouncer.variables(names.database_url, DATABASE_URL_KEY, survey.address.port)


def owner_problems(
    live: Manifest, facts: DeploymentFacts, environment: tuple[Manifest, ...], *, force: bool
) -> list[Problem]:
    """Whose fields the switch takes over. Shown always; blocking when their owner would put them back."""
    paths = deployments.switched_fields(facts, [str(entry["name"]) for entry in environment])
    owners = {field: owner for field, owner in deployments.field_owners(live, paths).items() if owner != "scaleout"}
    if not owners:
        return []
    listed = "; ".join(f"{field} ({owner})" for field, owner in owners.items())
    found = [Problem("field_owners", Severity.NOTE, f"the switch changes fields that other managers own: {listed}")]
    reconcilers = sorted({owner for owner in owners.values() if owner.startswith(RECONCILERS)})
    if reconcilers and not force:
        names = ", ".join(reconcilers)
        message = f"{names} would put the old store back under the new pods"
        hint = f"Suspend {names} for this Deployment, then set options.force_conflicts; update its source afterwards."
        found.append(Problem("reconciled", Severity.BLOCKING, message, hint))
    return found


def _both(command: str, run: str) -> tuple[str, ...]:
    """A command that carries files and vectors over."""
    where = ("--data", mover_job.SOURCE, "--target", mover_job.FILES, "--scratch", mover_job.SCRATCH)
    return (command, *where, "--run", run)


def _carry_back(run: str) -> tuple[str, ...]:
    where = ("--data", mover_job.SOURCE, "--files", mover_job.FILES, "--scratch", mover_job.SCRATCH)
    return ("carry-back", *where, "--run", run)


def _changes(name: str, facts: DeploymentFacts, claim: str, environment: tuple[Manifest, ...]) -> list[Change]:
    volume = f"volume {facts.volume}: the disk → claim {claim}"
    probes = "startup and readiness /ready, liveness /health; strategy Recreate during the switch"
    variables = ", ".join(f"{entry['name']}={entry.get('value', '(secret)')}" for entry in environment)
    return [Change("change", "Deployment", name, detail) for detail in (volume, variables, probes)]


def _downtime_note() -> Problem:
    message = (
        "expected downtime: 40 to 90 s (the old pod's end, the changed rows, Open WebUI's own start of 24 to 48 s)"
    )
    return Problem("downtime", Severity.NOTE, message)
