"""Claims that were deleted: refused by the plan, and no undo waits for what only a person can end."""

import pytest

from phases import provision_storage
from phases.reading import problems as findings
from shared.kubernetes import manifests
from shared.model.migration import MigrationRequest, Mode, Options
from shared.model.survey import Severity, StorageFacts, Survey
from tests.way_back.fix_cluster import RUN, TARGET, FakeClock, FakeCluster, ports_of

PLAN = provision_storage.Plan(
    run=RUN,
    deployment=TARGET.deployment,
    files_claim=TARGET.files_claim,
    storage_class="azurefile-csi-premium",
    share_size="1Gi",
    creates_claim=True,
    creates_redis=False,
    creates_session_secret=False,
    redis_image="redis",
    force=False,
)


class Held(FakeCluster):
    """A claim stays as long as a pod names it."""

    def delete(self, kind: str, name: str) -> None:
        if kind == "PersistentVolumeClaim" and any(its == "Pod" for its, _ in self.objects):
            self.objects[kind, name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return
        super().delete(kind, name)


def cluster_with_pod(labels: dict[str, str]) -> FakeCluster:
    cluster = Held()
    cluster.put("PersistentVolume", "pv-files", spec={"persistentVolumeReclaimPolicy": "Delete"})
    cluster.put("PersistentVolumeClaim", TARGET.files_claim, spec={"volumeName": "pv-files"})
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": TARGET.files_claim}}]
    pod = cluster.put("Pod", "ended", spec={"volumes": volumes, "nodeName": "a"}, status={"phase": "Failed"})
    pod["metadata"]["labels"] = labels
    return cluster


def test_an_evicted_pod_does_not_keep_the_undo_waiting_and_is_named() -> None:
    done = provision_storage.undo(PLAN, ports_of(cluster_with_pod({"app": "open-webui"}), FakeClock()))
    assert done.finished
    assert done.result == {"claim_held_by": ["ended"], "hint": "kubectl delete pod -n ollama ended"}


def test_the_pods_of_our_jobs_are_waited_for_because_they_go_with_them() -> None:
    cluster = cluster_with_pod(manifests.labels(RUN) | {"job-name": "j"})
    ports = ports_of(cluster, FakeClock())
    assert not provision_storage.undo(PLAN, ports).finished
    del cluster.objects["Pod", "ended"]
    assert provision_storage.undo(PLAN, ports) == provision_storage.Progress(finished=True, step="storage as before")


@pytest.mark.parametrize("claim", [TARGET.disk_claim, TARGET.files_claim])
def test_a_claim_that_somebody_deleted_blocks_the_plan(claim: str) -> None:
    storage = StorageFacts("pv", "Delete", "10Gi", "managed-csi", target_class_exists=True, going=(claim,))
    request = MigrationRequest(TARGET, Mode.MIGRATE, Options())
    problems = findings.plan_problems(Survey(storage=storage), request)
    found = [one for one in problems if one.code == "claim_going"]
    assert [one.severity for one in found] == [Severity.BLOCKING]
    assert claim in found[0].message
