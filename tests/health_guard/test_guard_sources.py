"""The guard's adapters on the real local parts: PostgreSQL, and the cluster with a kubelet."""

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from kubernetes import config

from local.postgres import Postgres
from shared.adapters.cluster import KubernetesCluster
from shared.adapters.guard_sources import WorkloadActuator, main_container, sessions_of
from shared.adapters.replica_health import ReplicasOfDeployment
from shared.adapters.session_statistics import PostgresSessions
from shared.errors import ConfigurationError, MigrationError, PermissionMissing, TransientError
from shared.guard.observation import observe
from shared.guard.ports import GuardPorts, NoConnectionLeft
from shared.guard.readings import MigrationState, Obstacle, Part
from shared.guard.targets import Guarded
from shared.guard.workload import ClusterWorkload
from shared.kubernetes.deployments import parse_database_url
from shared.model.migration import Target
from shared.model.survey import DatabaseAddress
from tests.fix_postgres import Database
from tests.local_kubelet.fix_node import NAMESPACE, Node, cluster, node

ADMIN = {"sslmode": "prefer"}


def login_of(url: str) -> tuple[str, str]:
    info = psycopg.conninfo.conninfo_to_dict(url)
    return str(info["user"]), str(info["password"])


def sessions_on(database: Database, **changes: Any) -> PostgresSessions:
    address = parse_database_url(database.app_url)
    assert address
    found = DatabaseAddress(
        changes.get("host", address.host), changes.get("port", address.port), address.name, address.role
    )
    login = changes.get("login", lambda: login_of(database.admin_url))
    return PostgresSessions(lambda: found, login, ADMIN, application="open-webui")


def count(found: Any, application: str) -> int:
    return sum(group.count for group in found.sessions if group.application == application)


def test_sessions_are_counted_by_application_against_the_users_limit(database: Database) -> None:
    with ExitStack() as held:
        for name in ("open-webui", "open-webui", ""):  # SQLAlchemy names none: they are Open WebUI's by their role
            held.enter_context(psycopg.connect(database.app_url, application_name=name))
        held.enter_context(psycopg.connect(database.app_url, application_name="nightly-report"))
        found = sessions_on(database).read_connections()
    assert count(found, "open-webui") == 3
    assert count(found, "nightly-report") == 1
    assert count(found, "scaleout-guard") == 1
    assert found.limits.for_users == 35
    assert timedelta() < found.latency < timedelta(seconds=1)


def test_the_connection_is_closed_after_each_reading(database: Database) -> None:
    reader = sessions_on(database)
    for _ in range(3):
        reader.read_connections()
    query = "select count(*) from pg_stat_activity where application_name = 'scaleout-guard'"
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        end = time.monotonic() + 5
        while connection.execute(query).fetchone() != (0,):  # a backend takes a moment to end
            assert time.monotonic() < end
            time.sleep(0.02)


def test_the_longest_idle_transaction_is_found(database: Database) -> None:
    with psycopg.connect(database.app_url, application_name="open-webui") as connection:
        connection.execute("select 1")
        time.sleep(0.3)
        found = sessions_on(database).read_connections()
    assert timedelta(seconds=0.25) < found.longest_idle_in_transaction < timedelta(seconds=10)


def test_a_full_server_is_a_finding_of_its_own(database: Database) -> None:
    with ExitStack() as held:
        with contextlib.suppress(psycopg.OperationalError):
            for _ in range(50):
                held.enter_context(psycopg.connect(database.app_url))
        login = lambda: login_of(database.app_url)  # noqa: E731 - one without reserved connections
        with pytest.raises(NoConnectionLeft, match="53300"):
            sessions_on(database, login=login).read_connections()


def test_a_dead_server_is_unreachable(database: Database) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError) as raised:
            sessions_on(database, port=nobody.getsockname()[1]).read_connections()
    assert not isinstance(raised.value, NoConnectionLeft)


def test_a_rotated_password_is_read_again_and_a_good_one_is_kept(database: Database) -> None:
    user, password = login_of(database.admin_url)
    asked: list[str] = []

    def login() -> tuple[str, str]:
        asked.append("once")
        return user, "wrong" if len(asked) == 1 else password

    reader = sessions_on(database, login=login)
    with pytest.raises(ConfigurationError, match="refused the password"):
        reader.read_connections()
    for _ in range(3):
        reader.read_connections()
    assert len(asked) == 2


def test_without_a_postgresql_url_it_says_so() -> None:
    reader = PostgresSessions(lambda: None, lambda: ("u", "p"), {}, application="open-webui")
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        reader.read_connections()


# ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────────

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.environ.get('BROKEN') and self.path == '/ready' else 200)
        self.end_headers()
    def log_message(self, *_): pass
host = os.environ.get('HOST') or '127.0.0.1'
http.server.ThreadingHTTPServer((host, 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("machine")
    with cluster(directory) as kubeconfig, node(directory, kubeconfig) as (made, _):
        with contextlib.suppress(Exception):
            made.core.create_namespace({"metadata": {"name": NAMESPACE}})
        yield made


@pytest.fixture
def api(machine: Node) -> KubernetesCluster:
    return KubernetesCluster(NAMESPACE, lambda: config.new_client_from_config(str(machine.kubeconfig)))


def deploy(machine: Node, name: str, *, replicas: int = 2, **variables: str) -> None:
    """A Deployment of small web servers, with a readiness probe on /ready."""
    container = {
        "name": "open-webui",
        "image": "busybox:1",
        "command": ["python3", "-c", SERVER],
        "ports": [{"containerPort": 8080}],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    body = {"metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": labels}, "template": template, "strategy": strategy,
    }}  # fmt: skip
    machine.apps.create_namespaced_deployment(NAMESPACE, body)


@pytest.fixture
def served(machine: Node, request: pytest.FixtureRequest) -> Iterator[str]:
    """A Deployment of two that serve."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:30].rstrip("-")
    deploy(machine, name, DATABASE_URL="postgresql://openwebui:x@127.0.0.1:1/nowhere")
    machine.wait_for(lambda: machine.apps.read_namespaced_deployment(name, NAMESPACE).status.ready_replicas == 2, 30)
    yield name
    machine.apps.delete_namespaced_deployment(name, NAMESPACE)


def replicas_of(api: KubernetesCluster, name: str) -> ReplicasOfDeployment:
    return ReplicasOfDeployment(api, lambda: main_container(api, name))


def test_every_replica_is_asked_and_a_broken_one_is_found(machine: Node, api: KubernetesCluster, served: str) -> None:
    workload = ClusterWorkload(api, served)
    machine.apps.patch_namespaced_deployment(served, NAMESPACE, {"spec": {"template": {"spec": {"containers": [
        {"name": "open-webui", "env": [{"name": "BROKEN", "value": "yes"}]}]}}}})  # fmt: skip
    machine.wait_for(lambda: len([p for p in workload.list_pods() if p.running_since]) == 3, 20)
    pods = workload.list_pods()
    broken = max(pods, key=lambda pod: pod.revision)

    def answers() -> dict[str, int | None]:
        return {answer.pod: answer.status for answer in replicas_of(api, served).ask_replicas([p.name for p in pods])}

    expected = {pod.name: 503 if pod is broken else 200 for pod in pods}
    machine.wait_for(lambda: answers() == expected)
    gone = replicas_of(api, served).ask_replicas(["no-such-pod"])
    assert [answer.status for answer in gone] == [None]


def test_a_pod_that_the_api_server_does_not_go_to_is_no_pod_without_an_answer(
    machine: Node, api: KubernetesCluster
) -> None:
    """Source: Kubernetes 1.36.2 on a pod with a loopback address: 400, "address not allowed"."""
    machine.run("homeless", pod={"nodeSelector": {"no-such": "node"}})
    with pytest.raises(ConfigurationError, match="address not allowed"):
        api.get_from_pod("homeless", 8080, "/ready")
    machine.core.delete_namespaced_pod("homeless", NAMESPACE, grace_period_seconds=0)


@pytest.mark.parametrize("refusal", [PermissionMissing, ConfigurationError])
def test_by_exec_the_answers_are_the_same(
    monkeypatch: pytest.MonkeyPatch, api: KubernetesCluster, served: str, refusal: type[MigrationError]
) -> None:
    pods = [pod.name for pod in ClusterWorkload(api, served).list_pods()]
    through_proxy = replicas_of(api, served).ask_replicas(pods)
    monkeypatch.setattr(api, "get_from_pod", lambda *_, **__: (_ for _ in ()).throw(refusal("pods/proxy")))
    by_exec = replicas_of(api, served).ask_replicas(pods)
    assert [(a.pod, a.status) for a in by_exec] == [(a.pod, a.status) for a in through_proxy]
    assert [a.status for a in by_exec] == [200, 200]


def test_a_bad_rollout_is_undone_and_asking_twice_is_asking_once(
    machine: Node, api: KubernetesCluster, served: str
) -> None:
    workload = ClusterWorkload(api, served)
    good = workload.read_deployment().revision
    machine.apps.patch_namespaced_deployment(served, NAMESPACE, {"spec": {"template": {"spec": {"containers": [
        {"name": "open-webui", "env": [{"name": "BROKEN", "value": "yes"}]}]}}}})  # fmt: skip
    machine.wait_for(lambda: workload.read_deployment().revision > good)
    actuator = WorkloadActuator(Target("s", "g", "c", "https://v", "p"), workload, lambda run: None)
    actuator.undo_rollout(good)
    machine.wait_for(lambda: workload.read_deployment().revision > good + 1)
    actuator.undo_rollout(good)
    found = machine.apps.read_namespaced_deployment(served, NAMESPACE)
    names = [entry.name for entry in found.spec.template.spec.containers[0].env]
    assert names == ["DATABASE_URL"]
    assert workload.read_deployment().revision == good + 2
    machine.wait_for(lambda: all(pod.ready for pod in workload.list_pods()), 20)


def test_scaling_twice_is_scaling_once(machine: Node, api: KubernetesCluster, served: str) -> None:
    workload = ClusterWorkload(api, served)
    for _ in range(2):
        workload.scale(1)
    machine.wait_for(lambda: len(workload.list_pods()) == 1)
    assert workload.read_deployment().replicas == 1


def test_a_whole_reading_of_the_local_parts(
    api: KubernetesCluster, served: str, database: Database, postgres: Postgres
) -> None:
    guarded = Guarded(Target("s", "g", "c", "https://v", "p", deployment=served))
    migration = SimpleNamespace(read_migration=MigrationState)
    ports = GuardPorts(
        sessions_on(database), ClusterWorkload(api, served), replicas_of(api, served), migration, SimpleNamespace()
    )  # type: ignore[arg-type]
    seen = observe(ports, datetime.now(UTC))
    assert seen.unread == ()
    assert (seen.deployment.replicas, len(seen.pods), [a.status for a in seen.answers]) == (2, 2, [200, 200])

    clients = SimpleNamespace(
        cluster=api, administrator=lambda: "postgres", password=lambda: "x", admit=lambda address: address
    )
    nowhere = sessions_of(guarded, clients, ADMIN)  # type: ignore[arg-type]
    half = observe(GuardPorts(nowhere, *list(_rest(ports))), datetime.now(UTC))
    assert [(u.part, u.obstacle) for u in half.unread] == [(Part.CONNECTIONS, Obstacle.UNREACHABLE)]
    assert half.pods is not None


def _rest(ports: GuardPorts) -> tuple[Any, ...]:
    return ports.workload, ports.replicas, ports.migration, ports.actuator


def test_a_deployment_that_is_not_there_is_said_so(api: KubernetesCluster, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no Deployment nobody"):
        main_container(api, "nobody")
