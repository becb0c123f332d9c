"""Snapshots of disks: taken, restored from and deleted, through the ordinary client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config
from kubernetes.client.exceptions import ApiException

from shared.adapters.discovery import dynamic_client
from tests.local_kubelet.fix_node import NAMESPACE, Node, cluster, node

API = "snapshot.storage.k8s.io/v1"


class Snapshots:
    def __init__(self, running: Node) -> None:
        self.node = running
        self._client = dynamic_client(config.new_client_from_config(str(running.kubeconfig)))

    def kind(self, kind: str) -> Any:
        return self._client.resources.get(api_version=API, kind=kind)

    def add_class(self, name: str, policy: str = "Delete", driver: str = "disk.csi.azure.com") -> None:
        body = {"apiVersion": API, "kind": "VolumeSnapshotClass", "metadata": {"name": name}}
        self.kind("VolumeSnapshotClass").create(body=body | {"driver": driver, "deletionPolicy": policy})

    def take(self, name: str, claim: str, snapshot_class: str) -> None:
        spec = {"volumeSnapshotClassName": snapshot_class, "source": {"persistentVolumeClaimName": claim}}
        body = {"apiVersion": API, "kind": "VolumeSnapshot", "metadata": {"name": name}, "spec": spec}
        self.kind("VolumeSnapshot").server_side_apply(
            body=body, name=name, namespace=NAMESPACE, field_manager="somebody"
        )

    def status(self, name: str) -> dict[str, Any]:
        found = self.kind("VolumeSnapshot").get(name=name, namespace=NAMESPACE).to_dict()
        return dict(found.get("status") or {})

    def ready(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.node.wait_for(lambda: (s := self.status(name)).get("readyToUse") and s)
        return found

    def delete(self, name: str) -> None:
        self.kind("VolumeSnapshot").delete(name=name, namespace=NAMESPACE)
        self.node.wait_for(lambda: not self.names("VolumeSnapshot", name))

    def names(self, kind: str, like: str) -> list[str]:
        return [one.metadata.name for one in self.kind(kind).get().items if like in one.metadata.name]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshots]:
    directory = tmp_path_factory.mktemp("kubelet")
    with cluster(directory) as kubeconfig, node(directory, kubeconfig) as (running, _):
        running.core.create_namespace({"metadata": {"name": NAMESPACE}})
        made = Snapshots(running)
        made.add_class("deletes")
        made.add_class("retains", "Retain")
        yield made


def run_on(here: Snapshots, pod: str, claim: str, script: str) -> str:
    """Run a pod with this claim at /disk to its end; return its log."""
    volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": claim}}]
    mounts = [{"name": "disk", "mountPath": "/disk"}]
    here.node.run(pod, script, volumeMounts=mounts, pod={"volumes": volumes})
    here.node.wait_for_phase(pod, "Succeeded")
    return here.node.log(pod)


def test_no_class_is_there_unless_it_is_asked_for(here: Snapshots) -> None:
    assert sorted(here.names("VolumeSnapshotClass", "")) == ["deletes", "retains"]


def test_a_snapshot_gives_back_what_was_on_the_disk_then(here: Snapshots) -> None:
    here.node.claim("source", "managed-csi", "ReadWriteOnce")
    run_on(here, "writes", "source", "echo before > /disk/a; mkdir /disk/d; ln -s ../a /disk/d/link; echo x > /disk/b")
    here.take("then", "source", "deletes")
    status = here.ready("then")
    assert status["restoreSize"] == "1Gi"
    assert "error" not in status
    run_on(here, "changes", "source", "echo after > /disk/a; rm /disk/b")
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "managed-csi",
        "resources": {"requests": {"storage": "1Gi"}},
        "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "then"},
    }
    body = {"metadata": {"name": "restored"}, "spec": spec}
    here.node.core.create_namespaced_persistent_volume_claim(NAMESPACE, body)
    assert run_on(here, "reads", "restored", "cat /disk/d/link /disk/b") == "before\nx\n"
    assert run_on(here, "reads-source", "source", "cat /disk/a") == "after\n"


def test_a_snapshot_outlives_its_disk_and_goes_with_its_object(here: Snapshots) -> None:
    here.node.claim("short", "managed-csi", "ReadWriteOnce")
    run_on(here, "fills", "short", "echo kept > /disk/a")
    here.take("survivor", "short", "deletes")
    content = here.ready("survivor")["boundVolumeSnapshotContentName"]
    here.node.core.delete_namespaced_pod("fills", NAMESPACE)
    here.node.core.delete_namespaced_persistent_volume_claim("short", NAMESPACE)
    [folder] = _folders(here, content)
    assert (folder / "a").read_text() == "kept\n"
    here.delete("survivor")
    assert here.names("VolumeSnapshotContent", content) == []
    assert _folders(here, content) == []


def test_under_retain_the_content_stays(here: Snapshots) -> None:
    here.node.claim("kept", "managed-csi", "ReadWriteOnce")
    run_on(here, "fills-kept", "kept", "echo kept > /disk/a")
    here.take("retained", "kept", "retains")
    content = here.ready("retained")["boundVolumeSnapshotContentName"]
    here.delete("retained")
    assert here.names("VolumeSnapshotContent", content) == [content]
    assert len(_folders(here, content)) == 1


@pytest.mark.parametrize(
    ("claim", "snapshot_class", "words"),
    [("nowhere", "deletes", "is not bound"), ("source", "unknown", '"unknown" not found'), ("source", "files", "not")],
)
def test_what_cannot_be_taken_says_why(here: Snapshots, claim: str, snapshot_class: str, words: str) -> None:
    if snapshot_class == "files":
        here.add_class("files", driver="file.csi.azure.com")
    name = f"wrong-{claim}-{snapshot_class}"
    here.take(name, claim, snapshot_class)
    error = here.node.wait_for(lambda: here.status(name).get("error"))
    assert words in error["message"]
    here.delete(name)


def test_an_error_that_is_put_right_is_forgotten(here: Snapshots) -> None:
    here.take("late", "source", "late")
    here.node.wait_for(lambda: here.status("late").get("error"))
    here.add_class("late")
    assert not here.ready("late").get("error")


def test_the_kinds_take_no_strategic_merge_patch_and_no_spec_without_a_source(here: Snapshots) -> None:
    with pytest.raises(ApiException) as caught:
        here.kind("VolumeSnapshotClass").patch(
            body={"metadata": {"labels": {"a": "b"}}},
            name="deletes",
            content_type="application/strategic-merge-patch+json",
        )
    assert caught.value.status == 415
    body = {"apiVersion": API, "kind": "VolumeSnapshot", "metadata": {"name": "none"}, "spec": {}}
    with pytest.raises(ApiException) as refused:
        here.kind("VolumeSnapshot").create(body=body, namespace=NAMESPACE)
    assert refused.value.status == 422


def _folders(here: Snapshots, content: str) -> list[Path]:
    handle = content.replace("snapcontent-", "snapshot-")
    return [path for path in (here.node.directory / "snapshots").iterdir() if path.name == handle]
