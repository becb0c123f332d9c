"""Phase 6: an autoscaler for Open WebUI, as far as the connection budget carries; left out unless it is asked for.

Adds one HorizontalPodAutoscaler and changes nothing else: from then on it owns the replica count, which no phase
applies again. One that stays blind is a setback, and taken back. Undo removes it, or puts back the one of an earlier
run. A rerun finds its own object by the run's label.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import ConfigurationError, UnsupportedDeployment
from shared.guard.workload import to_pods, to_pools
from shared.kubernetes import autoscaling, deployments, manifests
from shared.kubernetes.autoscaling import Bounds
from shared.model.migration import NOT_ASKED_FOR, Brief, Change, Mode, Progress
from shared.model.ports import Manifest, Ports
from shared.model.survey import DeploymentFacts, Problem, Severity, Survey

NAME = "enable_autoscaling"
METRICS = "metrics.k8s.io"
PATIENCE = timedelta(seconds=90)
"""The controller looks every 15 s, and metrics of a pod come a minute after its start."""


HINT = "kubectl get apiservice v1beta1.metrics.k8s.io; AKS runs metrics-server unless somebody removed it."


@dataclass(frozen=True, slots=True)
class Plan:
    run: str = ""
    deployment: str = ""
    bounds: Bounds | None = None
    """None: nobody asked for an autoscaler."""
    name: str = ""
    before: Manifest | None = None
    """The autoscaler of an earlier run of ours."""
    replicas_before: int | None = None
    """Set where this phase runs alone; in a migration phase 4 goes back."""
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    if not brief.request.wants(NAME):
        return Plan()
    name, facts = brief.request.target.deployment, brief.survey.deployment
    live = ports.cluster.read("Deployment", name)
    if live is None or facts is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    bounds = decide_bounds(brief, live, facts)
    present = autoscaling.autoscalers_of(ports.cluster.list("HorizontalPodAutoscaler"), name)
    ours = next((one for one in present if manifests.is_ours(one)), None)
    foreign = [one["metadata"]["name"] for one in present if not manifests.is_ours(one)]
    alone = brief.request.mode is Mode.PHASES
    return Plan(
        run=brief.run,
        deployment=name,
        bounds=bounds,
        name=ours["metadata"]["name"] if ours else name,
        before=manifests.as_applied(ours) if ours else None,
        replicas_before=facts.replicas if alone else None,
        changes=(_change(name, bounds, replaces=ours is not None),),
        problems=(
            *_foreign_problems(foreign),
            *find_problems(live, bounds, sees=ports.cluster.serves(METRICS)),
        ),
    )


def decide_bounds(brief: Brief, live: Manifest, facts: DeploymentFacts) -> Bounds:
    """In a migration from the pools that it sets; alone from the pools that the pods have."""
    survey, replicas = brief.survey, brief.request.options.replicas
    if survey.budget is None or survey.database is None:
        raise UnsupportedDeployment("the preflight could not read the database's limits")
    if brief.request.mode is not Mode.PHASES:
        return autoscaling.bounds_within_budget(replicas, survey.budget, _sku(survey))
    pools = to_pools(deployments.pod_spec(live)["containers"], facts.container)
    surge = to_pods(live["spec"].get("strategy") or {}, replicas)
    return autoscaling.bounds_with_pools(replicas, survey.database.limits, pools, surge, survey.database.sessions)


def find_problems(live: Manifest, bounds: Bounds, *, sees: bool) -> list[Problem]:
    """What would make the autoscaler blind, useless, or fought over."""
    problems = []
    if blind := autoscaling.containers_without_request(live):
        message = f"container {', '.join(blind)} requests no CPU: an autoscaler could not tell how busy a pod is"
        hint = "Set resources.requests.cpu on every container of the Deployment, 500m for Open WebUI, then plan again."
        problems.append(Problem("no_cpu_request", Severity.BLOCKING, message, hint))
    if not sees:
        message = f"the cluster serves no {METRICS}: an autoscaler would see nothing, so this phase would be taken back"
        problems.append(Problem("no_metrics_server", Severity.WARNING, message, HINT))
    if bounds.minimum == bounds.maximum:
        message = f"the autoscaler can only keep {bounds.maximum} replicas: {bounds.because}"
        hint = "A larger database server, or PgBouncer where its tier has it, makes room for more."
        problems.append(Problem("no_room_to_scale", Severity.WARNING, message, hint))
    owner = deployments.field_owners(live, {"replicas": ("f:spec", "f:replicas")}).get("replicas", "")
    if owner not in {"", "scaleout", "kube-controller-manager"}:
        message = f"{owner} sets the Deployment's replicas; its next apply would undo what the autoscaler did"
        problems.append(Problem("replicas_owner", Severity.WARNING, message, "Take spec.replicas out of its manifest."))
    return problems


def apply(plan: Plan, ports: Ports) -> Progress:
    if plan.bounds is None:
        return NOT_ASKED_FOR
    now = ports.clock.now()
    live = ports.cluster.read("HorizontalPodAutoscaler", plan.name)
    if live is None or live["metadata"].get("labels", {}).get(manifests.RUN) != plan.run:
        wanted = autoscaling.autoscaler(plan.name, plan.run, plan.deployment, plan.bounds, now.isoformat())
        live = ports.cluster.apply(wanted, force=plan.before is not None)
    sees, says = autoscaling.sight(live)
    if not sees:
        waited = now - datetime.fromisoformat(deployments.annotations(live)[autoscaling.APPLIED_AT])
        return _await_sight(says, waited, ports)
    bounds = plan.bounds
    result = {"minimum": bounds.minimum, "maximum": bounds.maximum, "because": bounds.because, "says": says}
    return Progress(finished=True, step="autoscaling", result=result)


def _await_sight(says: str, waited: timedelta, ports: Ports) -> Progress:
    """Give it time for a first look; ConfigurationError, in its own words, where it stays blind.

    At once where the cluster serves no metrics: that does not pass by itself. Recorded from Kubernetes 1.36.2:
    `FailedGetResourceMetric`, "the server could not find the requested resource (get pods.metrics.k8s.io)", 15 s on.
    """
    if waited >= PATIENCE or (says and not ports.cluster.serves(METRICS)):
        why = says or f"it has not looked within {PATIENCE.total_seconds():g} s"
        raise ConfigurationError(f"the autoscaler cannot tell how busy the pods are: {why}", hint=HINT)
    step = f"the autoscaler sees no pods yet: {says}" if says else "waiting for the autoscaler's first look"
    return Progress(finished=False, step=step, check_again_in_seconds=1.0)


def undo(plan: Plan, ports: Ports) -> Progress:
    if plan.bounds is None:
        return NOT_ASKED_FOR
    live = ports.cluster.read("HorizontalPodAutoscaler", plan.name)
    if live is not None and live["metadata"].get("labels", {}).get(manifests.RUN) == plan.run:
        if plan.before is not None:
            ports.cluster.apply(plan.before, force=True)
        else:
            ports.cluster.delete("HorizontalPodAutoscaler", plan.name)
    if plan.replicas_before is not None and plan.before is None:
        ports.cluster.scale(plan.deployment, plan.replicas_before)
    return Progress(finished=True, step="as it was")


def _foreign_problems(names: list[str]) -> list[Problem]:
    if not names:
        return []
    message = f"HorizontalPodAutoscaler {', '.join(names)} scales this Deployment already"
    hint = f"kubectl delete hpa {' '.join(names)}, or leave autoscaling off: two would fight each other."
    return [Problem("autoscaler_present", Severity.BLOCKING, message, hint)]


def _change(name: str, bounds: Bounds, *, replaces: bool) -> Change:
    detail = f"{bounds.minimum} to {bounds.maximum} replicas at {autoscaling.CPU_PERCENT} % CPU: {bounds.because}"
    return Change("change" if replaces else "create", "HorizontalPodAutoscaler", name, detail)


def _sku(survey: Survey) -> str:
    return survey.server.sku if survey.server else ""
