"""Three replicas of the stand-in behind a Service, with Redis and a database, on a cluster of processes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from kubernetes import config

from local.postgres import Postgres
from local.sample import load_sql
from phases import load_test
from shared.adapters.cluster import KubernetesCluster
from shared.model.migration import Brief, MigrationRequest, Mode, Options, Progress, Target
from shared.model.ports import Ports
from shared.model.survey import DatabaseFacts, DeploymentFacts, Survey
from shared.sizing.connection_budget import PoolSizes, ServerLimits
from shared.wire import from_wire, to_wire
from tests.local_kubelet.fix_node import NAMESPACE, Node, cluster, node

TARGET = Target("s", "g", "c", "https://v.vault.azure.net", "p")
LABELS = {"app": "open-webui"}
LIMITS = ServerLimits(50, 10, 5)
POOLS = PoolSizes(1, 1, 1, 0)
FACTS = DeploymentFacts(
    "web", "open-webui:0.12.4", 3, "RollingUpdate", "/app/backend/data", "data", 8080, LABELS, (), "pod", "node", "d"
)
MINE = "scaleout-load-"
"""What every user, file and object of a load test begins with."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Vault:
    """One secret."""

    def read(self, name: str) -> str:
        assert name == "open-webui-administrator"
        return "admin@example.com:whatever"


@dataclass
class Service:
    """A migrated Open WebUI in miniature."""

    node: Node
    cluster: KubernetesCluster
    database_url: str
    delay: Path
    """While it exists, chats and searches take longer by the seconds in it."""

    @property
    def ports(self) -> Ports:
        unused: Any = None
        return Ports(self.cluster, unused, unused, Vault(), SystemClock())

    def plan(self, run: str, **options: Any) -> load_test.Plan:
        """The phase's plan, as it comes back from durable history."""
        chosen = {"load_test_users": 30, "load_test_seconds": 5, "load_test_trials": 1} | options
        request = MigrationRequest(TARGET, Mode.PHASES, Options(**chosen), ("load_test",))
        survey = Survey(deployment=FACTS, database=DatabaseFacts("18", LIMITS, 0, {}, {}))
        plan = load_test.plan(Brief(run, request, survey), self.ports)
        return from_wire(to_wire(plan), load_test.Plan)

    def drive(
        self, step: Callable[[load_test.Plan, Ports], Progress], plan: load_test.Plan, *, until: str = ""
    ) -> Progress:
        """Call `apply` or `undo` as the orchestrator does; until it is finished, or its step says this."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            progress = step(plan, self.ports)
            if progress.finished or (until and until in progress.step):
                return progress
            time.sleep(min(progress.check_again_in_seconds, 0.5))
        raise AssertionError(progress)

    def left_behind(self) -> dict[str, int]:
        """What of a load test is still in the database."""
        statements = {
            "users": f"select count(*) from \"user\" where email like '{MINE}%'",
            "passwords": f"select count(*) from auth where email like '{MINE}%'",
            "files": f"select count(*) from file where filename like '{MINE}%'",
            "chats": "select count(*) from chat where title = 'Scaleout load test'",
            "chunks": f"select count(*) from document_chunk where vmetadata->>'name' like '{MINE}%'",
        }
        with psycopg.connect(self.database_url) as connection:
            counted = {name: connection.execute(sql).fetchone()[0] for name, sql in statements.items()}
        return {name: count for name, count in counted.items() if count}

    def objects(self, run: str) -> set[str]:
        kinds = ("Job", "Secret", "ConfigMap")
        labels = {"scaleout.dev/run": run}
        return {f"{kind}/{one['metadata']['name']}" for kind in kinds for one in self.cluster.list(kind, labels)}

    def standing(self) -> tuple[int, dict[str, str]]:
        """Replicas and variables of the Deployment."""
        spec = self.cluster.read("Deployment", "open-webui")["spec"]
        container = spec["template"]["spec"]["containers"][0]
        return spec["replicas"], {entry["name"]: entry["value"] for entry in container["env"]}

    def wait_until_settled(self) -> None:
        def settled() -> bool:
            found = self.node.apps.read_namespaced_deployment("open-webui", NAMESPACE)
            wanted, status = found.spec.replicas, found.status
            counts = (status.updated_replicas, status.replicas, status.available_replicas)
            return status.observed_generation >= found.metadata.generation and counts == (wanted,) * 3

        self.node.wait_for(settled, 90)


@contextmanager
def service(directory: Path, postgres: Postgres, app_sql: Path) -> Iterator[Service]:
    """Bring all of it up, and down."""
    postgres.create_database("load")
    url = postgres.app_url("load")
    load_sql(app_sql, url)
    with psycopg.connect(postgres.superuser_url("load"), autocommit=True) as connection:
        connection.execute("create extension vector")
    with cluster(directory) as kubeconfig, node(directory, kubeconfig) as (machine, _):
        machine.core.create_namespace({"metadata": {"name": NAMESPACE}})
        api = KubernetesCluster(NAMESPACE, lambda: config.new_client_from_config(str(kubeconfig)))
        found = Service(machine, api, url, directory / "delay")
        _install(machine, url, found.delay)
        found.wait_until_settled()
        yield found


def _install(machine: Node, url: str, delay: Path) -> None:
    redis = [{"name": "redis", "image": "redis:7.4-alpine", "ports": [{"containerPort": 6379}]}]
    machine.apps.create_namespaced_deployment(NAMESPACE, _deployment("redis", {"app": "redis"}, 1, redis))
    _serve(machine, "redis", {"app": "redis"}, 6379)
    variables = {
        "DATABASE_URL": url,
        "VECTOR_DB": "pgvector",
        "PGVECTOR_CREATE_EXTENSION": "false",
        "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": "384",
        "REDIS_URL": "redis://redis:6379/0",
        "WEBSOCKET_MANAGER": "redis",
        "WEBUI_SECRET_KEY": "shared",
        "STANDIN_DELAY_FILE": str(delay),
        **POOLS.as_environment(),
    }
    web = {
        "name": "web",
        "image": "open-webui:0.12.4",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
    }
    manifest = _deployment("open-webui", LABELS | {"served": "yes"}, 3, [web])
    manifest["spec"]["selector"]["matchLabels"] = LABELS
    manifest["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    machine.apps.create_namespaced_deployment(NAMESPACE, manifest)
    _serve(machine, "open-webui", LABELS | {"served": "yes"}, 8080)


def _deployment(name: str, labels: dict[str, str], replicas: int, containers: list[dict[str, Any]]) -> dict[str, Any]:
    pod = {"terminationGracePeriodSeconds": 5, "containers": containers}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def _serve(machine: Node, name: str, labels: dict[str, str], port: int) -> None:
    spec = {"selector": labels, "ports": [{"port": port}]}
    machine.core.create_namespaced_service(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
