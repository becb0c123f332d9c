"""The Grafana dashboard of one installation, generated. Pure: a target in, Grafana's JSON out.

Read from the top: is it served, by how many, how near is the next wall, what does each pod need.
"""

from dataclasses import dataclass
from typing import Any

from shared.model import Target
from shared.monitoring import selectors
from shared.wire import JsonObject

SCHEMA = 39
"""Of Grafana 10.4 and later, which migrate older ones by themselves."""
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Query:
    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `kind`: stat or timeseries; `limits`: where it turns yellow and red."""

    title: str
    kind: str
    unit: str
    queries: tuple[Query, ...]
    width: int
    limits: tuple[float, float] | None = None


def panels(target: Target) -> tuple[Panel, ...]:
    """In reading order."""
    return (*_figures(target), *_courses(target))


def _figures(target: Target) -> tuple[Panel, ...]:
    s = selectors(target)
    answering = f"scaleout_replicas_answering{{{s.guard}}}"
    available = f"kube_deployment_status_replicas_available{{{s.deployment}}}"
    used = f"scaleout_connections_used{{{s.guard}}} / scaleout_connections_for_users{{{s.guard}}}"
    share = f"kubelet_volume_stats_used_bytes{{{s.claim}}} / kubelet_volume_stats_capacity_bytes{{{s.claim}}}"
    slowest = f"scaleout_ready_slowest_seconds{{{s.guard}}}"
    return (
        Panel("Replicas answering", "stat", "short", (Query(answering, "answering"),), 5),
        Panel("Replicas available", "stat", "short", (Query(available, "available"),), 5),
        Panel("Connections taken", "stat", "percentunit", (Query(used, "taken"),), 5, (0.8, 0.95)),
        Panel("Share used", "stat", "percentunit", (Query(f"max({share})", "used"),), 5, (0.75, 0.85)),
        Panel("Slowest /ready", "stat", "s", (Query(slowest, "slowest"),), 4, (1, 2)),
    )


def _courses(target: Target) -> tuple[Panel, ...]:
    s = selectors(target)
    hpa = f'namespace="{target.namespace}",horizontalpodautoscaler="{target.deployment}"'
    main = f'{s.pods},container!="",container!="POD"'
    cpu = f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{main}}}[5m]))"
    requested = f'sum by (pod) (kube_pod_container_resource_requests{{{s.pods},resource="cpu"}})'
    replicas = (
        Query(f"kube_deployment_spec_replicas{{{s.deployment}}}", "wanted"),
        Query(f"kube_deployment_status_replicas_available{{{s.deployment}}}", "available"),
        Query(f"kube_horizontalpodautoscaler_status_desired_replicas{{{hpa}}}", "autoscaler wants"),
        Query(f"kube_horizontalpodautoscaler_spec_max_replicas{{{hpa}}}", "autoscaler's maximum"),
    )
    connections = (
        Query(f"scaleout_connections_used{{{s.guard}}}", "taken"),
        Query(f"scaleout_connections_for_users{{{s.guard}}}", "for users"),
    )
    restarts = f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{s.pods}}}[1h]))"
    memory = f"sum by (pod) (container_memory_working_set_bytes{{{main}}})"
    latency = f"scaleout_database_latency_seconds{{{s.guard}}}"
    return (
        Panel("Replicas", "timeseries", "short", replicas, 12),
        Panel("Database connections", "timeseries", "short", connections, 12),
        Panel(
            "CPU, of what is requested", "timeseries", "percentunit", (Query(f"{cpu} / {requested}", "{{pod}}"),), 12
        ),
        Panel("Memory", "timeseries", "bytes", (Query(memory, "{{pod}}"),), 12),
        Panel("Restarts in the last hour", "timeseries", "short", (Query(restarts, "{{pod}}"),), 12),
        Panel("One select 1", "timeseries", "s", (Query(latency, "latency"),), 12),
    )


def dashboard(target: Target) -> JsonObject:
    """Grafana's JSON."""
    return {
        "uid": f"scaleout-{target.deployment}"[:40],
        "title": f"Open WebUI {target.namespace}/{target.deployment}",
        "tags": ["scaleout", "open-webui"],
        "schemaVersion": SCHEMA,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source_variable()]},
        "panels": _placed(panels(target)),
    }


def _source_variable() -> JsonObject:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus", "current": {}}


def _placed(found: tuple[Panel, ...]) -> list[JsonObject]:
    """From left to right, a new row where the next panel does not fit in Grafana's 24 columns."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(found, 1):
        if x + panel.width > 24:
            x, y = 0, y + height
        height = 4 if panel.kind == "stat" else 8
        grid = {"x": x, "y": y, "w": panel.width, "h": height}
        placed.append(_as_json(number, panel) | {"gridPos": grid})
        x += panel.width
    return placed


def _as_json(number: int, panel: Panel) -> JsonObject:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.limits:
        colours = zip(("green", "orange", "red"), (None, *panel.limits), strict=True)
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in colours]}
    targets = [
        {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query.expression, "legendFormat": query.legend}
        for i, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
