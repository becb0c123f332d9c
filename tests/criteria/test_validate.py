"""Phase 5's criteria against replicas that answer, do not, or answer otherwise."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phases import validate
from shared.errors import PermanentError, TransientError, VerificationFailed
from shared.model.ports import Completed, Manifest
from shared.model.survey import ChunkTable, DeploymentFacts
from shared.programs.replica_probe import GET, Answer
from tests.way_back.fix_cluster import ADDRESS, LABELS, TARGET, FakeClock, FakeCluster, deployment, ports_of, settled

FACTS = DeploymentFacts(
    "web", "open-webui:0.12.4", 1, "Recreate", "/app/backend/data", "data", 8080, LABELS, (), "a", "node", "d"
)
PLAN = validate.Plan("open-webui", "open-webui", FACTS, ADDRESS, 3, TARGET.files_claim)
SEEN: dict[str, Any] = {
    "uploads": {"files": 4, "digest": "d"},
    "models": ["all-MiniLM"],
    "rows": 100,
    "topk_digest": "t",
    "topk_self_first": True,
}
LINE = "2026-11-28 10:00:00.123 | {level}    | {caller} - text"


@dataclass
class Replicas(FakeCluster):
    """Three pods behind a Service that asks them in turn."""

    pods: tuple[str, ...] = ("a", "b", "c")
    probes: dict[str, Any] = field(default_factory=dict)
    """Pod → what its mover sees, or an error; otherwise SEEN."""
    ready: Callable[[str], Answer] = lambda pod: Answer(200, '{"status":true}')
    static: Callable[[str, str], str] = lambda pod, text: text
    """What a pod gives back for the file that it was marked with."""
    serving: tuple[str, ...] = ("a", "b", "c")
    """The pods that the Service sends to."""
    logged: dict[str, str] = field(default_factory=dict)
    logged_lately: dict[str, str] = field(default_factory=dict)
    marked: dict[str, str] = field(default_factory=dict)
    turn: int = 0

    def logs(self, pod: str, container: str, *, tail_lines: int | None = None, since_seconds: int | None = None) -> str:
        lately = self.logged_lately.get(pod, "")
        return lately if since_seconds else self.logged.get(pod, "started") + "\n" + lately

    def execute(self, pod: str, container: str, command: Any, **_: Any) -> Completed:
        script, arguments = command[2], command[3:]
        if script == GET:
            return Completed(0, json.dumps([[a.status, a.body, a.trouble] for a in self._get(pod, *arguments)]), "")
        if script == validate.count_answers.__globals__["MARK"]:
            self.marked[pod] = arguments[1] if len(arguments) > 1 else ""
            return Completed(0, "", "")
        seen = self.probes.get(pod, SEEN)
        seen = seen() if callable(seen) else seen
        if isinstance(seen, Exception):
            raise seen
        return Completed(0, json.dumps({"result": seen}), "")

    def _get(self, pod: str, url: str, times: str) -> list[Answer]:
        if url.endswith("/ready"):
            return [self.ready(pod)]
        if "{self}" in url:
            return [Answer(200, self.static(pod, self.marked[pod]))]
        answers = []
        for _ in range(int(times)):
            self.turn += 1
            pod = self.serving[self.turn % len(self.serving)]
            answers.append(Answer(200, self.static(pod, self.marked[pod])))
        return answers


def world(**changes: Any) -> Replicas:
    cluster = Replicas(**changes)
    live = deployment()
    live["spec"]["replicas"], live["status"] = 3, settled(3)
    cluster.objects["Deployment", "open-webui"] = live
    for name in cluster.pods:
        add_pod(cluster, name)
    cluster.put("PersistentVolumeClaim", TARGET.files_claim, spec={"accessModes": ["ReadWriteMany"]})
    cluster.put("Service", "open-webui", spec={"clusterIP": "10.0.0.1", "ports": [{"port": 80}]})
    return cluster


def add_pod(cluster: Replicas, name: str, phase: str = "Running", ready: str = "True") -> Manifest:
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
    pod = cluster.put("Pod", name, status=status, spec={})
    pod["metadata"]["labels"] = LABELS
    return pod


def ports(cluster: Replicas) -> Any:
    table = ChunkTable(100, 1536, "vector", ADDRESS.role)
    database = SimpleNamespace(read_facts=lambda _: SimpleNamespace(extensions={"vector": "0.8"}, chunk_table=table))
    return ports_of(cluster, FakeClock(), SimpleNamespace(as_admin=lambda _: database))


def measured(cluster: Replicas) -> dict[str, tuple[bool | None, str]]:
    found = validate.apply(PLAN, ports(cluster)).result["criteria"]
    return {one["name"]: (one["met"], one["evidence"]) for one in found}


def unmet(cluster: Replicas) -> list[str]:
    with pytest.raises(VerificationFailed) as error:
        validate.apply(PLAN, ports(cluster))
    assert error.value.result is not None
    return [one["name"] for one in error.value.result["criteria"] if one["met"] is False]


EXTENSION, SCALED, RUNNING, UPLOADS, QUERYABLE, MODELS, LOGS, HEALTHY, BALANCED = validate.CRITERIA


def test_all_nine_are_met() -> None:
    assert [met for met, _ in measured(world()).values()] == [True] * 9


@pytest.mark.parametrize("error", [PermanentError("exec is refused"), TransientError("the node is away")])
def test_a_replica_that_cannot_be_looked_into_is_unknown_and_undoes_nothing(error: Exception) -> None:
    found = measured(world(probes={"b": error}))
    unknown = {name for name, (met, _) in found.items() if met is None}
    assert unknown == {UPLOADS, QUERYABLE, MODELS}
    assert str(error) in found[UPLOADS][1]


def test_an_api_server_that_does_not_answer_makes_all_unknown() -> None:
    def away(*_: Any) -> Any:
        raise TransientError("no route to host")

    cluster = world()
    cluster.read = cluster.list = away  # type: ignore[method-assign]
    result = validate.apply(PLAN, ports(cluster)).result
    assert {criterion["met"] for criterion in result["criteria"]} == {None}
    assert "replicas_ready" not in result


@pytest.mark.parametrize(
    ("difference", "criterion"),
    [
        ({"uploads": {"files": 3, "digest": "x"}}, UPLOADS),
        ({"rows": 90}, QUERYABLE),
        ({"topk_digest": "x"}, QUERYABLE),
        ({"topk_self_first": False}, QUERYABLE),
        ({"models": []}, MODELS),
    ],
)
def test_a_replica_that_sees_something_else_is_unmet(difference: dict[str, Any], criterion: str) -> None:
    assert unmet(world(probes={"b": SEEN | difference})) == [criterion]


def test_users_who_write_meanwhile_make_it_unknown_and_not_unmet() -> None:
    rows = iter(range(100, 10_000))

    def growing() -> dict[str, Any]:
        row = next(rows)
        return SEEN | {"rows": row, "uploads": {"files": row, "digest": str(row)}}

    found = measured(world(probes=dict.fromkeys("abc", growing)))
    assert {name for name, (met, _) in found.items() if met is None} == {UPLOADS, QUERYABLE}
    assert "changed while the replicas were asked" in found[QUERYABLE][1]


def test_an_evicted_pod_beside_them_is_no_replica() -> None:
    cluster = world()
    add_pod(cluster, "evicted", phase="Failed", ready="False")
    assert [met for met, _ in measured(cluster).values()] == [True] * 9


def test_requests_are_counted_whatever_the_log_says() -> None:
    cluster = world(logged=dict.fromkeys("abc", "nothing of a request"))
    assert measured(cluster)[BALANCED] == (True, "30 requests through the Service: a 10, b 10, c 10")
    assert set(cluster.marked.values()) == {""}  # and the marks are gone


def test_marks_go_from_the_others_when_one_replica_cannot_be_reached_any_more() -> None:
    cluster = world()
    reach = cluster.execute

    def execute(pod: str, container: str, command: Any, **options: Any) -> Completed:
        if pod == "a" and command[2] != GET and len(command) == 4 and command[3].startswith("scaleout-"):
            raise TransientError("pod a is gone")
        return reach(pod, container, command, **options)

    cluster.execute = execute  # type: ignore[method-assign]
    assert measured(cluster)[BALANCED][0] is True
    assert (cluster.marked["b"], cluster.marked["c"]) == ("", "")


def test_a_replica_that_no_request_reaches_is_unmet() -> None:
    assert unmet(world(serving=("a", "c"))) == [BALANCED]


@pytest.mark.parametrize(
    ("changes", "service", "words"),
    [
        ({"static": lambda pod, text: "index.html"}, {}, "pod a answered 200 for its own file"),
        ({"static": lambda pod, text: "a"}, {}, "pod b answered 200 for its own file"),
        ({}, {"clusterIP": "None"}, "Service open-webui has no cluster address"),
        ({"serving": ("a",)}, {"sessionAffinity": "ClientIP"}, "sessionAffinity ClientIP"),
    ],
    ids=["another page", "a folder that all share", "headless", "sticky"],
)
def test_requests_that_cannot_be_counted_are_not_measured(
    changes: dict[str, Any], service: dict[str, Any], words: str
) -> None:
    cluster = world(**changes)
    cluster.objects["Service", "open-webui"]["spec"] |= service
    met, evidence = measured(cluster)[BALANCED]
    assert met is None
    assert words in evidence


def test_errors_of_other_things_are_told_and_count_for_nothing() -> None:
    cluster = world(logged={"a": LINE.format(level="ERROR", caller="open_webui.routers.ollama:get:1")})
    met, evidence = measured(cluster)[LOGS]
    assert met
    assert "1 of other things, such as open_webui.routers.ollama:get:1" in evidence


def test_an_error_of_the_stores_that_came_once_has_passed() -> None:
    cluster = world(logged={"a": LINE.format(level="ERROR", caller="open_webui.internal.db:connect:1")})
    assert measured(cluster)[LOGS][0] is True


def test_one_that_keeps_coming_is_unmet() -> None:
    cluster = world(logged_lately={"b": LINE.format(level="ERROR", caller="open_webui.internal.db:connect:1")})
    assert unmet(cluster) == [LOGS]


def test_a_log_that_is_empty_or_hides_errors_says_nothing() -> None:
    assert measured(world(logged={"b": ""}))[LOGS] == (None, "the log of b is empty")
    cluster = world()
    env = cluster.objects["Deployment", "open-webui"]["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "GLOBAL_LOG_LEVEL", "value": "critical"})
    assert measured(cluster)[LOGS][0] is None


def test_a_replica_whose_database_is_away_is_unmet() -> None:
    cluster = world(ready=lambda pod: Answer(503 if pod == "b" else 200, '{"status": true}'))
    assert unmet(cluster) == [HEALTHY]


@pytest.mark.parametrize("answer", [Answer(0, "", "connection refused"), Answer(200, "<html>")])
def test_an_answer_that_is_not_open_webuis_is_no_answer(answer: Answer) -> None:
    met, evidence = measured(world(ready=lambda pod: answer))[HEALTHY]
    assert met is None
    assert "Kubernetes says that all pods are ready" in evidence


def test_the_mark_is_written_where_open_webui_serves_it_and_removed(tmp_path: Path) -> None:
    """The script itself, with the folder by variable and as a part of the package."""
    mark = validate.count_answers.__globals__["MARK"]
    package = tmp_path / "open_webui" / "static"
    package.mkdir(parents=True)
    (tmp_path / "open_webui" / "__init__.py").write_text("raise SystemExit('must not be imported')")
    for folder, environment in ((package, {}), (tmp_path, {"STATIC_DIR": str(tmp_path)})):
        for arguments, there in ((["m.txt", "pod-1"], True), (["m.txt"], False), (["m.txt"], False)):
            subprocess.run([sys.executable, "-c", mark, *arguments], cwd=tmp_path, env=environment, check=True)
            assert (folder / "m.txt").exists() is there
