"""Phases 6 and 7 against an API server: what they are given, a Deployment to work on, and how they are driven."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from shared.model.migration import Brief, MigrationRequest, Mode, Options, Target
from shared.model.survey import DatabaseFacts, DeploymentFacts, ServerFactsBrief, Survey
from shared.sizing.connection_budget import Demand, ServerLimits, plan_budget
from shared.wire import from_wire, to_wire

TARGET = Target("s", "rg", "aks", "https://v", "psql")
LIMITS = ServerLimits(200, 10, 5, "Standard_B1ms")
FACTS = DeploymentFacts(
    "open-webui", "image", 3, "RollingUpdate", "/data", "data", 8080, {"app": "open-webui"}, (), "pod", "node", "digest"
)
POOLS = {
    "DATABASE_POOL_SIZE": "2",
    "DATABASE_POOL_MAX_OVERFLOW": "2",
    "PGVECTOR_POOL_SIZE": "1",
    "PGVECTOR_POOL_MAX_OVERFLOW": "1",
}


class Clock:
    """Moves on a minute at every look."""

    def __init__(self):
        self.at = datetime(2026, 5, 4, tzinfo=UTC)

    def now(self):
        self.at += timedelta(seconds=60)
        return self.at


@pytest.fixture
def ports(cluster):
    container = {
        "name": "open-webui",
        "image": "image",
        "resources": {"requests": {"cpu": "500m"}},
        "env": [{"name": name, "value": value} for name, value in POOLS.items()],
    }
    labels = {"app": "open-webui"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "open-webui"}, "spec": spec})
    yield SimpleNamespace(cluster=cluster, clock=Clock())
    for kind, names in {
        "HorizontalPodAutoscaler": ["open-webui", "mine"],
        "ConfigMap": ["open-webui-alert-rules", "open-webui-dashboard"],
        "Deployment": ["open-webui"],
    }.items():
        for name in names:
            cluster.delete(kind, name)


def brief(*phases, run="run-1", limits=LIMITS, **options):
    mode = Mode.PHASES if phases else Mode.MIGRATE
    survey = Survey(
        deployment=FACTS,
        database=DatabaseFacts("17", limits, 0, {}, {}),
        server=ServerFactsBrief("psql", "17", limits.sku, "Burstable", ()),
        budget=plan_budget(limits, Demand(replicas=3, autoscaler_maximum=20)),
    )
    return Brief(run, MigrationRequest(TARGET, mode, Options(**options), phases), survey)


def planned(phase, given, ports):
    """The plan, as it comes back from durable history."""
    return from_wire(json.loads(json.dumps(to_wire(phase.plan(given, ports)))), phase.Plan)


def finish(step, plan, ports):
    """Call it until it is finished, as the orchestrator does."""
    for _ in range(20):
        progress = step(plan, ports)
        if progress.finished:
            return progress
    raise AssertionError(progress)


def objects(cluster):
    kinds = ("HorizontalPodAutoscaler", "ConfigMap")
    return {f"{kind}/{one['metadata']['name']}" for kind in kinds for one in cluster.list(kind)} - {
        "ConfigMap/kube-root-ca.crt"
    }
