"""The guard against the real thing: a PostgreSQL as small as a B1ms, an API server, and pods that run."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kubernetes import config

from shared.adapters.cluster import KubernetesCluster
from shared.guard.action import carry_out
from shared.guard.judge import judge
from shared.guard.observation import observe
from shared.guard.policy import Policy
from shared.guard.ports import GuardPorts, NoConnectionLeft
from shared.guard.readings import Answer, Connections, MigrationState
from shared.guard.sessions import GUARD_APPLICATION, SESSIONS_SQL, to_connections
from shared.guard.verdicts import Action, GuardState, Verdict
from shared.guard.workload import ClusterWorkload
from shared.sizing.connection_budget import ServerLimits
from tests.fix_postgres import Database

TICK = timedelta(milliseconds=500)
IN_TICKS = {
    "up_cooldown": 2,
    "down_cooldown": 3,
    "calm": 6,
    "startup_grace": 2,
    "start_patience": 30,
    "settle": 5,
    "operator_patience": 20,
}
QUICK = Policy(tick=TICK, minimum_replicas=4, **{name: ticks * TICK for name, ticks in IN_TICKS.items()})
NAMESPACE = "ollama"
LOOP = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@contextmanager
def process(*arguments: str | Path) -> Iterator[dict[str, Any]]:
    running = subprocess.Popen([sys.executable, "-m", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline().removeprefix("ready "))
    finally:
        running.terminate()
        running.wait(10)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesCluster]:
    folder = tmp_path_factory.mktemp("guarded")
    with ExitStack() as stack:
        ready = stack.enter_context(process("local.kubernetes", "--dir", folder / "cluster"))
        node = ("--probe-period", "0.2", "--grace-limit", "1")
        stack.enter_context(
            process("local.kubernetes.kubelet", "--kubeconfig", ready["kubeconfig"], "--dir", folder / "node", *node)
        )
        found = KubernetesCluster(NAMESPACE, lambda: config.new_client_from_config(ready["kubeconfig"]))
        if found.read("Namespace", NAMESPACE) is None:
            found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield found


class Watched:
    """The ports: real connections and a real workload; what is asked of the operator and the migration is kept."""

    def __init__(self, cluster: KubernetesCluster, database: Database, name: str) -> None:
        self.workload = ClusterWorkload(cluster, name)
        self.database = database
        self.calls: list[str] = []
        self.state = GuardState()
        self.ports = GuardPorts(self, self.workload, self, self, self)

    def read_connections(self, url: str = "") -> Connections:
        try:
            with psycopg.connect(url or self.database.admin_url, application_name=GUARD_APPLICATION) as connection:
                began = time.monotonic()
                connection.execute("select 1")
                latency = timedelta(seconds=time.monotonic() - began)
                parameters = {"role": "openwebui", "application": "open-webui"}
                rows = connection.execute(SESSIONS_SQL, parameters).fetchall()
                return to_connections(rows, _limits(connection), latency)
        except psycopg.errors.OperationalError as error:
            if "remaining connection slots" in str(error):
                raise NoConnectionLeft(str(error)) from error
            raise

    def ask_replicas(self, pods: Sequence[str]) -> Sequence[Answer]:
        return [Answer(pod, None) for pod in pods]

    def read_migration(self) -> MigrationState:
        return MigrationState("run-7", soak_until=datetime.now(UTC) + timedelta(hours=1))

    def scale(self, replicas: int) -> None:
        self.workload.scale(replicas)

    def set_bounds(self, minimum: int, maximum: int) -> None:
        self.workload.set_bounds(minimum, maximum)

    def undo_rollout(self, revision: int) -> None:
        self.workload.undo_rollout(revision)

    def roll_back(self, run: str) -> None:
        self.calls.append(f"roll back {run}")

    def call_operator(self, message: str) -> None:
        self.calls.append(message)

    def tick(self) -> Verdict:
        time.sleep(TICK.total_seconds())
        at = datetime.now(UTC)
        verdict, self.state = judge(observe(self.ports, at), QUICK, self.state, at)
        carry_out(verdict, self, run="run-7")
        return verdict

    def until(self, action: Action, ticks: int) -> Verdict:
        seen = []
        for _ in range(ticks):
            seen.append(self.tick())
            if seen[-1].action is action:
                return seen[-1]
        raise AssertionError("\n".join(f"{v.action}: {v.reason}" for v in seen))

    def until_healthy(self, replicas: int, ticks: int = 40) -> None:
        for _ in range(ticks):
            self.tick()
            sign = self.state.signs[-1]
            if sign.healthy and sign.replicas == replicas == sign.serving:
                return
        raise AssertionError(self.state.verdicts[-1].reason)


def _limits(connection: psycopg.Connection[Any]) -> ServerLimits:
    names = ("max_connections", "reserved_connections", "superuser_reserved_connections")
    values = [connection.execute("select current_setting(%s)::int", (name,)).fetchone() for name in names]
    return ServerLimits(*(int(value[0]) for value in values if value))


def deployment(name: str, replicas: int, ready: str = "true") -> dict[str, Any]:
    probe = {"exec": {"command": [ready]}, "periodSeconds": 1}
    names = ("DATABASE_POOL_SIZE", "DATABASE_POOL_MAX_OVERFLOW", "PGVECTOR_POOL_SIZE", "PGVECTOR_POOL_MAX_OVERFLOW")
    env = [{"name": variable, "value": value} for variable, value in zip(names, "1110", strict=True)]
    main = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", LOOP], "readinessProbe": probe, "env": env}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [main]},
            },
        },
    }


def test_a_rollout_that_never_becomes_ready_is_undone_and_serves_again(
    cluster: KubernetesCluster, database: Database
) -> None:
    cluster.apply(deployment("rolled", 2))
    guard = Watched(cluster, database, "rolled")
    guard.until_healthy(2)
    guard.tick()
    good = guard.state.healthy_revision

    cluster.apply(deployment("rolled", 2, ready="false"))
    verdict = guard.until(Action.ROLL_BACK, 14)
    assert verdict.to_revision == good
    assert "2 of 2 replicas serve" in verdict.reason
    guard.until_healthy(2)
    probe = cluster.read("Deployment", "rolled")["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["exec"]["command"] == ["true"]
    assert guard.calls == []


def test_a_leak_is_capped_before_a_connection_is_refused_and_healed_when_it_ends(
    cluster: KubernetesCluster, database: Database
) -> None:
    cluster.apply(deployment("leaking", 4))
    guard = Watched(cluster, database, "leaking")
    guard.until_healthy(4)
    with ExitStack() as leak:
        while (verdict := guard.tick()).action is not Action.CAP:
            leak.enter_context(psycopg.connect(database.app_url, application_name="leaker"))
        fits = guard.state.signs[-1].pressure
        assert fits is not None
        assert fits.foreign + 4 * 5 <= fits.for_users == 35, "capped while every pool could still be full"
        assert verdict.replicas is not None
        guard.until_healthy(verdict.replicas)
    guard.until(Action.SCALE_UP, 30)
    guard.until_healthy(4)


def test_a_full_server_refuses_the_guard_and_that_is_a_finding(database: Database, cluster: KubernetesCluster) -> None:
    guard = Watched(cluster, database, "leaking")
    with ExitStack() as stack, pytest.raises(NoConnectionLeft):
        for _ in range(35):
            stack.enter_context(psycopg.connect(database.app_url))
        guard.read_connections(database.app_url)


@pytest.mark.parametrize("reader", ["admin_url", "app_url"])
def test_sessions_are_told_apart_and_every_role_takes_from_the_users_share(
    database: Database, cluster: KubernetesCluster, reader: str
) -> None:
    guard = Watched(cluster, database, "leaking")
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(psycopg.connect(database.app_url))
        idle = stack.enter_context(psycopg.connect(database.app_url, application_name="open-webui"))
        idle.execute("select 1")
        for _ in range(4):
            stack.enter_context(psycopg.connect(database.superuser_url, application_name="azure"))
        time.sleep(0.2)
        found = guard.read_connections(getattr(database, reader))
        by_application: dict[str, int] = {}
        for group in found.sessions:
            by_application[group.application] = by_application.get(group.application, 0) + group.count
        assert by_application == {"open-webui": 4, "azure": 4, GUARD_APPLICATION: 1}
        assert found.longest_idle_in_transaction >= timedelta(milliseconds=150)
        assert found.limits.for_users == 35
        room = 0
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots"):
            while True:
                stack.enter_context(psycopg.connect(database.app_url))
                room += 1
        assert room == 35 - 4 - 4
