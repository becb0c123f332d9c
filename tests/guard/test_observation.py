"""Observe and act: partial readings, deadlines, manifests in and changes out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from fix_readings import NOON, SOAK, reading

from shared.errors import ConfigurationError, PermissionMissing, TransientError
from shared.guard.action import carry_out
from shared.guard.observation import observe
from shared.guard.ports import GuardPorts, NoConnectionLeft
from shared.guard.readings import UPSTREAM_POOLS, Answer, Autoscaler, Event, MigrationState, Obstacle, Part, Pod
from shared.guard.sessions import to_connections
from shared.guard.verdicts import Action, Verdict
from shared.guard.workload import REVISION, REVISION_HISTORY, ClusterWorkload
from shared.sizing.connection_budget import PoolSizes, ServerLimits


@dataclass
class Sources:
    """Every port at once, answering from a reading; `faults` are called instead of answering."""

    faults: dict[str, Callable[[], Any]] = field(default_factory=dict)
    done: list[tuple[Any, ...]] = field(default_factory=list)

    def _answer(self, name: str, value: Any) -> Any:
        return self.faults[name]() if name in self.faults else value

    def read_connections(self) -> Any:
        return self._answer("connections", reading().connections)

    def read_deployment(self) -> Any:
        return self._answer("deployment", reading().deployment)

    def list_pods(self) -> Sequence[Pod]:
        return self._answer("pods", [*reading().pods, replace(reading().pods[0], name="gone", ending=True)])

    def read_autoscaler(self) -> Autoscaler | None:
        return self._answer("autoscaler", None)

    def list_events(self, since: Any) -> Sequence[Event]:
        return self._answer("events", [])

    def ask_replicas(self, pods: Sequence[str]) -> Sequence[Answer]:
        return self._answer("answers", [Answer(pod, 200) for pod in pods])

    def read_migration(self) -> MigrationState:
        return self._answer("migration", SOAK)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.done.append((name, *arguments))


def look(deadline: timedelta = timedelta(seconds=5), **faults: Callable[[], Any]) -> Any:
    sources = Sources(faults)
    return observe(GuardPorts(sources, sources, sources, sources, sources), NOON, deadline=deadline)


def raises(error: Exception) -> Callable[[], Any]:
    def fault() -> Any:
        raise error

    return fault


def test_a_whole_reading_has_every_part_and_asks_only_pods_that_run() -> None:
    seen = look()
    assert not seen.partial
    assert (seen.connections, seen.deployment, seen.migration) == (reading().connections, reading().deployment, SOAK)
    assert {answer.pod for answer in seen.answers} == {pod.name for pod in reading().pods}


@pytest.mark.parametrize(
    ("error", "obstacle"),
    [
        (TransientError("timed out"), Obstacle.UNREACHABLE),
        (PermissionMissing("may not list"), Obstacle.FORBIDDEN),
        (NoConnectionLeft("53300"), Obstacle.NO_CONNECTION_LEFT),
    ],
)
def test_a_part_that_fails_is_marked_with_the_reason_and_the_rest_is_read(error: Exception, obstacle: Obstacle) -> None:
    seen = look(connections=raises(error))
    assert seen.connections is None
    assert [(m.part, m.obstacle) for m in seen.unread] == [(Part.CONNECTIONS, obstacle)]
    assert seen.pods


def test_a_source_that_hangs_costs_its_part_and_not_the_tick() -> None:
    began = time.monotonic()
    seen = look(timedelta(milliseconds=100), pods=lambda: time.sleep(0.6))
    assert time.monotonic() - began < 0.4
    assert seen.pods is None
    assert seen.obstacle(Part.PODS) is Obstacle.UNREACHABLE
    assert seen.deployment


def test_without_the_migrations_state_the_judge_is_told_to_stand_still() -> None:
    assert look(migration=raises(TransientError("storage"))).migration.restarts_pods


def test_a_bug_is_not_an_obstacle() -> None:
    with pytest.raises(ZeroDivisionError):
        look(pods=lambda: 1 / 0)


def test_observing_takes_far_less_than_a_quarter_of_a_second_beside_the_sources() -> None:
    began = time.monotonic()
    for _ in range(20):
        look()
    assert (time.monotonic() - began) / 20 < 0.1


@pytest.mark.parametrize(
    ("verdict", "done"),
    [
        ({"action": Action.NONE}, []),
        ({"action": Action.SCALE_UP, "replicas": 5}, [("scale", 5)]),
        ({"action": Action.CAP, "minimum": 1, "maximum": 4}, [("set_bounds", 1, 4)]),
        (
            {"action": Action.SCALE_DOWN, "replicas": 3, "operator": True},
            [("scale", 3), ("call_operator", "because 3.")],
        ),
        ({"action": Action.ROLL_BACK}, [("roll_back", "run-7")]),
        ({"action": Action.ROLL_BACK, "to_revision": 4}, [("undo_rollout", 4)]),
        ({"action": Action.CALL_OPERATOR}, [("call_operator", "because 3.")]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_verdict_is_carried_out_to_the_letter(verdict: dict[str, Any], done: list[Any]) -> None:
    sources = Sources()
    said = carry_out(Verdict(NOON, verdict.pop("action"), "rule", "because 3.", **verdict), sources, run="run-7")
    assert sources.done == done
    assert len(said) == len(done)


# Manifests ------------------------------------------------------------------------------------------------------------


def owned(kind: str, name: str, owner_kind: str, owner: str, revision: int, **more: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "labels": {"app": "open-webui"},
        "annotations": {REVISION: str(revision)},
        "ownerReferences": [{"kind": owner_kind, "name": owner}],
    }
    return {"kind": kind, "metadata": metadata, **more}


def template(image: str) -> dict[str, Any]:
    env = [
        {"name": "DATABASE_POOL_SIZE", "value": "2"},
        {"name": "DATABASE_POOL_MAX_OVERFLOW", "value": "1"},
        {"name": "PGVECTOR_POOL_SIZE", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}},
    ]
    labels = {"app": "open-webui", "pod-template-hash": "abc"}
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image, "env": env}]}}


def a_pod(name: str, replica_set: str, node: str, state: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": "True" if "running" in state else "False"}],
        "containerStatuses": [{"name": "main", "restartCount": 2, "state": state}],
    }
    found = owned("Pod", name, "ReplicaSet", replica_set, 0, spec={"nodeName": node}, status=status)
    found["metadata"] |= metadata
    return found


class Manifests:
    """A cluster of plain manifests: reads answer from them, writes are kept."""

    namespace = "ollama"

    def __init__(self) -> None:
        running = {"running": {"startedAt": "2026-11-22T11:00:00Z"}}
        status = {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "status": "False"}]}
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}
        selector = {"matchLabels": {"app": "open-webui"}}
        spec = {"replicas": 3, "selector": selector, "strategy": strategy, "template": template("new")}
        self.deployment = {"kind": "Deployment", "metadata": {"name": "open-webui", "annotations": {REVISION: "5"}}}
        self.deployment |= {"spec": spec, "status": status}
        killed = a_pod("open-webui-b-1", "open-webui-b", "node-2", {"waiting": {"reason": "CrashLoopBackOff"}})
        killed["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"reason": "OOMKilled"}}
        hpa_status = {"desiredReplicas": 4, "currentMetrics": [{"resource": {"current": {"averageUtilization": 81}}}]}
        target = {"kind": "Deployment", "name": "open-webui"}
        self.objects: dict[str, list[dict[str, Any]]] = {
            "ReplicaSet": [
                owned("ReplicaSet", "open-webui-a", "Deployment", "open-webui", 4, spec={"template": template("old")}),
                owned("ReplicaSet", "open-webui-b", "Deployment", "open-webui", 5, spec={"template": template("new")}),
                owned("ReplicaSet", "other", "Deployment", "other", 9, spec={}),
            ],
            "Pod": [
                a_pod("open-webui-a-1", "open-webui-a", "node-1", running),
                a_pod("open-webui-a-2", "open-webui-a", "node-1", running, deletionTimestamp="2026-11-22T12:00:00Z"),
                killed,
            ],
            "Node": [
                {"metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
                {"metadata": {"name": "node-2"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
            ],
            "HorizontalPodAutoscaler": [
                {
                    "metadata": {"name": "scaler"},
                    "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 9},
                    "status": hpa_status,
                }
            ],
            "Event": [
                {
                    "type": kind,
                    "reason": "Unhealthy",
                    "lastTimestamp": at,
                    "metadata": {},
                    "involvedObject": {"kind": "Pod", "name": name},
                    "message": "m",
                }
                for kind, at, name in [
                    ("Warning", "2026-11-22T11:58:00Z", "open-webui-b-1"),
                    ("Warning", "2026-11-22T10:00:00Z", "open-webui-b-1"),
                    ("Normal", "2026-11-22T11:58:00Z", "open-webui-b-1"),
                    ("Warning", "2026-11-22T11:58:00Z", "redis-0"),
                ]
            ],
        }
        self.written: list[tuple[Any, ...]] = []

    def read(self, kind: str, name: str) -> Any:
        return self.deployment if (kind, name) == ("Deployment", "open-webui") else None

    def list(self, kind: str, labels: Any = None) -> Sequence[Any]:
        return self.objects[kind]

    def scale(self, *arguments: Any) -> None:
        self.written.append(("scale", *arguments))

    def patch(self, *arguments: Any) -> None:
        self.written.append(("patch", *arguments))

    def replace(self, manifest: Any) -> None:
        self.written.append(("replace", manifest))


def test_a_deployment_is_read_with_its_pools_surge_and_revision() -> None:
    found = ClusterWorkload(Manifests(), "open-webui").read_deployment()
    assert (found.replicas, found.revision, found.max_surge, found.deadline_exceeded) == (3, 5, 1, True)
    assert found.pools == PoolSizes(2, 1, UPSTREAM_POOLS.pgvector_pool_size, UPSTREAM_POOLS.pgvector_max_overflow)
    assert [each.revision for each in found.replica_sets] == [4, 5]


def test_pods_are_read_with_what_ails_them() -> None:
    good, ending, bad = ClusterWorkload(Manifests(), "open-webui").list_pods()
    assert (good.revision, good.ready, good.restarts, good.running_since) == (4, True, 2, NOON - timedelta(hours=1))
    assert (ending.ending, good.ending) == (True, False)
    assert (bad.revision, bad.ready, bad.waiting_reason, bad.running_since) == (5, False, "CrashLoopBackOff", None)
    assert (bad.out_of_memory, bad.node_ready, good.node_ready) == (True, False, True)


def test_without_permission_to_list_nodes_they_count_as_ready() -> None:
    cluster = Manifests()
    allowed = cluster.list

    def listing(kind: str, labels: Any = None) -> Sequence[Any]:
        if kind == "Node":
            raise PermissionMissing("nodes is forbidden")
        return allowed(kind, labels)

    cluster.list = listing
    assert all(pod.node_ready for pod in ClusterWorkload(cluster, "open-webui").list_pods())


def test_the_autoscaler_and_the_warnings_of_this_deployment_are_read() -> None:
    workload = ClusterWorkload(Manifests(), "open-webui")
    assert workload.read_autoscaler() == Autoscaler("scaler", 3, 9, 4, 81)
    assert ClusterWorkload(Manifests(), "other").read_autoscaler() is None
    assert [event.subject for event in workload.list_events(NOON - timedelta(minutes=10))] == ["Pod/open-webui-b-1"]


def test_scaling_and_bounds_are_written_where_they_belong() -> None:
    cluster = Manifests()
    workload = ClusterWorkload(cluster, "open-webui")
    workload.scale(4)
    workload.set_bounds(2, 6)
    bounds = {"spec": {"minReplicas": 2, "maxReplicas": 6}}
    assert cluster.written == [("scale", "open-webui", 4), ("patch", "HorizontalPodAutoscaler", "scaler", bounds)]


def test_a_rollout_is_undone_once_by_its_old_template() -> None:
    cluster = Manifests()
    workload = ClusterWorkload(cluster, "open-webui")
    workload.undo_rollout(4)
    ((_, restored),) = cluster.written
    assert restored["spec"]["template"]["spec"]["containers"][0]["image"] == "old"
    assert restored["spec"]["template"]["metadata"]["labels"] == {"app": "open-webui"}
    assert restored["spec"]["replicas"] == 3

    cluster.deployment["metadata"]["annotations"][REVISION] = "6"
    cluster.objects["ReplicaSet"][0]["metadata"]["annotations"] = {REVISION: "6", REVISION_HISTORY: "4"}
    workload.undo_rollout(4)
    assert len(cluster.written) == 1, "a second delivery changes nothing"
    with pytest.raises(ConfigurationError):
        workload.undo_rollout(2)


def test_a_missing_deployment_is_said_so() -> None:
    with pytest.raises(ConfigurationError, match="no Deployment nobody in ollama"):
        ClusterWorkload(Manifests(), "nobody").read_deployment()


def test_rows_of_the_session_query_become_connections() -> None:
    limits = ServerLimits(50, 5, 10)
    rows = [("open-webui", "active", 3, 0.0), ("psql", "idle in transaction", 1, 61.5)]
    found = to_connections(rows, limits, timedelta(milliseconds=4))
    assert (found.used, found.longest_idle_in_transaction) == (4, timedelta(seconds=61.5))
