"""Phase 7: alert rules and a dashboard for this installation; left out unless it is asked for.

Adds a ConfigMap with each (Grafana's sidecar picks the dashboard up by its label), and where the cluster has
prometheus-operator and this identity may, a PrometheusRule. What it may not do it says, with the command that does it.
Undo removes what it made, or puts back what an earlier run of ours had made. A rerun applies the same again.
"""

import json
from dataclasses import dataclass

from shared import manifests, monitoring
from shared.dashboard import dashboard
from shared.errors import ConfigurationError
from shared.model import NOT_ASKED_FOR, Brief, Change, Progress, Target
from shared.ports import Cluster, Manifest, Ports
from shared.survey import Problem, Severity

NAME = "install_monitoring"
OPERATOR = "monitoring.coreos.com"
RULES, DASHBOARD = "rules.json", "dashboard.json"

type Place = tuple[str, str]
"""Kind and name of an object."""


@dataclass(frozen=True, slots=True)
class Plan:
    run: str = ""
    """Empty: nobody asked for monitoring."""
    target: Target | None = None
    places: tuple[Place, ...] = ()
    before: tuple[Manifest, ...] = ()
    """What an earlier run of ours had made."""
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    if not brief.request.wants(NAME):
        return Plan()
    cluster, target = ports.cluster, brief.request.target
    rules, board = f"{target.deployment}-alert-rules", f"{target.deployment}-dashboard"
    served = cluster.serves(OPERATOR)
    allowed = served and all(
        cluster.may(verb, "prometheusrules", group=OPERATOR) for verb in ("get", "patch", "delete")
    )
    places: tuple[Place, ...] = (("ConfigMap", rules), ("ConfigMap", board))
    places += (("PrometheusRule", rules),) if allowed else ()
    present = {place: found for place in places if (found := cluster.read(*place)) is not None}
    if foreign := [" ".join(place) for place, found in present.items() if not manifests.is_ours(found)]:
        message = f"{' and '.join(foreign)} is there already and was not made by this app"
        raise ConfigurationError(message, hint="Rename it, or leave monitoring off.")
    return Plan(
        run=brief.run,
        target=target,
        places=places,
        before=tuple(manifests.as_applied(found) for found in present.values()),
        changes=tuple(_change(place, changes=place in present) for place in places),
        problems=() if allowed else (_left_to_the_operator(rules, target, served=served),),
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    if plan.target is None:
        return NOT_ASKED_FOR
    for manifest in _wanted(plan, plan.target):
        ports.cluster.apply(manifest, force=bool(plan.before))
    result = {"rules": len(monitoring.alerts(plan.target)), "objects": [" ".join(place) for place in plan.places]}
    return Progress(finished=True, step="rules and dashboard in place", result=result)


def undo(plan: Plan, ports: Ports) -> Progress:
    if plan.target is None:
        return NOT_ASKED_FOR
    kept = {(one["kind"], one["metadata"]["name"]): one for one in plan.before}
    for place in plan.places:
        _put_back(ports.cluster, place, plan.run, kept.get(place))
    return Progress(finished=True, step="as it was")


def _put_back(cluster: Cluster, place: Place, run: str, before: Manifest | None) -> None:
    live = cluster.read(*place)
    if live is None or live["metadata"].get("labels", {}).get(manifests.RUN) != run:
        return
    if before is not None:
        cluster.apply(before, force=True)
    else:
        cluster.delete(*place)


def _wanted(plan: Plan, target: Target) -> list[Manifest]:
    (_, rules), (_, board), *more = plan.places
    found = [
        monitoring.rules_map(rules, plan.run, {RULES: json.dumps(monitoring.rule_groups(target), indent=1)}),
        monitoring.dashboard_map(board, plan.run, {DASHBOARD: json.dumps(dashboard(target), indent=1)}),
    ]
    return [*found, *(monitoring.prometheus_rule(name, plan.run, target) for _, name in more)]


def _change(place: Place, *, changes: bool) -> Change:
    detail = "dashboard" if place[1].endswith("-dashboard") else "alert rules"
    return Change("change" if changes else "create", *place, detail)


def _left_to_the_operator(name: str, target: Target, *, served: bool) -> Problem:
    why = (
        "this identity may not make PrometheusRules: apply infra/monitoring/prometheus-operator/role.yaml"
        if served
        else "the cluster has no prometheus-operator; Azure's managed Prometheus takes infra/monitoring/azure"
    )
    file = f"kubectl get cm {name} -n {target.namespace} -o jsonpath='{{.data.rules\\.json}}'"
    message = f"the alert rules are left as a file in ConfigMap {name}: {why}"
    return Problem("rules_not_loaded", Severity.WARNING, message, f"{file} prints them for any Prometheus.")
