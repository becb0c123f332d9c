"""Phase 3d: stop, carry the last changes over, verify, switch, answer.

The only phase with a downtime. Before the stop it checks again all that could fail after it and records the
Deployment as it is, in a Secret beside it (it may hold literal secrets, so it never enters durable history). Each
call looks at the world and takes the next step, so a rerun at any point goes on where the last one ended. Undo stops
whatever serves, puts the recorded Deployment back and waits until it answers: at no moment do two stores serve.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared import deployments, manifests, mover
from shared.condensing import condensed
from shared.connection_budget import ConnectionBudget
from shared.deployments import STOPPED_AT, SWITCHED_AT
from shared.errors import ConfigurationError, NeedsOperator, UnsupportedDeployment, VerificationFailed
from shared.model import Brief, Change, DatabaseAddress, DeploymentFacts, Problem, Progress, Severity, Survey
from shared.names import Names
from shared.ports import Cluster, Manifest, Ports

RECORD_KEY = "deployment.json"
START_DEADLINE = timedelta(minutes=10)
"""Open WebUI starts in 24–48 s (facts §2); a slow image pull is allowed for."""


@dataclass(frozen=True, slots=True)
class Plan:
    run: str
    deployment: str
    facts: DeploymentFacts
    address: DatabaseAddress
    files_claim: str
    environment: tuple[Manifest, ...]
    """What is set in the container, without any secret's value."""
    index: mover.MoverJob
    """Phase 3c's: its result says which index settings Open WebUI must have to start."""
    delta_files: mover.MoverJob
    delta_vectors: mover.MoverJob
    verify: mover.MoverJob
    awaits: str = ""
    """External event that must come before the first apply; empty: none."""
    deadline_seconds: int = 0
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    target, options, survey = brief.request.target, brief.request.options, brief.survey
    if survey.deployment is None or survey.address is None or survey.budget is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    environment = tuple(decide_environment(survey, survey.budget, Names(target.deployment, brief.run)))
    common = ("--data", mover.SOURCE)
    verify = (
        "verify-vectors",
        *common,
        "--scratch",
        mover.SCRATCH,
        "--run",
        brief.run,
        *(["--full"] if options.full_verification else []),
    )
    delta = ("copy-vectors", "--delta", *common, "--scratch", mover.SCRATCH, "--run", brief.run)
    files = ("copy-files", "--delta", "--source", mover.SOURCE, "--target", mover.FILES)
    return Plan(
        run=brief.run,
        deployment=target.deployment,
        facts=survey.deployment,
        address=survey.address,
        files_claim=target.files_claim,
        environment=environment,
        index=mover.job_for(brief, survey.deployment, "build-indexes", ("build-indexes",)),
        delta_files=mover.job_for(brief, survey.deployment, "delta-files", files),
        delta_vectors=mover.job_for(brief, survey.deployment, "delta-vectors", delta),
        verify=mover.job_for(brief, survey.deployment, "verify", verify),
        awaits="approval" if options.approval else "",
        deadline_seconds=options.approval_deadline_seconds if options.approval else 0,
        changes=tuple(_changes(target.deployment, survey.deployment, target.files_claim, environment)),
        problems=(_downtime_note(survey),),
    )


def decide_environment(survey: Survey, budget: ConnectionBudget, names: Names) -> list[Manifest]:
    """The variables of the new pods, and why each is there. Source: facts §1.5 and §2."""
    facts = survey.deployment
    set_already = frozenset(facts.environment if facts else ())
    literal = {
        "VECTOR_DB": "pgvector",
        # the kubelet expands it: the password stays where the user keeps it
        "PGVECTOR_DB_URL": "$(DATABASE_URL)",
        "PGVECTOR_CREATE_EXTENSION": "false",  # phase 1 made it; the application's role may not
        "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": str(survey.column_dimension),
        "PGVECTOR_USE_HALFVEC": "true" if survey.half_precision else "false",
        "ENABLE_DB_MIGRATIONS": "false",  # the old pod has run them; replicas have no lock against each other
        "UVICORN_WORKERS": "1",  # more would multiply the pools of the budget
        **budget.pools.as_environment(),
    }
    if "REDIS_URL" not in set_already:
        url = f"redis://{names.redis}:6379/0"
        literal |= {"REDIS_URL": url, "WEBSOCKET_MANAGER": "redis", "WEBSOCKET_REDIS_URL": url}
    environment: list[Manifest] = [{"name": name, "value": value} for name, value in literal.items()]
    if "WEBUI_SECRET_KEY" not in set_already:
        reference = {"secretKeyRef": {"name": names.session_secret, "key": "webui-secret-key"}}
        environment.append({"name": "WEBUI_SECRET_KEY", "valueFrom": reference})
    return environment


def apply(plan: Plan, ports: Ports) -> Progress:
    live = _read(ports.cluster, plan.deployment)
    if _is_switched(live):
        return _await_first_answer(plan, live, ports)
    if not _is_stopped(live):
        return _stop(plan, live, ports)
    steps: tuple[Callable[[], Progress], ...] = (
        lambda: _pods_gone(plan, ports.cluster),
        lambda: mover.advance(ports.cluster, plan.delta_files, "copying changed files"),
        lambda: mover.advance(ports.cluster, plan.delta_vectors, "copying changed vectors"),
        lambda: mover.advance(ports.cluster, plan.verify, "verifying every collection"),
    )
    for step in steps:
        progress = step()
        if not progress.finished:
            return _critical(progress, live)
    return _switch(plan, live, ports)


def undo(plan: Plan, ports: Ports) -> Progress:
    cluster, names = ports.cluster, Names(plan.deployment, plan.run)
    record = cluster.read("Secret", names.record)
    if record is None:
        return Progress(finished=True, step="never stopped")
    before = json.loads(base64.b64decode(record["data"][RECORD_KEY]))
    live = cluster.read("Deployment", plan.deployment)
    if live is not None and deployments.spec_digest(live) == plan.facts.digest:
        return _await_old_pod(plan, live, ports)
    if live is not None and _is_switched(live) and int(live["spec"].get("replicas", 0)) > 0:
        live = cluster.patch("Deployment", plan.deployment, _stopped(ports.clock.now()))
    if live is not None and not _pods_gone(plan, cluster).finished:
        return _critical(Progress(finished=False, step="stopping the new pods", check_again_in_seconds=0.5), live)
    for job in (plan.delta_files, plan.delta_vectors, plan.verify):
        cluster.delete("Job", job.name)
    restored = cluster.replace(before)
    return _critical(Progress(finished=False, step="old Deployment back", check_again_in_seconds=0.5), live or restored)


def _stop(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    _check_again(plan, live, ports)
    names = Names(plan.deployment, plan.run)
    kept = {key: value for key, value in live.items() if key != "status"}
    kept["metadata"] = {
        k: v for k, v in live["metadata"].items() if k in {"name", "namespace", "labels", "annotations"}
    }
    record = manifests.opaque_secret(names.record, plan.run, {RECORD_KEY: json.dumps(kept).encode()})
    ports.cluster.apply(record, force=True)
    stopped = ports.cluster.patch("Deployment", plan.deployment, _stopped(ports.clock.now()))
    return _critical(Progress(finished=False, step="stopping Open WebUI", check_again_in_seconds=0.3), stopped)


def _check_again(plan: Plan, live: Manifest, ports: Ports) -> None:
    """Everything that could fail after the stop is tried before it."""
    if deployments.spec_digest(live) != plan.facts.digest:
        raise ConfigurationError(
            f"Deployment {plan.deployment} was changed after it was planned",
            hint="Plan again, so that what is put back by a rollback is what you have now.",
        )
    claim = ports.cluster.read("PersistentVolumeClaim", plan.files_claim) or {}
    if (claim.get("status") or {}).get("phase") != "Bound":
        raise ConfigurationError(
            f"claim {plan.files_claim} is not bound", hint=f"kubectl describe pvc {plan.files_claim}"
        )
    table = ports.databases.as_admin(plan.address).read_chunk_table()
    if table is None or table.owner != plan.address.role:
        raise ConfigurationError("document_chunk is gone or has another owner", hint="Plan again.")


def _switch(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    annotations = {SWITCHED_AT: ports.clock.now().isoformat()}
    index = mover.advance(ports.cluster, plan.index, "reading the index settings").result
    settings = [{"name": name, "value": value} for name, value in index["plan"]["settings"].items()]
    environment = (*plan.environment, *settings)
    patch = deployments.switch_patch(plan.facts, plan.files_claim, environment, annotations)
    ports.cluster.patch("Deployment", plan.deployment, patch)
    return _critical(Progress(finished=False, step="starting on the new stores", check_again_in_seconds=0.5), live)


def _await_first_answer(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    """Ready means that the kubelet's GET /ready was answered with 200: database, Redis and files are there."""
    pods = ports.cluster.list("Pod", plan.facts.labels)
    if failure := deployments.startup_failure(pods):
        raise VerificationFailed(
            f"the new pod does not start: {failure}", hint=f"kubectl logs deploy/{plan.deployment}"
        )
    now = ports.clock.now()
    if not deployments.is_settled(live, 1):
        if now - datetime.fromisoformat(live["metadata"]["annotations"][SWITCHED_AT]) > START_DEADLINE:
            raise VerificationFailed(f"the new pod was not ready within {START_DEADLINE}")
        waiting = Progress(finished=False, step="waiting for the first answer", check_again_in_seconds=0.3)
        return _critical(waiting, live)
    results = {
        "files": mover.advance(ports.cluster, plan.delta_files, "").result,
        "vectors": mover.advance(ports.cluster, plan.delta_vectors, "").result,
        "verification": condensed(mover.advance(ports.cluster, plan.verify, "").result),
    }
    done = Progress(finished=True, step="answering from the new stores", result=results)
    return replace(_critical(done, live), answering_since=now.isoformat())


def _await_old_pod(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    if not deployments.is_settled(live, plan.facts.replicas):
        return _critical(Progress(finished=False, step="waiting for the old pod", check_again_in_seconds=0.3), live)
    ports.cluster.delete("Secret", Names(plan.deployment, plan.run).record)
    done = Progress(finished=True, step="serving from the old store")
    return replace(done, answering_since=ports.clock.now().isoformat())


def _pods_gone(plan: Plan, cluster: Cluster) -> Progress:
    pods = cluster.list("Pod", plan.facts.labels)
    step = "waiting for the old pod to end"
    return Progress(finished=not pods, step=step, done=0, total=len(pods), unit="pods", check_again_in_seconds=0.3)


def _critical(progress: Progress, deployment: Manifest) -> Progress:
    """Nothing may pause here: Open WebUI is down since the annotation says."""
    since = (deployment["metadata"].get("annotations") or {}).get(STOPPED_AT, "")
    return replace(progress, interruptible=False, down_since=since)


def _stopped(now: datetime) -> dict[str, Any]:
    return {"metadata": {"annotations": {STOPPED_AT: now.isoformat()}}, "spec": {"replicas": 0}}


def _is_stopped(live: Manifest) -> bool:
    annotations = live["metadata"].get("annotations") or {}
    return STOPPED_AT in annotations and int(live["spec"].get("replicas", 1)) == 0


def _is_switched(live: Manifest) -> bool:
    return SWITCHED_AT in (live["metadata"].get("annotations") or {})


def _read(cluster: Cluster, name: str) -> Manifest:
    found = cluster.read("Deployment", name)
    if found is None:
        raise NeedsOperator(f"Deployment {name} is gone", hint="Undo puts the recorded one back: POST …/rollback.")
    return found


def _changes(name: str, facts: DeploymentFacts, claim: str, environment: tuple[Manifest, ...]) -> list[Change]:
    volume = f"volume {facts.volume}: the disk → claim {claim}"
    probes = "readiness /ready, liveness and startup /health; strategy Recreate during the switch"
    variables = ", ".join(f"{entry['name']}={entry.get('value', '(secret)')}" for entry in environment)
    return [Change("change", "Deployment", name, detail) for detail in (volume, variables, probes)]


def _downtime_note(survey: Survey) -> Problem:
    message = (
        "expected downtime: 40 to 90 s (the old pod's end, the changed rows, Open WebUI's own start of 24 to 48 s)"
    )
    return Problem("downtime", Severity.NOTE, message)
