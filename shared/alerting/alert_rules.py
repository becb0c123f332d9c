"""What is watched in a migrated Open WebUI: the metrics that exist, and the alerts on them. Pure.

Open WebUI itself has no `/metrics` (facts §2), so everything here comes from kube-state-metrics, cAdvisor and the
kubelet, which every Prometheus on Kubernetes scrapes, and from the health guard's own endpoint, `GET /api/metrics`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.kubernetes import manifests
from shared.model.migration import Target
from shared.model.ports import Manifest

METRICS = {
    "kube_deployment_spec_replicas": "kube-state-metrics",
    "kube_deployment_status_replicas_available": "kube-state-metrics",
    "kube_horizontalpodautoscaler_spec_max_replicas": "kube-state-metrics",
    "kube_horizontalpodautoscaler_spec_min_replicas": "kube-state-metrics",
    "kube_horizontalpodautoscaler_status_desired_replicas": "kube-state-metrics",
    "kube_pod_container_resource_requests": "kube-state-metrics",
    "kube_pod_container_status_restarts_total": "kube-state-metrics",
    "kube_pod_container_status_waiting_reason": "kube-state-metrics",
    "container_cpu_usage_seconds_total": "cadvisor",
    "container_memory_working_set_bytes": "cadvisor",
    "kubelet_volume_stats_capacity_bytes": "kubelet",
    "kubelet_volume_stats_used_bytes": "kubelet",
    "scaleout_connections_for_users": "guard",
    "scaleout_connections_used": "guard",
    "scaleout_database_latency_seconds": "guard",
    "scaleout_guard_reading_timestamp_seconds": "guard",
    "scaleout_guard_skipped_ticks_total": "guard",
    "scaleout_guard_ticks_total": "guard",
    "scaleout_ready_slowest_seconds": "guard",
    "scaleout_replicas_answering": "guard",
    "scaleout_replicas_ready": "guard",
    "scaleout_replicas_wanted": "guard",
}
"""Every metric that a rule or a panel may use → who exposes it. Source: kube-state-metrics, docs/metrics; kubelet."""

WAITS = "CrashLoopBackOff|CreateContainerConfigError|ErrImagePull|ImagePullBackOff|InvalidImageName|RunContainerError"

SESSIONS = "select application_name, state, count(*) from pg_stat_activity group by 1, 2"
POD = "{{ $labels.pod }}"
"""What Prometheus replaces by the pod that an alert is about."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule. `minutes`: how long it must hold before somebody is called."""

    name: str
    expression: str
    minutes: int
    severity: str
    summary: str
    command: str
    """What to type first."""

    means: str = ""
    """The summary where no alert has filled it in; empty: the summary itself."""

    @property
    def meaning(self) -> str:
        return self.means or self.summary

    @property
    def command_for_a_person(self) -> str:
        return self.command.replace(POD, "POD")

    def as_rule(self) -> Manifest:
        """In Prometheus' form."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": f"{self.minutes}m",
            "labels": {"severity": self.severity, "app": "open-webui"},
            "annotations": {"summary": self.summary, "description": f"Start with: {self.command}"},
        }


@dataclass(frozen=True, slots=True)
class Selectors:
    """This installation's label matchers."""

    deployment: str
    pods: str
    autoscaler: str
    claim: str
    guard: str


def selectors(target: Target) -> Selectors:
    """Of the Deployment, its pods, its autoscaler, the share and the guard's own series."""
    return selectors_named(target.namespace, target.deployment, target.files_claim, target.key)


def selectors_named(namespace: str, deployment: str, claim: str, key: str) -> Selectors:
    """The same for bare names, which may be a dashboard's variables."""
    here = f'namespace="{namespace}"'
    return Selectors(
        deployment=f'{here},deployment="{deployment}"',
        pods=f'{here},pod=~"{deployment}-[0-9a-f]+-[0-9a-z]+"',  # the ReplicaSet's hash follows: not its Redis
        autoscaler=f'{here},horizontalpodautoscaler="{deployment}"',
        claim=f'{here},persistentvolumeclaim="{claim}"',
        guard=f'target="{key}"',
    )


def alerts(target: Target) -> tuple[Alert, ...]:
    """All rules of one installation."""
    return (*_pod_alerts(target), *_service_alerts(target), *_capacity_alerts(target))


def _pod_alerts(target: Target) -> tuple[Alert, ...]:
    s, where, deployment = selectors(target), f"-n {target.namespace}", target.deployment
    waiting = f'kube_pod_container_status_waiting_reason{{{s.pods},reason=~"{WAITS}"}}'
    available = f"kube_deployment_status_replicas_available{{{s.deployment}}}"
    wanted = f"kube_deployment_spec_replicas{{{s.deployment}}}"
    return (
        Alert(
            "OpenWebUIPodFailing",
            f"max by (namespace, pod, reason) ({waiting}) > 0",
            2,
            "critical",
            "{{ $labels.pod }} cannot start: {{ $labels.reason }}",
            f"kubectl describe pod {POD} {where}",
            "a pod cannot start, and why",
        ),
        Alert(
            "OpenWebUIRestarts",
            f"increase(kube_pod_container_status_restarts_total{{{s.pods}}}[15m]) > 2",
            1,
            "warning",
            "{{ $labels.pod }} restarts again and again",
            f"kubectl logs {POD} {where} --previous --tail=100",
            "a pod restarts again and again",
        ),
        Alert(
            "OpenWebUITooFewReplicas",
            f"{available} < {wanted}",
            10,
            "warning",
            "fewer replicas are available than asked for, for ten minutes",
            f"kubectl get pods {where}; kubectl rollout status deploy/{deployment} {where}",
        ),
    )


def _service_alerts(target: Target) -> tuple[Alert, ...]:
    s, where, deployment = selectors(target), f"-n {target.namespace}", target.deployment
    available = f"kube_deployment_status_replicas_available{{{s.deployment}}}"
    return (
        Alert(
            "OpenWebUIDown",
            f"{available} == 0 or scaleout_replicas_answering{{{s.guard}}} == 0",
            1,
            "critical",
            "nobody is served: no replica of Open WebUI answers",
            f"kubectl get pods {where}; kubectl logs deploy/{deployment} {where} --tail=100",
        ),
        Alert(
            "OpenWebUISlowReady",
            f"scaleout_ready_slowest_seconds{{{s.guard}}} > 2",
            5,
            "warning",
            "a replica takes {{ $value }} s to answer /ready, which asks the database and Redis",
            f"kubectl top pods {where}; {SESSIONS}",
            "a replica takes over 2 s to answer /ready, which asks the database and Redis",
        ),
        Alert(
            "ScaleoutGuardSilent",
            f"time() - scaleout_guard_reading_timestamp_seconds{{{s.guard}}} > 300",
            2,
            "warning",
            "the health guard has not looked for five minutes",
            "GET /api/guard, and the Functions app's log",
        ),
    )


def _capacity_alerts(target: Target) -> tuple[Alert, ...]:
    s, where = selectors(target), f"-n {target.namespace}"
    used = f"scaleout_connections_used{{{s.guard}}} / scaleout_connections_for_users{{{s.guard}}}"
    volume = [f"kubelet_volume_stats_{what}_bytes{{{s.claim}}}" for what in ("used", "capacity")]
    return (
        Alert(
            "DatabaseConnectionsHigh",
            f"{used} > 0.8",
            5,
            "warning",
            "{{ $value | humanizePercentage }} of the database's connections are taken",
            SESSIONS,
            "over 80 % of the database's connections are taken",
        ),
        Alert(
            "DatabaseConnectionsNearlyGone",
            f"{used} > 0.95",
            1,
            "critical",
            "{{ $value | humanizePercentage }} of the database's connections are taken: the next pods will be refused",
            f"{SESSIONS}; kubectl scale deploy/{target.deployment} {where} to fewer replicas",
            "over 95 % of the database's connections are taken: the next pods will be refused",
        ),
        Alert(
            "ShareNearlyFull",
            f"max by (namespace, persistentvolumeclaim) ({volume[0]} / {volume[1]}) > 0.85",
            15,
            "warning",
            "{{ $labels.persistentvolumeclaim }} is {{ $value | humanizePercentage }} full",
            f"kubectl edit pvc {target.files_claim} {where}   # spec.resources.requests.storage grows in place",
            "the share is over 85 % full",
        ),
    )


def rule_groups(target: Target) -> dict[str, Any]:
    """A rule file for any Prometheus."""
    return {"groups": [{"name": f"scaleout-{target.deployment}", "rules": [a.as_rule() for a in alerts(target)]}]}


def prometheus_rule(name: str, run: str, target: Target, labels: Mapping[str, str]) -> Manifest:
    """For prometheus-operator. `labels`: what its Prometheus selects rules by."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name, "labels": {**labels, **manifests.labels(run)}},
        "spec": rule_groups(target),
    }


def rules_map(name: str, run: str, files: dict[str, str]) -> Manifest:
    """Rules as a file, for any Prometheus."""
    metadata = {"name": name, "labels": manifests.labels(run)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}


def dashboard_map(name: str, run: str, files: dict[str, str]) -> Manifest:
    """A dashboard as a file: Grafana's sidecar takes every file of a ConfigMap with this label for one."""
    found = rules_map(name, run, files)
    found["metadata"]["labels"]["grafana_dashboard"] = "1"
    return found
