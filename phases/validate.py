"""Phase 5: the runbook's tests and its nine success criteria, each with evidence, from every replica.

Reads only, so there is nothing to undo; a criterion that is not met fails the run, and what was changed is undone.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared import deployments, mover, replicas
from shared.errors import MigrationError, UnsupportedDeployment, VerificationFailed
from shared.model import Brief, Change, Progress
from shared.ports import Manifest, Ports
from shared.survey import DatabaseAddress, DeploymentFacts

REQUESTS_PER_REPLICA = 10
ERROR_LINE = re.compile(r"\b(ERROR|CRITICAL)\b|^Traceback \(most recent call last\)", re.MULTILINE)
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
class Criterion:
    """One of the runbook's success criteria."""

    name: str
    met: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class World:
    """What all criteria are judged from, read once."""

    plan: Plan
    ports: Ports
    deployment: Manifest
    pods: Sequence[Manifest]
    probes: dict[str, dict[str, Any]]
    """Pod → what the mover sees from inside it."""


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
    world = _read_world(plan, ports)
    criteria = [_judge(name, check, world) for name, check in CRITERIA.items()]
    unmet = [c for c in criteria if not c.met]
    result = {
        "criteria": [{"name": c.name, "met": c.met, "evidence": c.evidence} for c in criteria],
        "replicas_ready": sum(deployments.is_ready(pod) for pod in world.pods),
    }
    if unmet:
        listed = "; ".join(f"{c.name}: {c.evidence}" for c in unmet)
        message = f"{len(unmet)} of {len(criteria)} success criteria are not met: {listed}"
        raise VerificationFailed(message, result=result)
    return Progress(
        finished=True,
        step="all criteria met",
        done=len(criteria),
        total=len(criteria),
        unit="criteria",
        result=result,
    )


def _read_world(plan: Plan, ports: Ports) -> World:
    deployment = ports.cluster.read("Deployment", plan.deployment)
    if deployment is None:
        raise UnsupportedDeployment(f"Deployment {plan.deployment} is gone")
    pods = [p for p in ports.cluster.list("Pod", plan.facts.labels) if not p["metadata"].get("deletionTimestamp")]
    arguments = ["probe", "--data", plan.facts.mount_path, "--sample", "20"]
    probes = {
        str(pod["metadata"]["name"]): mover.run_in(
            ports.cluster, pod["metadata"]["name"], plan.facts.container, arguments
        )
        for pod in pods
    }
    return World(plan, ports, deployment, pods, probes)


def _judge(name: str, check: Callable[[World], tuple[bool, str]], world: World) -> Criterion:
    try:
        met, evidence = check(world)
    except MigrationError as error:
        met, evidence = False, error.message
    return Criterion(name, met, evidence)


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
    seen = [probe["uploads"] for probe in world.probes.values()]
    met = bool(seen) and all(one == seen[0] for one in seen)
    files = ", ".join(str(one["files"]) for one in seen)
    return met, f"{files} files seen by the {len(seen)} replicas, {'the same list' if met else 'different lists'}"


def _queryable(world: World) -> tuple[bool, str]:
    probes = list(world.probes.values())
    same = len({(p["rows"], p["topk_digest"]) for p in probes}) == 1
    met = same and all(p["topk_self_first"] for p in probes)
    rows = ", ".join(f"{p['rows']:,}" for p in probes)
    return (
        met,
        f"rows seen: {rows}; sampled chunks find themselves first, {'equal' if same else 'different'} top results",
    )


def _models(world: World) -> tuple[bool, str]:
    seen = [tuple(probe["models"]) for probe in world.probes.values()]
    claim = world.ports.cluster.read("PersistentVolumeClaim", world.plan.files_claim) or {}
    shared = "ReadWriteMany" in (claim.get("spec") or {}).get("accessModes", [])
    met = shared and len(set(seen)) == 1
    return (
        met,
        f"one ReadWriteMany claim {world.plan.files_claim}; models: {', '.join(seen[0] if seen else ()) or 'none yet'}",
    )


def _quiet_logs(world: World) -> tuple[bool, str]:
    read, container = world.ports.cluster.logs, world.plan.facts.container
    lines = {name: ERROR_LINE.findall(read(name, container, tail_lines=2000)) for name in world.probes}
    count = sum(map(len, lines.values()))
    return count == 0, f"{count} error lines in the logs of {len(lines)} pods"


def _healthy(world: World) -> tuple[bool, str]:
    url = f"http://{{self}}:{world.plan.facts.port}/ready"
    codes = {
        name: replicas.get_codes(world.ports.cluster, name, world.plan.facts.container, url)[0] for name in world.probes
    }
    met = set(codes.values()) == {200} and all(deployments.is_ready(pod) for pod in world.pods)
    return met, "GET /ready: " + ", ".join(f"{name} {code}" for name, code in codes.items())


def _balanced(world: World) -> tuple[bool, str]:
    service = world.ports.cluster.read("Service", world.plan.service)
    if service is None:
        return False, f"there is no Service {world.plan.service}"
    marker = f"scaleout={secrets.token_hex(6)}"
    url = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/health?{marker}"
    times = REQUESTS_PER_REPLICA * len(world.pods)
    counts = replicas.spread(
        world.ports.cluster, world.pods, world.plan.facts.container, url, marker=marker, times=times
    )
    met = len(counts) == world.plan.replicas and all(counts.values())
    return met, f"{times} requests through the Service: " + ", ".join(f"{name} {n}" for name, n in counts.items())


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
