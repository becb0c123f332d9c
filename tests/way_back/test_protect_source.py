"""Before anything is changed the disk is kept, and a snapshot of it taken where the cluster can."""

from dataclasses import replace

import pytest

from phases import protect_source
from phases.protect_source import ERROR_DEADLINE, READY_DEADLINE, Plan
from shared.errors import PermanentError
from shared.kubernetes import deployments
from shared.model.migration import Brief, MigrationRequest, Mode, Options
from shared.model.ports import Manifest
from shared.model.survey import Severity, StorageFacts, Survey
from tests.way_back.fix_cluster import NAMES, RUN, TARGET, FakeClock, FakeCluster, deployment, ports_of, settled

GROUP, DRIVER = "snapshot.storage.k8s.io", "disk.csi.azure.com"


class World:
    def __init__(self) -> None:
        self.cluster, self.clock = FakeCluster(groups={GROUP}), FakeClock()
        self.ports = ports_of(self.cluster, self.clock)
        self.cluster.objects["Deployment", "open-webui"] = deployment()
        spec = {"persistentVolumeReclaimPolicy": "Delete", "csi": {"driver": DRIVER}}
        self.cluster.put("PersistentVolume", "pv-disk", spec=spec)
        self.cluster.put("PersistentVolumeClaim", TARGET.disk_claim, spec={"volumeName": "pv-disk"})

    def add_class(self, name: str, driver: str = DRIVER, **more: object) -> Manifest:
        return self.cluster.put("VolumeSnapshotClass", name, **({"driver": driver, "deletionPolicy": "Delete"} | more))

    def plan(self, **options: bool) -> Plan:
        facts = deployments.describe(deployment(), TARGET.disk_claim, [])
        storage = StorageFacts("pv-disk", "Delete", "10Gi", "managed-csi")
        request = MigrationRequest(TARGET, Mode.MIGRATE, Options(**options))  # type: ignore[arg-type]
        return protect_source.plan(Brief(RUN, request, Survey(deployment=facts, storage=storage)), self.ports)

    @property
    def policy(self) -> str:
        return str(self.cluster.objects["PersistentVolume", "pv-disk"]["spec"]["persistentVolumeReclaimPolicy"])

    @property
    def snapshot(self) -> Manifest | None:
        return self.cluster.objects.get(("VolumeSnapshot", NAMES.snapshot))

    def controller(self, **status: object) -> None:
        """What the snapshot controller does."""
        found = self.snapshot
        assert found is not None
        found["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00+00:00"
        found["status"] = status

    def taken(self) -> Plan:
        """A snapshot that is ready."""
        plan = self.plan()
        protect_source.apply(plan, self.ports)
        self.controller(readyToUse=True, boundVolumeSnapshotContentName="content-1", restoreSize="10Gi")
        return plan


@pytest.fixture
def world() -> World:
    return World()


def test_the_disk_is_retained_before_the_snapshot_is_asked_for(world: World) -> None:
    world.add_class("c")
    done = protect_source.apply(world.plan(), world.ports)
    assert (world.policy, done.finished) == ("Retain", False)
    assert [line.split(" {")[0] for line in world.cluster.log] == [
        "patch PersistentVolume pv-disk",
        f"apply VolumeSnapshot {NAMES.snapshot}",
    ]
    assert world.snapshot is not None
    assert world.snapshot["spec"] == {
        "volumeSnapshotClassName": "c",
        "source": {"persistentVolumeClaimName": TARGET.disk_claim},
    }


def test_it_is_named_in_plan_and_report(world: World) -> None:
    world.add_class("c")
    plan = world.taken()
    assert [(one.action, one.kind, one.name) for one in plan.changes] == [
        ("change", "PersistentVolume", "pv-disk"),
        ("create", "VolumeSnapshot", NAMES.snapshot),
    ]
    done = protect_source.apply(plan, world.ports)
    assert done.finished
    assert done.result["snapshot"]["name"] == NAMES.snapshot
    assert (done.result["snapshot"]["content"], done.result["snapshot"]["size"]) == ("content-1", "10Gi")


def test_a_rerun_takes_no_second_snapshot(world: World) -> None:
    world.add_class("c")
    plan = world.taken()
    for _ in range(3):
        protect_source.apply(plan, world.ports)
    assert sum(line.startswith("apply VolumeSnapshot") for line in world.cluster.log) == 1


def test_the_drivers_default_class_is_chosen_else_the_first_by_name(world: World) -> None:
    world.add_class("z")
    world.add_class("b")
    world.add_class("a", driver="file.csi.azure.com")
    assert world.plan().snapshot_class == "b"
    default = {"snapshot.storage.kubernetes.io/is-default-class": "true"}
    world.cluster.objects["VolumeSnapshotClass", "z"]["metadata"]["annotations"] = default
    assert world.plan().snapshot_class == "z"


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("class", f"there is no VolumeSnapshotClass for {DRIVER}"),
        ("group", "serves no snapshot.storage.k8s.io"),
        ("right", "may not get volumesnapshots, list volumesnapshots"),
        ("driver", "no CSI driver"),
        ("wish", "options.volume_snapshot is false"),
    ],
)
def test_where_none_can_be_taken_plan_and_report_say_why(world: World, lacking: str, words: str) -> None:
    if lacking != "class":
        world.add_class("c")
    if lacking == "group":
        world.cluster.groups.clear()
    if lacking == "right":
        world.cluster.forbidden.add("volumesnapshots")
    if lacking == "driver":
        del world.cluster.objects["PersistentVolume", "pv-disk"]["spec"]["csi"]
    plan = world.plan(**({"volume_snapshot": False} if lacking == "wish" else {}))
    [note] = plan.problems
    assert (note.code, note.severity) == ("no_snapshot", Severity.NOTE)
    assert words in note.message
    done = protect_source.apply(plan, world.ports)
    assert (done.finished, world.policy, world.snapshot) == (True, "Retain", None)
    assert words in done.result["no_snapshot"]


def test_a_snapshot_that_is_never_ready_ends_the_run(world: World) -> None:
    world.add_class("c")
    plan = world.plan()
    protect_source.apply(plan, world.ports)
    world.controller(readyToUse=False)
    world.clock.time += READY_DEADLINE
    assert not protect_source.apply(plan, world.ports).finished
    world.clock.pass_by(seconds=1)
    with pytest.raises(PermanentError, match="was not ready to use after 0:20:01"):
        protect_source.apply(plan, world.ports)
    assert protect_source.undo(plan, world.ports).finished  # what is not ready is worth nothing
    assert (world.snapshot, world.policy) == (None, "Delete")


def test_an_error_that_stands_ends_it_sooner_and_is_told(world: World) -> None:
    world.add_class("c")
    plan = world.plan()
    protect_source.apply(plan, world.ports)
    world.controller(readyToUse=False, error={"message": "quota exceeded"})
    assert "quota exceeded" in protect_source.apply(plan, world.ports).step
    world.clock.time += ERROR_DEADLINE
    world.clock.pass_by(seconds=1)
    with pytest.raises(PermanentError, match="quota exceeded") as caught:
        protect_source.apply(plan, world.ports)
    assert "options.volume_snapshot=false" in caught.value.hint


def test_undo_gives_the_snapshot_up_once_the_old_side_serves(world: World) -> None:
    world.add_class("c")
    plan = world.taken()
    assert protect_source.undo(plan, world.ports).result == {}
    assert (world.snapshot, world.policy) == (None, "Delete")
    assert protect_source.undo(plan, world.ports).finished


@pytest.mark.parametrize("broken", ["not ready", "other volume", "deployment gone", "still on the share"])
def test_undo_keeps_the_snapshot_while_the_old_side_is_not_back(world: World, broken: str) -> None:
    world.add_class("c")
    plan = world.taken()
    live = world.cluster.objects["Deployment", "open-webui"]
    if broken == "not ready":
        live["status"] = settled(0)
    elif broken == "other volume":
        world.cluster.put("PersistentVolumeClaim", TARGET.disk_claim, spec={"volumeName": "pv-other"})
    elif broken == "deployment gone":
        world.cluster.delete("Deployment", "open-webui")
    else:
        live["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = TARGET.files_claim
    done = protect_source.undo(plan, world.ports)
    assert done.finished
    assert world.snapshot is not None
    assert done.result["snapshot_kept"] == NAMES.snapshot
    assert done.result["because"] in done.step


def test_undo_says_when_the_class_keeps_what_was_taken(world: World) -> None:
    world.add_class("c", deletionPolicy="Retain")
    plan = world.taken()
    assert "deletionPolicy Retain" in protect_source.undo(plan, world.ports).result["snapshot_content_kept"]


def test_without_a_snapshot_undo_only_gives_the_policy_back(world: World) -> None:
    plan = replace(world.plan(), snapshot_class="")
    protect_source.apply(plan, world.ports)
    assert protect_source.undo(plan, world.ports).finished
    assert world.policy == "Delete"
