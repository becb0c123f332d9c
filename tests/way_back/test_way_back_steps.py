"""The steps of the way back, and of the stop before it, against a cluster of plain objects."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from phases import cut_over
from phases.cut_over.checks import prepare
from phases.cut_over.rollback import POD_END_DEADLINE
from phases.cut_over.switch_plan import Plan, owner_problems
from phases.cut_over.way_back_record import record
from shared.errors import ConfigurationError, NeedsOperator, PermanentError, TransientError
from shared.kubernetes.deployments import ANSWERED_AT, STOPPED_AT, SWITCHED_AT
from shared.kubernetes.redis_choice import url_of
from shared.model.migration import Progress
from shared.model.ports import Manifest
from shared.model.survey import ChunkTable, Severity
from shared.programs import mover_job
from shared.sizing.connection_budget import ServerLimits
from tests.way_back.fix_cluster import (
    LABELS,
    NAMES,
    TARGET,
    FakeClock,
    FakeCluster,
    deployment,
    plan_for,
    ports_of,
    settled,
)

INDEXES = {"plan": {"settings": {"PGVECTOR_INDEX_METHOD": "hnsw"}}}
CARRIED = {"chunks_added": 25, "verified": True}
FAILED = {"error": {"message": "the disk is full", "hint": "Make room.", "kind": "permanent"}}


class World:
    """A cluster, a clock and the plan of a cut-over in it."""

    def __init__(self) -> None:
        self.cluster, self.clock = FakeCluster(), FakeClock()
        self.clock.while_asleep = self.settle
        self.cluster.objects["Deployment", "open-webui"] = deployment()
        self.before = deployment()
        self.plan = plan_for(self.cluster)
        self.cluster.put("PersistentVolumeClaim", TARGET.files_claim, status={"phase": "Bound"}, spec={})
        self.cluster.put("PersistentVolume", "pv-disk", spec={"persistentVolumeReclaimPolicy": "Retain"})
        self.cluster.put("ConfigMap", NAMES.code)
        self.facts: Any = SimpleNamespace(
            chunk_table=ChunkTable(1, 1536, "vector", "openwebui"),
            ledger_exists=True,
            limits=ServerLimits(50, 10, 5),
            sessions=2,
        )
        databases = SimpleNamespace(as_admin=lambda _: SimpleNamespace(read_facts=lambda _: self.facts))
        self.ports = ports_of(self.cluster, self.clock, databases)
        self.cluster.job_lines = {
            self.plan.index.name: {"result": INDEXES},
            self.plan.catch_up.name: {"result": {}},
            self.plan.finish.name: {"result": {"files": {}, "vectors": {}, "verification": {"equal": True}}},
            self.plan.carry_back.name: {"result": CARRIED},
        }

    @property
    def live(self) -> Manifest:
        return self.cluster.objects["Deployment", "open-webui"]

    def switch(self, *, answered: bool) -> None:
        """As a finished cut-over leaves it."""
        patch = prepare(self.plan, self.live, INDEXES, self.ports)
        self.cluster.apply(record(self.plan, self.live, patch))
        noted = {STOPPED_AT: "2026-01-01T00:00:00+00:00", SWITCHED_AT: "x"} | ({ANSWERED_AT: "x"} if answered else {})
        self.cluster.patch("Deployment", "open-webui", patch | {"metadata": {"annotations": noted}})

    def stop(self) -> None:
        """As far as the cut-over goes before anything is down."""
        for _ in range(4):
            if STOPPED_AT not in (self.live["metadata"].get("annotations") or {}):
                cut_over.apply(self.plan, self.ports)

    def undo(self, times: int = 8) -> Progress:
        """Call undo until it is finished, the cluster doing its work in between."""
        for _ in range(times):
            done = cut_over.undo(self.plan, self.ports)
            if done.finished:
                return done
            self.clock.sleep(1)
        return done

    def settle(self) -> None:
        """The Deployment's controller at work."""
        self.live["status"] = settled(int(self.live["spec"]["replicas"]))
        self.live["metadata"]["generation"] = 1


@pytest.fixture
def world() -> World:
    return World()


def test_what_users_did_is_carried_back_before_the_old_pod_starts(world: World) -> None:
    world.switch(answered=True)
    world.cluster.log.clear()
    done = world.undo()
    assert done.result["carried_back"] == CARRIED
    steps = [line.split(" {")[0] for line in world.cluster.log if "Secret" not in line]
    assert steps.index(f"apply Job {world.plan.carry_back.name}") < steps.index("replace Deployment open-webui")
    assert world.live["spec"] == world.before["spec"]
    assert ("Secret", NAMES.record) not in world.cluster.objects


def test_nothing_is_carried_back_when_nothing_was_switched(world: World) -> None:
    patch = prepare(world.plan, world.live, INDEXES, world.ports)
    world.cluster.apply(record(world.plan, world.live, patch))
    stopped = {"metadata": {"annotations": {STOPPED_AT: "2026-01-01T00:00:00+00:00"}}, "spec": {"replicas": 0}}
    world.cluster.patch("Deployment", "open-webui", stopped)
    done = world.undo()
    assert "carried_back" not in done.result
    assert f"apply Job {world.plan.carry_back.name}" not in world.cluster.log


def test_no_pod_of_the_new_side_is_left_when_the_disk_is_written(world: World) -> None:
    world.switch(answered=True)
    world.cluster.put("Pod", "new", spec={})["metadata"]["labels"] = LABELS
    assert not world.undo(3).finished
    assert f"apply Job {world.plan.carry_back.name}" not in world.cluster.log


def test_pods_that_never_end_need_an_operator(world: World) -> None:
    world.switch(answered=True)
    world.cluster.put("Pod", "new", spec={})["metadata"]["labels"] = LABELS
    world.undo(2)
    world.clock.time += POD_END_DEADLINE
    with pytest.raises(NeedsOperator, match="do not end"):
        world.undo(1)


def test_when_carrying_back_fails_the_side_that_holds_everything_serves_again(world: World) -> None:
    world.switch(answered=True)
    world.cluster.job_lines[world.plan.carry_back.name] = FAILED
    with pytest.raises(NeedsOperator, match=r"the new side serves again.*the disk is full"):
        world.undo()
    assert world.live["spec"]["replicas"] == 1
    assert SWITCHED_AT in world.live["metadata"]["annotations"]
    world.cluster.job_lines[world.plan.carry_back.name] = {"result": CARRIED}
    world.clock.pass_by(days=3)
    done = world.undo()  # asked again, it carries back what was written until now, and measures from now
    assert (done.finished, done.result["carried_back"]) == (True, CARRIED)
    assert done.result["downtime_seconds"] < 60


def test_a_new_side_that_never_answered_does_not_hold_up_the_old_one(world: World) -> None:
    world.switch(answered=False)
    world.cluster.job_lines[world.plan.carry_back.name] = FAILED
    assert world.undo().finished
    assert world.live["spec"] == world.before["spec"]


def test_a_deployment_that_was_deleted_since_is_made_again_after_carrying_back(world: World) -> None:
    world.switch(answered=True)
    world.cluster.delete("Deployment", "open-webui")
    done = world.undo()
    assert done.result["carried_back"] == CARRIED
    assert world.live["spec"] == world.before["spec"]
    assert not world.live["metadata"].get("annotations")


def test_only_the_way_back_may_write_to_the_disk(world: World) -> None:
    def disk_mount(job: mover_job.MoverJob) -> dict[str, Any]:
        spec = mover_job.job_manifest(job, deployment())["spec"]["template"]["spec"]
        return next(one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "disk")

    assert disk_mount(world.plan.finish)["readOnly"]
    assert "readOnly" not in disk_mount(world.plan.carry_back)
    assert "affinity" not in mover_job.job_manifest(world.plan.carry_back, deployment())["spec"]["template"]["spec"]


def test_everything_that_would_fail_after_the_stop_is_listed_before_it(world: World) -> None:
    world.live["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    world.cluster.put("PersistentVolumeClaim", TARGET.files_claim, status={"phase": "Pending"}, spec={})
    world.cluster.put("PersistentVolume", "pv-disk", spec={"persistentVolumeReclaimPolicy": "Delete"})
    world.cluster.delete("ConfigMap", NAMES.code)
    world.cluster.forbidden = {"jobs"}
    reference = {"name": "WEBUI_SECRET_KEY", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k"}}}
    redis = {"name": "REDIS_URL", "value": url_of(NAMES.redis)}
    world.plan = replace(world.plan, environment=(*world.plan.environment, reference, redis))
    world.facts.chunk_table, world.facts.ledger_exists, world.facts.sessions = None, False, 30
    with pytest.raises(ConfigurationError) as caught:
        prepare(world.plan, world.live, INDEXES, world.ports)
    for words in (
        "was changed after it was planned",
        "is not bound",
        "is not set to Retain",
        f"ConfigMap {NAMES.code} is gone",
        "may not create jobs",
        "Secret gone has no key k",
        "no pod of Open WebUI is ready",
        "document_chunk is gone",
        "the ledger (schema scaleout) is gone",
        "5 connections beside the 30 of others, 10 are needed",
    ):
        assert words in caught.value.message, words


def test_a_switch_that_the_api_server_would_refuse_stops_nothing(world: World) -> None:
    world.cluster.refuses = "exceeded quota"
    with pytest.raises(ConfigurationError, match="exceeded quota"):
        world.stop()
    assert world.live["spec"]["replicas"] == 1
    assert STOPPED_AT not in (world.live["metadata"].get("annotations") or {})


def container_of(found: Manifest) -> Manifest:
    [one] = found["spec"]["template"]["spec"]["containers"]
    return dict(one)


def refused(world: World) -> str:
    with pytest.raises(ConfigurationError) as error:
        prepare(world.plan, world.live, INDEXES, world.ports)
    return error.value.message


def referring(world: World, name: str = "DATABASE_URL") -> None:
    variable = {"name": "PGVECTOR_DB_URL", "value": f"$({name})"}
    world.plan = replace(world.plan, environment=(variable, *world.plan.environment))


def test_a_reference_follows_what_it_refers_to(world: World) -> None:
    referring(world)
    world.switch(answered=False)
    names = [entry["name"] for entry in container_of(world.live)["env"]]
    assert names == ["DATABASE_URL", "PGVECTOR_DB_URL", "VECTOR_DB", "PGVECTOR_INDEX_METHOD"]


@pytest.mark.parametrize("place", ["before", "gone"])
def test_variables_that_come_out_otherwise_stop_nothing(world: World, place: str) -> None:
    def mutate(tried: Manifest) -> None:
        env = tried["spec"]["template"]["spec"]["containers"][0]["env"]
        last = env.pop()
        if place == "before":
            env.insert(0, last)

    referring(world)
    world.cluster.mutates = mutate
    assert "the API server would make the variables" in refused(world)


def test_a_reference_that_nothing_sets_stops_nothing(world: World) -> None:
    referring(world, "DATABASE_HOST")
    assert "variable PGVECTOR_DB_URL refers to DATABASE_HOST, which nothing before it sets" in refused(world)


def test_a_reference_to_what_comes_by_env_from_is_fine(world: World) -> None:
    container_of(world.live)["env"].clear()
    world.live["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "all"}}]
    world.plan = plan_for(world.cluster)
    world.cluster.put("Secret", "all", data={"DATABASE_URL": "eA=="})
    referring(world)
    world.switch(answered=False)
    assert container_of(world.live)["env"][0]["name"] == "PGVECTOR_DB_URL"


def test_what_carries_the_last_changes_over_stands_by_before_the_stop(world: World) -> None:
    world.stop()
    steps = [line.split(" {")[0] for line in world.cluster.log]
    assert steps.index(f"apply Job {world.plan.finish.name}") < steps.index(f"apply Secret {NAMES.record}")
    assert f"release {world.plan.finish.name}" not in steps
    done = cut_over.apply(world.plan, world.ports)
    assert done.finished
    steps = [line.split(" {")[0] for line in world.cluster.log]
    stop, release = steps.index("patch Deployment open-webui"), steps.index(f"release {world.plan.finish.name}")
    assert stop < release < len(steps) - 1 - steps[::-1].index("patch Deployment open-webui")


def test_it_is_not_told_to_begin_while_the_old_pod_is_there(world: World) -> None:
    world.stop()
    world.cluster.put("Pod", "old", spec={})["metadata"]["labels"] = LABELS
    assert not cut_over.apply(world.plan, world.ports).finished
    assert f"release {world.plan.finish.name}" not in world.cluster.log


@pytest.mark.parametrize("says", ["", "-NOAUTH Authentication required."])
def test_a_redis_that_does_not_answer_the_serving_pod_stops_nothing(world: World, says: str) -> None:
    pod = world.cluster.put("Pod", "old", status={"conditions": [{"type": "Ready", "status": "True"}]}, spec={})
    pod["metadata"]["labels"] = LABELS
    redis = {"name": "REDIS_URL", "value": url_of(NAMES.redis)}
    world.plan = replace(world.plan, environment=(*world.plan.environment, redis))
    world.cluster.redis_says = says
    assert f"does not answer the serving pod: {says or 'refused'}" in refused(world)


def add_ended_pod(world: World, name: str = "evicted", phase: str = "Failed") -> None:
    pod = world.cluster.put("Pod", name, status={"phase": phase, "reason": "Evicted"}, spec={})
    pod["metadata"]["labels"] = LABELS


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_ended_pod_with_the_labels_is_not_waited_for(world: World, phase: str) -> None:
    """An evicted pod keeps its labels for days: it cost 15 minutes of downtime, or a way back with no replicas."""
    add_ended_pod(world, phase=phase)
    world.stop()
    world.clock.sleep(1)
    step = cut_over.apply(world.plan, world.ports)
    assert f"release {world.plan.finish.name}" in world.cluster.log, step


@pytest.mark.parametrize("switched", [True, False])
def test_an_ended_pod_does_not_hold_up_the_way_back(world: World, switched: bool) -> None:
    world.switch(answered=True) if switched else world.stop()
    add_ended_pod(world)
    assert world.undo().finished
    assert world.clock.now() < FakeClock().time + timedelta(minutes=1)
    assert world.live["spec"] == world.before["spec"]


def test_what_cannot_stand_by_stops_nothing(world: World) -> None:
    world.cluster.job_lines.pop(world.plan.finish.name)  # its pod stays Pending
    for _ in range(3):
        assert not cut_over.apply(world.plan, world.ports).finished
    world.cluster.objects["Job", world.plan.finish.name]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    world.clock.time += cut_over.STANDBY_DEADLINE
    world.clock.pass_by(seconds=1)
    with pytest.raises(ConfigurationError, match="did not start within 0:05:00"):
        cut_over.apply(world.plan, world.ports)
    assert world.live["spec"]["replicas"] == 1
    assert world.undo().finished
    assert ("Job", world.plan.finish.name) not in world.cluster.objects


def test_what_finished_before_the_stop_is_not_believed(world: World) -> None:
    cut_over.apply(world.plan, world.ports)
    cut_over.apply(world.plan, world.ports)
    mover_job.release(world.cluster, world.plan.finish)  # somebody's mistake
    world.cluster.log.clear()
    assert not cut_over.apply(world.plan, world.ports).finished
    assert f"delete Job {world.plan.finish.name}" in world.cluster.log
    world.stop()
    assert cut_over.apply(world.plan, world.ports).finished


def test_a_hiccup_of_the_api_server_is_waited_out_while_nobody_serves(world: World) -> None:
    world.stop()
    failures = iter([None, *[TransientError("busy")] * 5])  # once it is known that Open WebUI is down
    read = world.cluster.read

    def hiccup(kind: str, name: str) -> Manifest | None:
        if (error := next(failures, None)) is not None:
            raise error
        return read(kind, name)

    world.cluster.read = hiccup  # type: ignore[method-assign]
    assert cut_over.apply(world.plan, world.ports).finished
    assert next(failures, "all used") == "all used"


@pytest.mark.parametrize("hangs", ["pod", "job"])
def test_every_step_before_the_switch_has_a_deadline(world: World, hangs: str) -> None:
    world.stop()
    if hangs == "pod":
        world.cluster.put("Pod", "old", spec={})["metadata"]["labels"] = LABELS
    else:
        world.cluster.job_lines.pop(world.plan.finish.name)
    assert not cut_over.apply(world.plan, world.ports).finished
    world.clock.pass_by(seconds=world.plan.step_deadline_seconds + 1)
    with pytest.raises(PermanentError, match="the old pod comes back"):
        cut_over.apply(world.plan, world.ports)
    assert world.undo().finished  # at once, also when a dead node still shows the old pod
    assert world.live["spec"] == world.before["spec"]


def test_the_users_reference_gives_way_to_our_value(world: World) -> None:
    entry = {"name": "VECTOR_DB", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}
    world.live["spec"]["template"]["spec"]["containers"][0]["env"].append(entry)
    world.plan = plan_for(world.cluster)
    world.switch(answered=True)
    env = {one["name"]: one for one in world.live["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["VECTOR_DB"] == {"name": "VECTOR_DB", "value": "pgvector"}
    assert env["DATABASE_URL"] == deployment()["spec"]["template"]["spec"]["containers"][0]["env"][0]


def owned(plan: Plan, manager: str) -> Manifest:
    live = deployment()
    fields = {
        "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:volumes": {'k:{"name":"data"}': {"f:name": {}}}}}}
    }
    live["metadata"]["managedFields"] = [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]
    return live


@pytest.mark.parametrize(
    ("manager", "force", "codes"),
    [
        ("kubectl", False, ["field_owners"]),
        ("argocd-controller", False, ["field_owners", "reconciled"]),
        ("argocd-controller", True, ["field_owners"]),
        ("scaleout", False, []),
    ],
)
def test_owners_of_fields_that_change_are_shown_and_reconcilers_block(
    world: World, manager: str, force: bool, codes: list[str]
) -> None:
    problems = owner_problems(owned(world.plan, manager), world.plan.facts, world.plan.environment, force=force)
    assert [one.code for one in problems] == codes
    if codes:
        assert f"replicas ({manager}); volume data ({manager})" in problems[0].message
    assert all((one.severity is Severity.BLOCKING) == (one.code == "reconciled") for one in problems)
