"""Phase 4: from one replica to as many as asked for, one at a time, never beyond the connection budget.

Adds a PodDisruptionBudget first, and rolling updates with the budget's surge last. The pool sizes came with the switch,
because a pod reads them when it starts. Undo goes back to one replica.
"""

from dataclasses import dataclass

from shared.errors import UnsupportedDeployment, VerificationFailed
from shared.kubernetes import deployments, manifests
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import DeploymentFacts
from shared.names import Names
from shared.sizing.connection_budget import ConnectionBudget


@dataclass(frozen=True, slots=True)
class Plan:
    run: str
    deployment: str
    facts: DeploymentFacts
    replicas: int
    max_surge: int
    creates_disruption_budget: bool
    changes: tuple[Change, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    facts, budget = brief.survey.deployment, brief.survey.budget
    if facts is None or budget is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    name = brief.request.target.deployment
    names = Names(name, brief.run)
    absent = ports.cluster.read("PodDisruptionBudget", names.disruption_budget) is None
    return Plan(
        run=brief.run,
        deployment=name,
        facts=facts,
        replicas=decide_replicas(brief.request.options.replicas, budget),
        max_surge=budget.max_surge,
        creates_disruption_budget=absent,
        changes=tuple(_changes(name, brief.request.options.replicas, budget, absent)),
    )


def decide_replicas(wanted: int, budget: ConnectionBudget) -> int:
    """As many as wanted, within what the connections allow, and at least one."""
    return max(1, min(wanted, budget.largest_replica_count))


def apply(plan: Plan, ports: Ports) -> Progress:
    cluster = ports.cluster
    if plan.creates_disruption_budget:
        name = Names(plan.deployment, plan.run).disruption_budget
        cluster.apply(manifests.disruption_budget(name, plan.run, plan.facts.labels))
    live = _read(cluster, plan.deployment)
    current = int(live["spec"].get("replicas", 1))
    if failure := deployments.startup_failure(cluster.list("Pod", plan.facts.labels)):
        raise VerificationFailed(f"a new replica does not start: {failure}")
    if not deployments.is_settled(live, current):
        return _progress(live, plan.replicas)
    if current < plan.replicas:
        cluster.scale(plan.deployment, current + 1)
        return _progress(live, plan.replicas)
    if (live["spec"].get("strategy") or {}).get("type") != "RollingUpdate":
        cluster.patch("Deployment", plan.deployment, rolling_update(plan.max_surge))
        return _progress(live, plan.replicas)
    return Progress(
        finished=True,
        step="all replicas ready",
        done=current,
        total=plan.replicas,
        unit="replicas",
        result={"replicas_ready": current},
    )


def undo(plan: Plan, ports: Ports) -> Progress:
    if plan.creates_disruption_budget:
        ports.cluster.delete("PodDisruptionBudget", Names(plan.deployment, plan.run).disruption_budget)
    live = _read(ports.cluster, plan.deployment)
    if int(live["spec"].get("replicas", 1)) > 1:
        ports.cluster.scale(plan.deployment, 1)
        return Progress(finished=False, step="scaling to one replica", check_again_in_seconds=0.5)
    return Progress(finished=True, step="one replica")


def rolling_update(max_surge: int) -> Manifest:
    """Later updates of the user replace pods one by one; without room for a surge, one goes before one comes."""
    limits = {"maxSurge": max_surge, "maxUnavailable": 0 if max_surge else 1}
    return {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": limits}}}


def _read(cluster: Cluster, name: str) -> Manifest:
    found = cluster.read("Deployment", name)
    if found is None:
        raise UnsupportedDeployment(f"Deployment {name} is gone")
    return found


def _progress(live: Manifest, wanted: int) -> Progress:
    ready = int((live.get("status") or {}).get("availableReplicas") or 0)
    return Progress(
        finished=False, step="adding replicas", done=ready, total=wanted, unit="replicas", check_again_in_seconds=0.5
    )


def _changes(name: str, wanted: int, budget: ConnectionBudget, absent: bool) -> list[Change]:
    replicas = decide_replicas(wanted, budget)
    found = [Change("change", "Deployment", name, f"replicas 1 → {replicas}, maxSurge {budget.max_surge}")]
    if absent:
        found.append(Change("create", "PodDisruptionBudget", name, "maxUnavailable 1"))
    return found
