"""Phase 5: the runbook's tests and its nine success criteria, each with evidence, from every replica.

Nothing stays changed, so there is nothing to undo. A criterion that is not met is measured again for a while; one that
stays unmet fails the run, and what was changed is undone. What cannot be measured is said so and undoes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from shared.criteria.criterion import Criterion, NotMeasured, insist, judge, summary
from shared.criteria.log_errors import read_errors
from shared.criteria.service_spread import count_answers
from shared.errors import MigrationError, UnsupportedDeployment, VerificationFailed
from shared.kubernetes import deployments
from shared.kubernetes.container_environment import read_variable
from shared.kubernetes.pods import replicas_of
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Manifest, Ports
from shared.model.survey import DatabaseAddress, DeploymentFacts
from shared.programs import mover_job
from shared.programs import replica_probe as replicas
from shared.wire import JsonObject

REQUESTS_PER_REPLICA = 10
PATIENCE = timedelta(minutes=2)
"""How long a criterion may stay unmet: longer than a pod's drain, a database's fail-over or a Redis that restarts."""
LATELY_SECONDS = 60
"""An error that has not come again for so long has passed."""
COLUMNS = ("id", "vector", "collection_name", "text", "vmetadata")


@dataclass(frozen=True, slots=True)
class Plan:
    deployment: str
    service: str
    facts: DeploymentFacts
    address: DatabaseAddress
    replicas: int
    files_claim: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """What all criteria are judged from, read once."""

    plan: Plan
    ports: Ports
    deployment: Manifest
    pods: Sequence[Manifest]
    probes: Mapping[str, dict[str, Any] | MigrationError]
    """Pod → what the mover sees from inside it, or why it could not look."""
    again: dict[str, Any] | None
    """What the first pod sees after all others: what differs from before is being changed by users meanwhile."""

    def seen(self) -> list[dict[str, Any]]:
        """What every pod sees; NotMeasured when one could not look."""
        for probe in self.probes.values():
            if isinstance(probe, MigrationError):
                raise NotMeasured(probe.message)
        return [probe for probe in self.probes.values() if not isinstance(probe, MigrationError)]

    def compare(self, what: str, key: Callable[[dict[str, Any]], object]) -> bool:
        """Whether all pods see the same; NotMeasured when they differ in something that changes all the time."""
        seen = self.seen()
        same = len({repr(key(one)) for one in seen}) <= 1
        if not same and self.again is not None and key(self.again) != key(seen[0]):
            raise NotMeasured(f"{what} changed while the replicas were asked one after the other")
        return same


def plan(brief: Brief, ports: Ports) -> Plan:
    survey, target = brief.survey, brief.request.target
    if survey.deployment is None or survey.address is None or survey.budget is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    replicas_wanted = max(1, min(brief.request.options.replicas, survey.budget.largest_replica_count))
    return Plan(
        deployment=target.deployment,
        service=target.service,
        facts=survey.deployment,
        address=survey.address,
        replicas=replicas_wanted,
        files_claim=target.files_claim,
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    criteria = insist(lambda: _measure(plan, ports), ports.clock, PATIENCE)
    found = [criterion.as_json() for criterion in criteria]
    result: JsonObject = {"criteria": found} | _count_ready(plan, ports)
    if unmet := [c for c in criteria if c.met is False]:
        listed = "; ".join(f"{c.name}: {c.evidence}" for c in unmet)
        message = f"{len(unmet)} of {len(criteria)} success criteria are not met: {listed}"
        raise VerificationFailed(message, result=result)
    return Progress(
        finished=True,
        step=summary(found),
        done=sum(c.met is True for c in criteria),
        total=len(criteria),
        unit="criteria",
        result=result,
    )


def _count_ready(plan: Plan, ports: Ports) -> JsonObject:
    """Left out where it cannot be read."""
    try:
        pods = ports.cluster.list("Pod", plan.facts.labels)
    except MigrationError:
        return {}
    return {"replicas_ready": sum(deployments.is_ready(pod) for pod in pods)}


def _measure(plan: Plan, ports: Ports) -> list[Criterion]:
    try:
        world = _read_world(plan, ports)
    except UnsupportedDeployment:
        raise
    except MigrationError as error:  # the API server does not answer: nothing can be known
        return [Criterion(name, None, error.message) for name in CRITERIA]
    return judge({name: partial(check, world) for name, check in CRITERIA.items()})


def _read_world(plan: Plan, ports: Ports) -> World:
    deployment = ports.cluster.read("Deployment", plan.deployment)
    if deployment is None:
        raise UnsupportedDeployment(f"Deployment {plan.deployment} is gone")
    pods = replicas_of(ports.cluster.list("Pod", plan.facts.labels))
    names = [str(pod["metadata"]["name"]) for pod in pods]
    probes = {name: _probe(plan, ports, name) for name in names}
    again = _probe(plan, ports, names[0]) if len(names) > 1 else None
    return World(plan, ports, deployment, pods, probes, None if isinstance(again, MigrationError) else again)


def _probe(plan: Plan, ports: Ports, pod: str) -> dict[str, Any] | MigrationError:
    arguments = ["probe", "--data", plan.facts.mount_path, "--sample", "20"]
    try:
        return mover_job.run_in(ports.cluster, pod, plan.facts.container, arguments)
    except MigrationError as error:
        return error


def _extension(world: World) -> tuple[bool, str]:
    facts = world.ports.databases.as_admin(world.plan.address).read_facts(world.plan.address.role)
    table = facts.chunk_table
    met = "vector" in facts.extensions and table is not None and table.owner == world.plan.address.role
    described = (
        f"document_chunk ({' | '.join(COLUMNS)}) with {table.rows:,} rows, owner {table.owner}" if table else "no table"
    )
    return met, f"vector {facts.extensions.get('vector', 'missing')}, {described}"


def _scaled(world: World) -> tuple[bool, str]:
    met = deployments.is_settled(world.deployment, world.plan.replicas)
    return (
        met,
        f"{(world.deployment.get('status') or {}).get('availableReplicas', 0)} of {world.plan.replicas} available",
    )


def _running(world: World) -> tuple[bool, str]:
    phases = {p["metadata"]["name"]: (p.get("status") or {}).get("phase") for p in world.pods}
    met = len(phases) == world.plan.replicas and set(phases.values()) == {"Running"}
    return met, ", ".join(f"{name} {phase}" for name, phase in phases.items())


def _uploads(world: World) -> tuple[bool, str]:
    met = world.compare("the uploads", lambda probe: probe["uploads"])
    files = ", ".join(str(one["uploads"]["files"]) for one in world.seen())
    return met, f"{files} files seen by the {len(world.pods)} replicas, {'the same list' if met else 'different lists'}"


def _queryable(world: World) -> tuple[bool, str]:
    probes = world.seen()
    rows = f"rows seen: {', '.join(f'{one["rows"]:,}' for one in probes)}"
    lost = [pod for pod, one in zip(world.probes, probes, strict=True) if not one["topk_self_first"]]
    if lost:
        return False, f"{rows}; sampled chunks do not find themselves in {', '.join(lost)}"
    same = world.compare("the chunks", lambda probe: (probe["rows"], probe["topk_digest"]))
    return same, f"{rows}; sampled chunks find themselves first, {'equal' if same else 'different'} top results"


def _models(world: World) -> tuple[bool, str]:
    seen = [tuple(probe["models"]) for probe in world.seen()]
    claim = world.ports.cluster.read("PersistentVolumeClaim", world.plan.files_claim) or {}
    shared = "ReadWriteMany" in (claim.get("spec") or {}).get("accessModes", [])
    met = shared and len(set(seen)) == 1
    return (
        met,
        f"one ReadWriteMany claim {world.plan.files_claim}; models: {', '.join(seen[0] if seen else ()) or 'none yet'}",
    )


def _quiet_logs(world: World) -> tuple[bool, str]:
    """Open WebUI logs an error for much that is not its stores' fault: see `shared/criteria/log_errors.py`."""
    cluster, name = world.ports.cluster, world.plan.facts.container
    level = read_variable(cluster, deployments.container(world.deployment, name), "GLOBAL_LOG_LEVEL") or ""
    if level.upper() == "CRITICAL":  # source: Open WebUI 0.12.4, env.py
        raise NotMeasured("errors are not logged: GLOBAL_LOG_LEVEL is CRITICAL")
    whole = {pod: cluster.logs(pod, name, tail_lines=2000) for pod in world.probes}
    if silent := [pod for pod, log in whole.items() if not log.strip()]:
        raise NotMeasured(f"the log of {', '.join(silent)} is empty")
    errors = {pod: read_errors(log) for pod, log in whole.items()}
    blamed = sum(error.blamed for found in errors.values() for error in found)
    others = [error for found in errors.values() for error in found if not error.blamed]
    lasting = [
        f"{pod}: {error.title}"
        for pod in whole
        if any(error.blamed for error in errors[pod])
        for error in read_errors(cluster.logs(pod, name, since_seconds=LATELY_SECONDS))
        if error.blamed
    ]
    evidence = f"{blamed} errors of database, vectors, files or Redis in the logs of {len(whole)} pods"
    if lasting:
        return False, f"{evidence}, {len(lasting)} of them in the last {LATELY_SECONDS} s: {'; '.join(lasting[:3])}"
    if blamed:
        evidence += f", none in the last {LATELY_SECONDS} s"
    return True, evidence + (f"; {len(others)} of other things, such as {others[0].title}" if others else "")


def _healthy(world: World) -> tuple[bool, str]:
    """Source: Open WebUI 0.12.4, main.py: `/ready` answers `{"status": true}` once started, with database and Redis."""
    url = f"http://{{self}}:{world.plan.facts.port}/ready"
    answers = {pod: replicas.ask(world.ports.cluster, pod, world.plan.facts.container, url)[0] for pod in world.probes}
    evidence = "GET /ready: " + ", ".join(f"{pod} {answer.told}" for pod, answer in answers.items())
    unready = [str(pod["metadata"]["name"]) for pod in world.pods if not deployments.is_ready(pod)]
    if unready or any(answer.status not in {0, 200} for answer in answers.values()):
        return False, f"{evidence}; not ready: {', '.join(unready)}" if unready else evidence
    if not all(answer.status == 200 and answer.is_json("status") for answer in answers.values()):
        raise NotMeasured(f"{evidence}, which is not Open WebUI's answer; Kubernetes says that all pods are ready")
    return True, evidence


def _balanced(world: World) -> tuple[bool, str]:
    service, pods, facts = world.ports.cluster.read("Service", world.plan.service), [*world.probes], world.plan.facts
    if service is None:
        return False, f"there is no Service {world.plan.service}"
    if not pods:
        return False, "no pod runs"
    times = REQUESTS_PER_REPLICA * len(pods)
    counts = count_answers(world.ports.cluster, pods, facts.container, facts.port, service, times=times)
    evidence = f"{times} requests through the Service: {', '.join(f'{pod} {n}' for pod, n in counts.items())}"
    if not all(counts.values()) and service["spec"].get("sessionAffinity") == "ClientIP":
        raise NotMeasured(f"{evidence}; the Service keeps each client with one replica (sessionAffinity ClientIP)")
    return len(counts) == world.plan.replicas and all(counts.values()), evidence


CRITERIA: dict[str, Callable[[World], tuple[bool, str]]] = {
    "PGVector extension enabled on PostgreSQL": _extension,
    "Open WebUI scaled to the replicas asked for": _scaled,
    "All pods in Running state": _running,
    "User uploads visible across all replicas": _uploads,
    "RAG documents queryable from any replica": _queryable,
    "Embedding model cache shared (not duplicated)": _models,
    "No errors in pod logs": _quiet_logs,
    "Health checks passing on all replicas": _healthy,
    "Service load balancing traffic across pods": _balanced,
}
"""The runbook's success criteria, in its order."""
