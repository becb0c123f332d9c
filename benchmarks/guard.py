"""`python -m benchmarks.guard`: how fast the health guard reads one Deployment, and how many it guards on one core.

The reading is of the local parts: an embedded PostgreSQL and the local cluster with three replicas, `/ready` of each
included. The fleet is of stand-in sources that answer at once, so what is measured is the guard's own work: the timer,
the durable engine, the activities, the judge and the memory. Engine and app are held to one and the same core.
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from azure.durable_functions.internal.serialization import FunctionsDataConverter
from durabletask import client, worker
from durabletask.entities import EntityInstanceId
from kubernetes import config

from api import guard as guard_api
from benchmarks.report import GUARD
from local.postgres import Postgres
from phases.guard import orchestrator
from phases.guard.activities import observe_deployment
from phases.guard.entity import GuardMemory, read_memory
from phases.guard.memory import Memory, decide
from phases.guard.orchestrator import ACT, GUARD_ENTITY, OBSERVE
from shared.adapters.cluster import KubernetesCluster
from shared.adapters.guard_sources import main_container
from shared.adapters.replica_health import ReplicasOfDeployment
from shared.adapters.session_statistics import PostgresSessions
from shared.guard.observation import observe
from shared.guard.policy import Policy
from shared.guard.ports import GuardPorts
from shared.guard.readings import Answer, Connections, Deployment, MigrationState, Pod, Reading, Sessions
from shared.guard.targets import Guarded
from shared.guard.workload import ClusterWorkload
from shared.kubernetes.deployments import parse_database_url
from shared.model.migration import Target
from shared.sizing.connection_budget import ServerLimits, split_pools
from shared.wire import from_wire, to_wire

ROOT = Path(__file__).parents[1]
NAMESPACE, NAME = "ollama", "open-webui"


def main() -> int:
    """Measure both and print them, as text and as the last line in JSON."""
    for chatty in ("durabletask-worker", "durabletask-client", "durabletask-async_client"):
        logging.getLogger(chatty).disabled = True  # a line for each step of each tick
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deployments", type=int, default=1000, help="how many to guard (1,000)")
    parser.add_argument("--ticks", type=int, default=2, help="ticks of each (2); the first one also makes the memories")
    parser.add_argument("--readings", type=int, default=30, help="readings of the local parts (30); 0: leave out")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.readings:
        found["reading_ms"] = measure_reading(given.readings)
    found["own_work_ms"] = measure_own_work(300)
    found["fleet"] = measure_fleet(given.deployments, given.ticks)
    page = ROOT / "docs" / "benchmarks.md"
    transfer = page.read_text().partition(GUARD)[0].rstrip() if page.exists() else ""
    how = "`python -m benchmarks.guard`: app and engine held to one core, the fleet's sources answer at once."
    page.write_text(f"{transfer}\n\n{GUARD}\n{how}\n\n{render(found)}\n")
    print(render(found))
    print(json.dumps(found))
    return 0


def render(found: dict[str, Any]) -> str:
    """The figures for docs/benchmarks.md."""
    fleet, lines = found["fleet"], ["| measured | figure |", "|---|---|"]
    if reading := found.get("reading_ms"):
        text = f"{reading['median']:.0f} ms (p95 {reading['p95']:.0f} ms)"
        lines.append(f"| one reading of the local parts, three replicas | {text} |")
    own = found["own_work_ms"]
    lines.append(f"| observe, judge and remember without an engine, 100 verdicts kept | {own:.1f} ms |")
    took = f"{fleet['core_seconds']:.0f} s of its time ({fleet['seconds']:.0f} s on a busy machine)"
    lines.append(f"| one tick of {fleet['deployments']:,} Deployments on one core, engine included | {took} |")
    lines.append(f"| Deployments a minute that this core can guard | {fleet['per_minute']:,.0f} |")
    return "\n".join(lines)


# ── one reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def measure_reading(times: int) -> dict[str, float]:
    """Median and 95th percentile of a whole reading, in ms; every part must have been read."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guard-bench-")))
        folder.chmod(0o711)
        server = Postgres(folder / "server").start()
        stack.callback(server.remove)
        server.create_database("openwebui")
        api = stack.enter_context(_cluster(folder))
        ports = _local_ports(api, server)
        took = []
        for _ in range(times):
            began = time.perf_counter()
            seen = observe(ports, datetime.now(UTC))
            took.append((time.perf_counter() - began) * 1000)
            if seen.unread or [a.status for a in seen.answers or ()] != [200] * 3:
                raise RuntimeError(f"not a whole reading: {seen}")
        warm = sorted(took[2:])
        return {"median": statistics.median(warm), "p95": warm[int(len(warm) * 0.95)], "first": took[0]}


def _local_ports(api: KubernetesCluster, server: Postgres) -> GuardPorts:
    address = parse_database_url(server.app_url("openwebui"))
    login = psycopg.conninfo.conninfo_to_dict(server.admin_url("openwebui"))
    credentials = (str(login["user"]), str(login["password"]))
    return GuardPorts(
        PostgresSessions(lambda: address, lambda: credentials, {"sslmode": "require"}, application=NAME),
        ClusterWorkload(api, NAME),
        ReplicasOfDeployment(api, lambda: main_container(api, NAME)),
        Standin(),
        Standin(),
    )


WEB_SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((os.environ.get("HOST") or "127.0.0.1", 8080), Handler).serve_forever()
"""


@contextmanager
def _cluster(folder: Path) -> Iterator[KubernetesCluster]:
    """The local cluster with a Deployment of three that answer."""
    with ExitStack() as stack:
        ready = stack.enter_context(_process("local.kubernetes", "--dir", str(folder / "cluster")))
        kubeconfig = ready["kubeconfig"]
        stack.enter_context(
            _process("local.kubernetes.kubelet", "--kubeconfig", kubeconfig, "--dir", str(folder / "kubelet"))
        )
        api = KubernetesCluster(NAMESPACE, lambda: config.new_client_from_config(kubeconfig))
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        api.apply(_deployment())
        while len([p for p in ClusterWorkload(api, NAME).list_pods() if p.ready]) < 3:
            time.sleep(0.2)
        yield api


def _deployment() -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": "busybox:1",
        "command": ["python3", "-c", WEB_SERVER],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
    }
    labels = {"app": NAME}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


# ── a fleet ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Standin:
    """Every port at once: a healthy Deployment of three that answers at once."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        sessions = (Sessions(NAME, "active", 4), Sessions(NAME, "idle", 20), Sessions("psql", "idle", 2))
        self._connections = Connections(sessions, ServerLimits(429, 5, 10))
        self._deployment = Deployment(3, 2, split_pools(22))
        self._pods = tuple(Pod(f"{NAME}-{n}", 2, True, now - timedelta(hours=1)) for n in range(3))

    def read_connections(self) -> Connections:
        return self._connections

    def read_deployment(self) -> Deployment:
        return self._deployment

    def list_pods(self) -> tuple[Pod, ...]:
        return self._pods

    def read_autoscaler(self) -> None:
        return None

    def list_events(self, _since: datetime) -> tuple[()]:
        return ()

    def ask_replicas(self, pods: Any) -> tuple[Answer, ...]:
        return tuple(Answer(pod, 200) for pod in pods)

    def read_migration(self) -> MigrationState:
        return MigrationState("run-1")

    @property
    def ports(self) -> GuardPorts:
        return GuardPorts(self, self, self, self, self)  # type: ignore[arg-type]  # nothing is carried out


def measure_own_work(times: int) -> float:
    """Median of one tick without an engine, in ms: observe, cross the wire, judge, and keep the memory as JSON."""
    ports, state, took = Standin().ports, to_wire(Memory()), []
    guarded = Guarded(Target("s", "g", "c", "https://v", "p"))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(times):
        at += timedelta(minutes=1)
        began = time.perf_counter()
        reading = to_wire(observe_deployment(ports, guarded, at))
        memory = read_memory(state)
        _, _, memory = decide(memory, from_wire(reading, Reading), Policy(), at, acts=True)
        state = json.loads(json.dumps(to_wire(memory)))
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[100:])


def measure_fleet(deployments: int, ticks: int) -> dict[str, float]:
    """What one tick of all takes, the last of `ticks`: seconds, and of these the seconds of the core's time.

    Engine and worker share one core; on a machine that does other work too, the latter is the figure that counts.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    policy = Policy(tick=timedelta(minutes=10))  # nothing is late here: what counts is how long it takes
    target = Target("s", "g", "c", "https://v", "p")
    fleet = [Guarded(replace(target, deployment=f"d{n}"), policy) for n in range(deployments)]
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as folder, _engine(folder) as (address, engine):
        hub = _worker(address)
        try:
            for number in range(1, ticks + 1):
                began, busy = time.perf_counter(), _core_seconds(engine)
                _tick_all(address, fleet, number)
                seconds, core = time.perf_counter() - began, _core_seconds(engine) - busy
        finally:
            hub.stop()
    return {"deployments": deployments, "seconds": seconds, "core_seconds": core, "per_minute": 60 * deployments / core}


def _core_seconds(engine: int) -> float:
    """What this process and the engine's have had of the core so far."""
    fields = Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _engine(folder: str) -> Iterator[tuple[str, int]]:
    """Yield its address and process id."""
    with _process("local.functions", "engine", "--db", f"{folder}/engine.db", "--app", ".") as ready:
        yield ready["address"], ready["pid"]


def _worker(address: str) -> Any:
    ports = Standin().ports

    def look(_context: Any, payload: Any) -> Any:
        guarded = from_wire(payload["guarded"], Guarded)
        return to_wire(observe_deployment(ports, guarded, datetime.fromisoformat(payload["at"])))

    hub = worker.TaskHubGrpcWorker(host_address=address, data_converter=FunctionsDataConverter())
    hub.add_orchestrator(orchestrator.guard)
    hub.add_entity(GuardMemory, name=GUARD_ENTITY)
    hub._registry.add_named_activity(OBSERVE, look)
    hub._registry.add_named_activity(ACT, lambda _context, _payload: {"done": [], "error": ""})
    hub.start()
    return hub


def _tick_all(address: str, fleet: list[Guarded], number: int) -> None:
    """Start a tick of every Deployment as the timer does, and wait until each memory has counted it."""

    async def start() -> None:
        durable = client.AsyncTaskHubGrpcClient(host_address=address, data_converter=FunctionsDataConverter())
        await guard_api.tick(durable, fleet, datetime.now(UTC), acts=True, past_due=False)
        await durable.close()

    asyncio.run(start())
    durable = client.TaskHubGrpcClient(host_address=address, data_converter=FunctionsDataConverter())
    for each in fleet:
        durable.wait_for_orchestration_completion(orchestrator.instance_of(each.key), timeout=600)
    for each in (fleet[0], fleet[-1]):
        found = durable.get_entity(EntityInstanceId(GUARD_ENTITY, each.key), include_state=True)
        state = found.get_state() if found else None
        memory = json.loads(state) if isinstance(state, str) else state
        if memory["ticks"] != number:
            raise RuntimeError(f"{each.key} has {memory['ticks']} ticks, not {number}")
    durable.close()


@contextmanager
def _process(*arguments: str) -> Iterator[dict[str, Any]]:
    """One of the project's processes; yields what it said when it was ready."""
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        if started.stdout is None:
            raise RuntimeError("no pipe")
        yield json.loads(started.stdout.readline().removeprefix("ready ")) | {"pid": started.pid}
    finally:
        started.terminate()
        started.wait(20)


if __name__ == "__main__":
    sys.exit(main())
