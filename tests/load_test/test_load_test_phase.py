"""Phase 8 without a cluster that runs anything: when it runs, what it plans, and what its failures do."""

import json

import pytest

from api.guard_runs import migration_state
from api.runs import Run
from phases import load_test
from shared.errors import ConfigurationError, PermanentError, UnsupportedDeployment
from shared.load_test.stepping import Setting
from shared.model.migration import NOT_ASKED_FOR, Brief, MigrationRequest, Mode, Options, Target
from shared.model.ports import Ports
from shared.model.request_parsing import InvalidRequest, parse_request
from shared.model.survey import DatabaseFacts, DeploymentFacts, Severity, Survey
from shared.rendering.documents import to_html, to_markdown
from shared.report.handbook import handbook
from shared.sizing.connection_budget import PoolSizes, ServerLimits
from shared.wire import from_wire, to_wire
from tests.after.fix_phases import finish
from tests.after.fix_record import OCCASION, finished
from tests.way_back.fix_cluster import FakeClock, FakeCluster

TARGET = Target("s", "g", "c", "https://v.vault.azure.net", "p")
FACTS = DeploymentFacts(
    "web", "image", 3, "RollingUpdate", "/data", "data", 8080, {"app": "open-webui"}, (), "pod", "node", "d"
)
RUN, SECRET = "open-webui-0001", "admin@example.com:hunter2"
ROW = {
    "path": "all",
    "requests": 300,
    "failures": 0,
    "average_ms": 60.0,
    "p50_ms": 40.0,
    "p95_ms": 120.0,
    "p99_ms": 200.0,
    "longest_ms": 300.0,
    "a_second": 30.0,
}
PART = {"at": 0.0, "users": 5, "a_second": 30.0, "p50_ms": 40, "p95_ms": 120, "failures": 0}
MEASURED = {
    "users": 5,
    "started": "2026-01-01T00:00:00+00:00",
    "seconds": 10.0,
    "stopped_early": "",
    "rows": [ROW],
    "course": [PART],
    "errors": [{"path": "<chat>", "error": "500 | no", "times": 2}],
}


class Vault:
    def __init__(self, secret=SECRET):
        self.secret = secret

    def read(self, name):
        if self.secret is None:
            raise ConfigurationError(f"there is no secret {name}")
        return self.secret


class Cluster(FakeCluster):
    """Three pods that log a request of every trial each; Jobs end at once with what the test says."""

    def logs(self, pod, container, *, tail_lines=None, since_seconds=None):
        if pod.startswith("web-"):
            return "".join(f'"GET /?scaleout-load={RUN}.{n} HTTP/1.1" 200\n' for n in range(1, 12))
        return super().logs(pod, container)


@pytest.fixture
def cluster():
    found = Cluster()
    names = ("replicas", "updatedReplicas", "availableReplicas")
    container = {"name": "web", "image": "image", "env": []}
    found.objects["Deployment", "open-webui"] = {
        "kind": "Deployment",
        "metadata": {"name": "open-webui", "generation": 1},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [container]}}},
        "status": {"observedGeneration": 1} | dict.fromkeys(names, 3),
    }
    found.put("Service", "open-webui", spec={"ports": [{"port": 80}]})
    for name in ("web-1", "web-2", "web-3"):
        found.objects["Pod", name] = {"metadata": {"name": name, "labels": FACTS.labels}, "status": {}, "spec": {}}
    found.job_lines = {f"{RUN}-load-1": {"result": MEASURED}, f"{RUN}-load-clean": {"result": {"users": 5, "files": 7}}}
    return found


def ports_of(cluster, vault=None):
    return Ports(cluster, None, None, vault or Vault(), FakeClock())


def brief(mode=Mode.PHASES, **options):
    chosen = Options(**{"load_test_trials": 1, "load_test": mode is not Mode.PHASES} | options)
    phases = ("load_test",) if mode is Mode.PHASES else ()
    survey = Survey(deployment=FACTS, database=DatabaseFacts("18", ServerLimits(859, 10, 5), 0, {}, {}))
    return Brief(RUN, MigrationRequest(TARGET, mode, chosen, phases), survey)


@pytest.mark.parametrize("mode", [Mode.PLAN, Mode.MIGRATE])
def test_it_never_runs_unless_it_is_asked_for(mode):
    nobody = Ports(None, None, None, None, None)  # touching any of them would fail
    plan = load_test.plan(brief(mode, load_test=False), nobody)
    assert plan == load_test.Plan()
    assert load_test.apply(plan, nobody) == load_test.undo(plan, nobody) == NOT_ASKED_FOR


def test_the_plan_says_what_will_be_made_and_holds_no_secret(cluster):
    plan = load_test.plan(brief(load_test_trials=3), ports_of(cluster))
    assert [(c.action, c.kind) for c in plan.changes] == [
        ("create", "Job"), ("create", "Secret"), ("create", "ConfigMap"), ("change", "Deployment")
    ]  # fmt: skip
    assert plan.order.job.url == "http://open-webui.ollama.svc:80"
    assert "hunter2" not in json.dumps(to_wire(plan))
    assert from_wire(json.loads(json.dumps(to_wire(plan))), load_test.Plan) == plan


def test_without_an_administrator_nothing_is_begun(cluster):
    plan = load_test.plan(brief(), ports_of(cluster, Vault(None)))
    found = {problem.code: problem for problem in plan.problems}
    assert found["no_administrator"].severity is Severity.BLOCKING
    assert "az keyvault secret set --name open-webui-administrator" in found["no_administrator"].hint


def test_without_its_service_it_is_refused(cluster):
    del cluster.objects["Service", "open-webui"]
    with pytest.raises(UnsupportedDeployment, match="no Service open-webui"):
        load_test.plan(brief(), ports_of(cluster))


def test_the_credential_is_in_a_secret_only_and_only_for_the_time_of_the_test(cluster):
    ports = ports_of(cluster)
    plan = load_test.plan(brief(), ports)
    load_test.apply(plan, ports)
    load_test.apply(plan, ports)
    secret = cluster.objects.pop(("Secret", f"{RUN}-load-test"))
    assert "hunter2" not in json.dumps(list(cluster.objects.values()))
    job = cluster.objects["Job", f"{RUN}-load-1"]["spec"]["template"]["spec"]["containers"][0]
    assert {e["valueFrom"]["secretKeyRef"]["key"] for e in job["env"]} == set(secret["data"])
    cluster.objects["Secret", f"{RUN}-load-test"] = secret
    done = finish(load_test.apply, plan, ports)
    assert ("Secret", f"{RUN}-load-test") not in cluster.objects
    assert "hunter2" not in json.dumps(done.result)


def test_a_failed_gate_is_a_verdict_and_no_failure(cluster):
    ports = ports_of(cluster)
    cluster.job_lines[f"{RUN}-load-1"] = {"result": MEASURED | {"rows": [ROW | {"p95_ms": 3100.0}]}}
    done = finish(load_test.apply, load_test.plan(brief(), ports), ports)
    assert done.result["verdict"] == "failed"
    assert "p95 below 3,000 ms" in done.step


@pytest.mark.parametrize("mode", [Mode.MIGRATE, Mode.PHASES])
def test_a_test_that_cannot_be_made_fails_a_run_of_its_own_and_never_a_migration(cluster, mode):
    ports = ports_of(cluster)
    error = {"message": "POST /api/v1/auths/add: 403 no", "kind": "configuration"}
    cluster.job_lines[f"{RUN}-load-1"] = {"error": error}
    plan = load_test.plan(brief(mode), ports)
    if mode is Mode.PHASES:
        with pytest.raises(PermanentError, match="403 no"):
            finish(load_test.apply, plan, ports)
    else:
        done = finish(load_test.apply, plan, ports)
        assert (done.result["verdict"], done.result["cleaned"]["users"]) == ("not measured", 5)
    assert ("Secret", f"{RUN}-load-test") not in cluster.objects


def test_a_credential_that_is_gone_since_the_plan_undoes_no_migration(cluster):
    plan = load_test.plan(brief(Mode.MIGRATE), ports_of(cluster))
    done = finish(load_test.apply, plan, ports_of(cluster, Vault(None)))
    assert done.result["verdict"] == "not measured"
    assert finish(load_test.undo, plan, ports_of(cluster, Vault(None))).finished


@pytest.mark.parametrize("gone", [False, True])
def test_an_undo_goes_on_where_nothing_can_be_cleaned(cluster, gone):
    ports = ports_of(cluster)
    plan = load_test.plan(brief(Mode.MIGRATE), ports)
    load_test.apply(plan, ports)
    cluster.job_lines[f"{RUN}-load-clean"] = {"error": {"message": "cannot connect"}}
    if gone:
        del cluster.objects["Deployment", "open-webui"]
    done = finish(load_test.undo, plan, ports)
    assert "left_behind" in done.result["cleaned"]
    assert f"scaleout-load-{RUN}" in done.result["cleaned"]["hint"]
    assert {key for key in cluster.objects if RUN in key[1]} == {("Pod", f"{RUN}-load-clean-pod")} - (
        {("Pod", f"{RUN}-load-clean-pod")} if gone else set()
    )


def interrupted(cluster, ports):
    """In the middle of a trial with fewer replicas."""
    plan = load_test.plan(brief(Mode.MIGRATE), ports)
    load_test.apply(plan, ports)
    cluster.scale("open-webui", 2)
    progress = load_test.undo(plan, ports)  # asks for three
    return plan, progress


def test_an_undo_waits_until_as_many_pods_are_ready_as_before(cluster):
    ports = ports_of(cluster)
    cluster.objects["Deployment", "open-webui"]["status"]["availableReplicas"] = 2
    plan, first = interrupted(cluster, ports)
    second = load_test.undo(plan, ports)
    assert [one.step for one in (first, second)] == ["putting back what stood before"] * 2
    assert cluster.objects["Deployment", "open-webui"]["spec"]["replicas"] == 3
    assert ("Secret", f"{RUN}-load-test") in cluster.objects
    cluster.objects["Deployment", "open-webui"]["status"]["availableReplicas"] = 3
    finish(load_test.undo, plan, ports)
    assert ("Secret", f"{RUN}-load-test") not in cluster.objects


def test_pods_that_do_not_come_back_hold_no_rollback_up_for_long(cluster):
    ports = ports_of(cluster)
    cluster.objects["Deployment", "open-webui"]["status"]["availableReplicas"] = 2
    plan, _ = interrupted(cluster, ports)
    ports.clock.pass_by(minutes=2, seconds=1)
    finish(load_test.undo, plan, ports)
    assert ("Secret", f"{RUN}-load-test") not in cluster.objects


def test_an_autoscaler_is_held_meanwhile_and_let_go_afterwards(cluster):
    scaler = cluster.put("HorizontalPodAutoscaler", "open-webui", spec={"minReplicas": 2, "maxReplicas": 9})
    scaler["spec"]["scaleTargetRef"] = {"kind": "Deployment", "name": "open-webui"}
    ports = ports_of(cluster)
    plan = load_test.plan(brief(), ports)
    load_test.apply(plan, ports)
    load_test.apply(plan, ports)
    bounds = cluster.objects["HorizontalPodAutoscaler", "open-webui"]["spec"]
    assert (bounds["minReplicas"], bounds["maxReplicas"]) == (3, 3)
    finish(load_test.apply, plan, ports)
    bounds = cluster.objects["HorizontalPodAutoscaler", "open-webui"]["spec"]
    assert (bounds["minReplicas"], bounds["maxReplicas"]) == (2, 9)


def test_the_guard_stands_still_meanwhile():
    status = {"phase": "load_test", "step": "trial 1"}
    run = Run("k-0002", "RUNNING", "2026-01-01T00:00:00", "2026-01-01T00:00:00", status, None)
    assert migration_state([run]).restarts_pods


def test_the_handbook_tells_of_it_and_says_nothing_where_there_was_none(cluster):
    ports = ports_of(cluster)
    result = finish(load_test.apply, load_test.plan(brief(), ports), ports).result
    record = finished()
    assert "The load test" not in to_markdown(handbook(record, OCCASION))
    record["report"]["results"]["load_test"] = result
    text, page = to_markdown(handbook(record, OCCASION)), to_html(handbook(record, OCCASION))
    assert "load test passed: 5 users, 30.0 requests a second, p95 120 ms" in text
    assert "| p95 below 3,000 ms on every path | 120 ms, slowest: all with 120 ms | held |" in text
    assert "Recommended: keep what stands." in text
    assert "From 2026-01-01 00:00 UTC, 10.0 s." in text
    assert "5 test users and 7 files were removed, and what stood before was put back" in text
    assert "<svg" in page
    assert "&lt;chat&gt;" in page


def test_a_recommendation_comes_with_its_commands(cluster):
    ports = ports_of(cluster)
    result = finish(load_test.apply, load_test.plan(brief(), ports), ports).result
    best = {"replicas": 2, "connections": 7, "changes": True, "because": "it passed"}
    result["recommendation"] = best | {"environment": PoolSizes(1, 1, 2, 1).as_environment()}
    record = finished()
    record["report"]["results"]["load_test"] = result
    text = to_markdown(handbook(record, OCCASION))
    assert "kubectl set env deployment/open-webui -n ollama DATABASE_POOL_SIZE=1" in text
    assert "kubectl scale deployment/open-webui -n ollama --replicas=2" in text


def test_a_settings_pools_are_what_it_says():
    assert all(Setting(3, size).pools.most_per_process == size for size in range(5, 46))


@pytest.mark.parametrize(
    ("option", "value"), [("load_test_users", 0), ("load_test_seconds", 4), ("load_test_trials", 9)]
)
def test_what_cannot_be_meant_is_named(option, value):
    body = {"options": {option: value}}
    defaults = {"subscription_id": "s", "resource_group": "g", "cluster": "c", "postgres_server": "p"}
    with pytest.raises(InvalidRequest, match=f"options.{option} must be from"):
        parse_request(body, defaults | {"key_vault": "https://v.vault.azure.net"})
