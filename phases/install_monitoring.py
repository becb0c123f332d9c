"""Phase 7: alert rules and a dashboard for this installation; left out unless it is asked for.

Adds a ConfigMap with each (Grafana's sidecar picks the dashboard up by its label), and where the cluster has
prometheus-operator and this identity may, a PrometheusRule with the labels that its Prometheus selects rules by. What
it cannot do it says, with the command that does it. Undo removes what it made, or puts back what an earlier run of ours
had made. A rerun applies the same again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.alerting import alert_rules
from shared.alerting.dashboard import dashboard
from shared.alerting.prometheus_operator import Taker, find_taker
from shared.errors import ConfigurationError
from shared.kubernetes import manifests
from shared.model.migration import NOT_ASKED_FOR, Brief, Change, Progress, Target
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import Problem, Severity

NAME = "install_monitoring"
OPERATOR = "monitoring.coreos.com"
AZURE = "azmonitoring.coreos.com"
"""The group of Azure's managed Prometheus. Source: Azure/prometheus-collector, its PodMonitor and ServiceMonitor."""
ROLE = "infra/monitoring/prometheus-operator/role.yaml"
RULES, DASHBOARD = "rules.json", "dashboard.json"

type Place = tuple[str, str]
"""Kind and name of an object."""


@dataclass(frozen=True, slots=True)
class Plan:
    run: str = ""
    """Empty: nobody asked for monitoring."""
    target: Target | None = None
    places: tuple[Place, ...] = ()
    rule_labels: Mapping[str, str] = field(default_factory=dict)
    """Of the PrometheusRule: what a Prometheus selects it by."""
    before: tuple[Manifest, ...] = ()
    """What an earlier run of ours had made."""
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """What the cluster has of prometheus-operator, and what we may do with it."""

    served: bool = False
    lets_us: bool = False
    """Make PrometheusRules."""
    azure: bool = False
    """Azure's managed Prometheus is there."""
    reads: bool = False
    """We may read which rules each Prometheus takes."""
    taker: Taker | None = None


def plan(brief: Brief, ports: Ports) -> Plan:
    if not brief.request.wants(NAME):
        return Plan()
    cluster, target = ports.cluster, brief.request.target
    rules, board = f"{target.deployment}-alert-rules", f"{target.deployment}-dashboard"
    operator = _look_for_operator(cluster)
    places: tuple[Place, ...] = (("ConfigMap", rules), ("ConfigMap", board))
    places += (("PrometheusRule", rules),) if operator.lets_us else ()
    present = {place: found for place in places if (found := cluster.read(*place)) is not None}
    if foreign := [" ".join(place) for place, found in present.items() if not manifests.is_ours(found)]:
        message = f"{' and '.join(foreign)} is there already and was not made by this app"
        raise ConfigurationError(message, hint="Rename it, or leave monitoring off.")
    return Plan(
        run=brief.run,
        target=target,
        places=places,
        rule_labels=operator.taker.labels if operator.taker else {},
        before=tuple(manifests.as_applied(found) for found in present.values()),
        changes=tuple(_change(place, operator.taker, changes=place in present) for place in places),
        problems=tuple(_problems(rules, target, operator)),
    )


def _look_for_operator(cluster: Cluster) -> Operator:
    azure = cluster.serves(AZURE)
    if not cluster.serves(OPERATOR):
        return Operator(azure=azure)
    verbs = ("get", "create", "patch", "delete")
    if not all(cluster.may(verb, "prometheusrules", group=OPERATOR) for verb in verbs):
        return Operator(served=True, azure=azure)
    reads = cluster.may("list", "prometheuses", group=OPERATOR, namespaced=False)
    found = cluster.list("Prometheus", everywhere=True) if reads else []
    return Operator(served=True, lets_us=True, azure=azure, reads=reads, taker=find_taker(found, cluster.namespace))


def apply(plan: Plan, ports: Ports) -> Progress:
    if plan.target is None:
        return NOT_ASKED_FOR
    for manifest in _wanted(plan, plan.target):
        ports.cluster.apply(manifest, force=bool(plan.before))
    result = {"rules": len(alert_rules.alerts(plan.target)), "objects": [" ".join(place) for place in plan.places]}
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
        alert_rules.rules_map(rules, plan.run, {RULES: json.dumps(alert_rules.rule_groups(target), indent=1)}),
        alert_rules.dashboard_map(board, plan.run, {DASHBOARD: json.dumps(dashboard(target), indent=1)}),
    ]
    return [*found, *(alert_rules.prometheus_rule(name, plan.run, target, plan.rule_labels) for _, name in more)]


def _change(place: Place, taker: Taker | None, *, changes: bool) -> Change:
    detail = "dashboard" if place[1].endswith("-dashboard") else "alert rules"
    if place[0] == "PrometheusRule" and taker:
        detail += f", taken by Prometheus {taker.name}"
    return Change("change" if changes else "create", *place, detail)


def _problems(name: str, target: Target, operator: Operator) -> list[Problem]:
    """What is left to a person."""
    if not operator.lets_us:
        return [_left_to_the_operator(name, target, operator)]
    if operator.taker:
        return []
    see = (
        "kubectl get prometheus -A -o jsonpath='{range .items[*]}{.metadata.name}: {.spec.ruleSelector}{\"\\n\"}{end}'"
    )
    why = (
        f"no Prometheus takes rules of namespace {target.namespace} by labels that could be read"
        if operator.reads
        else f"this identity may not read which labels a Prometheus wants: apply {ROLE}"
    )
    message = f"PrometheusRule {name} may stay unread: {why}"
    hint = f"{see} shows what it wants; then kubectl label prometheusrule {name} -n {target.namespace} <that label>."
    return [Problem("rules_not_selected", Severity.WARNING, message, hint)]


def _left_to_the_operator(name: str, target: Target, operator: Operator) -> Problem:
    if operator.served:
        why = f"this identity may not make PrometheusRules: apply {ROLE}"
    elif operator.azure:
        why = "Azure's managed Prometheus takes rules from Azure: az deployment group create with azure/rules.json"
    else:
        why = "the cluster has no prometheus-operator; Azure's managed Prometheus takes infra/monitoring/azure"
    file = f"kubectl get cm {name} -n {target.namespace} -o jsonpath='{{.data.rules\\.json}}'"
    message = f"the alert rules are left as a file in ConfigMap {name}: {why}"
    return Problem("rules_not_loaded", Severity.WARNING, message, f"{file} prints them for any Prometheus.")
