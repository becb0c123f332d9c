"""The old disk goes only when it was asked for, nothing uses it, and its volume was made to go."""

import pytest

from phases import retire_source
from shared.errors import ConfigurationError, NeedsOperator, UnsupportedDeployment
from shared.kubernetes import manifests
from shared.model.migration import Brief, MigrationRequest, Mode, Options
from shared.model.ports import Manifest
from shared.model.survey import Survey
from tests.way_back.fix_cluster import RUN, TARGET, FakeClock, FakeCluster, deployment, ports_of

BY_US = [{"manager": "scaleout", "fieldsV1": {"f:spec": {"f:persistentVolumeReclaimPolicy": {}}}}]


def cluster_with(policy: str, managed: list[Manifest] | None = None) -> FakeCluster:
    """A migrated installation with its old disk."""
    cluster = FakeCluster()
    live = cluster.objects["Deployment", "open-webui"] = deployment()
    live["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = TARGET.files_claim
    cluster.put("PersistentVolumeClaim", TARGET.disk_claim, spec={"volumeName": "pv-disk"})
    volume = cluster.put(
        "PersistentVolume",
        "pv-disk",
        spec={"persistentVolumeReclaimPolicy": policy, "csi": {"volumeHandle": "/subscriptions/s/disks/d"}},
    )
    volume["metadata"]["managedFields"] = managed or []
    return cluster


def brief(*, wanted: bool = True, mode: Mode = Mode.MIGRATE) -> Brief:
    phases = ("retire_source",) if mode is Mode.PHASES else ()
    return Brief(RUN, MigrationRequest(TARGET, mode, Options(retire_source=wanted), phases), Survey())


def retire(cluster: FakeCluster) -> dict[str, object]:
    ports = ports_of(cluster, FakeClock())
    plan = retire_source.plan(brief(), ports)
    for _ in range(4):
        done = retire_source.apply(plan, ports)
        if done.finished:
            return done.result
    raise AssertionError(done.step)


def test_it_is_left_out_unless_it_is_asked_for() -> None:
    ports = ports_of(cluster_with("Delete"), FakeClock())
    plan = retire_source.plan(brief(wanted=False), ports)
    assert (plan.left_out, plan.awaits, plan.changes) == (True, "", ())
    assert retire_source.apply(plan, ports).result == {"skipped": True}


@pytest.mark.parametrize("mode", [Mode.MIGRATE, Mode.PHASES])
def test_it_waits_for_an_approval_that_names_the_disk(mode: Mode) -> None:
    plan = retire_source.plan(brief(mode=mode), ports_of(cluster_with("Retain", BY_US), FakeClock()))
    assert (plan.awaits, plan.approval_names, plan.left_out) == ("approval", "pv-disk", False)
    assert "pv-disk" in plan.problems[0].message


def test_a_disk_that_only_we_retained_goes_with_its_claim() -> None:
    cluster = cluster_with("Retain", BY_US)
    assert retire(cluster)["disk_deleted"]
    assert ("PersistentVolumeClaim", TARGET.disk_claim) not in cluster.objects
    assert ("PersistentVolume", "pv-disk") not in cluster.objects


def test_a_disk_that_the_user_retained_is_left_to_him() -> None:
    cluster = cluster_with("Retain")
    result = retire(cluster)
    assert (result["disk_deleted"], result["disk"]) == (False, "/subscriptions/s/disks/d")
    assert ("PersistentVolume", "pv-disk") in cluster.objects


def test_what_stands_against_it_is_listed_and_nothing_is_deleted() -> None:
    cluster = cluster_with("Delete")
    live = cluster.objects["Deployment", "open-webui"]
    live["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = TARGET.disk_claim
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": TARGET.disk_claim}}]
    cluster.put("Pod", "report-1", spec={"volumes": volumes}, status={"phase": "Running"})
    with pytest.raises(ConfigurationError, match=r"does not use .*; .* still mounted by open-webui, report-1$"):
        retire(cluster)
    assert not any(line.startswith("delete") for line in cluster.log)


def holder(cluster: FakeCluster, name: str, labels: dict[str, str]) -> None:
    """A pod that has ended."""
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": TARGET.disk_claim}}]
    pod = cluster.put("Pod", name, spec={"volumes": volumes, "nodeName": "a"}, status={"phase": "Succeeded"})
    pod["metadata"]["labels"] = labels


def test_jobs_of_ours_let_go_of_the_claim_first() -> None:
    cluster = cluster_with("Delete")
    cluster.put("Job", f"{RUN}-copy")
    holder(cluster, "copy-abc", manifests.labels(RUN) | {"job-name": f"{RUN}-copy"})
    assert retire(cluster)["disk_deleted"]
    deleted = [line for line in cluster.log if line.startswith("delete")]
    assert deleted == [f"delete Job {RUN}-copy", f"delete PersistentVolumeClaim {TARGET.disk_claim}"]


def test_an_ended_pod_of_the_users_is_named_with_the_command_that_deletes_it() -> None:
    cluster = cluster_with("Delete")
    holder(cluster, "open-webui-evicted", {"app": "open-webui"})
    with pytest.raises(ConfigurationError, match="held by pods that have ended: open-webui-evicted") as refused:
        retire(cluster)
    assert refused.value.hint == "kubectl delete pod -n ollama open-webui-evicted; then ask again."
    assert not any(line.startswith("delete") for line in cluster.log)


def test_a_claim_that_was_bound_anew_is_not_the_approved_disk() -> None:
    cluster = cluster_with("Delete")
    ports = ports_of(cluster, FakeClock())
    plan = retire_source.plan(brief(), ports)
    cluster.put("PersistentVolumeClaim", TARGET.disk_claim, spec={"volumeName": "pv-other"})
    with pytest.raises(ConfigurationError, match="bound to another volume than the approved pv-disk"):
        retire_source.apply(plan, ports)


def test_without_a_disk_there_is_nothing_to_retire() -> None:
    cluster = cluster_with("Delete")
    cluster.delete("PersistentVolumeClaim", TARGET.disk_claim)
    with pytest.raises(UnsupportedDeployment, match="no disk to retire"):
        retire_source.plan(brief(), ports_of(cluster, FakeClock()))


def test_snapshots_of_the_disk_are_kept_and_named() -> None:
    cluster = cluster_with("Delete")
    cluster.groups.add("snapshot.storage.k8s.io")
    for name, claim, ours in (("a", TARGET.disk_claim, True), ("b", "other", True), ("c", TARGET.disk_claim, False)):
        found = cluster.put("VolumeSnapshot", name, spec={"source": {"persistentVolumeClaimName": claim}})
        found["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "scaleout"} if ours else {}
    plan = retire_source.plan(brief(), ports_of(cluster, FakeClock()))
    assert [one.name for one in plan.changes if one.action == "keep"] == ["a"]
    assert retire(cluster)["snapshots_kept"] == ["a"]
    assert {name for kind, name in cluster.objects if kind == "VolumeSnapshot"} == {"a", "b", "c"}


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_a_way_back_is_there_while_the_disk_is(policy: str) -> None:
    cluster = cluster_with(policy, BY_US)
    ports = ports_of(cluster, FakeClock())
    assert retire_source.undo(retire_source.plan(brief(), ports), ports).finished
    assert cluster.objects["PersistentVolume", "pv-disk"]["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


@pytest.mark.parametrize("state", ["gone", "going", "bound anew"])
def test_there_is_none_once_the_disk_is_given_up(state: str) -> None:
    cluster = cluster_with("Delete")
    ports = ports_of(cluster, FakeClock())
    plan = retire_source.plan(brief(), ports)
    if state == "gone":
        cluster.delete("PersistentVolumeClaim", TARGET.disk_claim)
    elif state == "going":
        cluster.objects["PersistentVolumeClaim", TARGET.disk_claim]["metadata"]["deletionTimestamp"] = "now"
    else:
        cluster.put("PersistentVolumeClaim", TARGET.disk_claim, spec={"volumeName": "pv-other"})
    with pytest.raises(NeedsOperator, match="pv-disk was given up"):
        retire_source.undo(plan, ports)
