"""Contract: claims and volumes bind, stay, are released and bound again, as the way back of a migration needs it."""

import time
from typing import Any

import pytest
from fix_contract import IS_OURS, Cluster, claim, container, deployment, eventually, job, refused, some_name
from kubernetes import client

FILES, DISK = ("azurefile-csi-premium", "managed-csi")


@pytest.fixture
def name() -> str:
    return some_name()


@pytest.fixture(autouse=True)
def _storage_classes_of_aks(running: Cluster) -> None:
    found = {each.metadata.name for each in running.storage.list_storage_class().items}
    if not {FILES, DISK} <= found:
        pytest.skip("not an AKS cluster")


def claimed(cluster: Cluster, name: str) -> client.V1PersistentVolumeClaim:
    return cluster.core.read_namespaced_persistent_volume_claim(name, cluster.namespace)


def bound(cluster: Cluster, name: str) -> client.V1PersistentVolume:
    eventually(lambda: claimed(cluster, name).status.phase == "Bound", f"claim {name} is bound")
    return cluster.core.read_persistent_volume(claimed(cluster, name).spec.volume_name)


def create(cluster: Cluster, body: dict[str, Any]) -> None:
    cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, body)


def delete(cluster: Cluster, name: str) -> None:
    cluster.core.delete_namespaced_persistent_volume_claim(name, cluster.namespace)


def delete_job(cluster: Cluster, name: str) -> None:
    cluster.batch.delete_namespaced_job(name, cluster.namespace, propagation_policy="Background")


def gone(cluster: Cluster, name: str) -> bool:
    selector = f"metadata.name={name}"
    return not cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace, field_selector=selector).items


def phase(cluster: Cluster, volume: str) -> str | None:
    found = cluster.core.list_persistent_volume(field_selector=f"metadata.name={volume}").items
    return found[0].status.phase if found else None


def with_volume(body: dict[str, Any], claim_name: str) -> dict[str, Any]:
    spec = body["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/data"}]
    return body


def run(cluster: Cluster, body: dict[str, Any]) -> None:
    cluster.batch.create_namespaced_job(cluster.namespace, body)
    name = body["metadata"]["name"]
    eventually(lambda: has_succeeded(cluster, name), f"job {name} succeeds")


def has_succeeded(cluster: Cluster, name: str) -> bool:
    return cluster.batch.read_namespaced_job(name, cluster.namespace).status.succeeded == 1


def test_a_claim_of_an_immediate_class_gets_a_volume_at_once(running: Cluster, name: str) -> None:
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    volume = bound(running, name)
    assert (volume.spec.claim_ref.name, volume.spec.claim_ref.namespace) == (name, running.namespace)
    assert volume.status.phase == "Bound"
    assert claimed(running, name).status.capacity == {"storage": volume.spec.capacity["storage"]}
    delete(running, name)
    eventually(lambda: phase(running, volume.metadata.name) is None, "the volume goes with its claim: policy Delete")


def test_a_claim_without_a_class_gets_the_default_one(running: Cluster, name: str) -> None:
    body = claim(name)
    del body["spec"]["storageClassName"]
    create(running, body)
    defaults = [
        each.metadata.name
        for each in running.storage.list_storage_class().items
        if (each.metadata.annotations or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    ]
    assert claimed(running, name).spec.storage_class_name in defaults


def test_a_claim_whose_volume_is_gone_is_lost(running: Cluster, name: str) -> None:
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    volume = bound(running, name).metadata.name
    running.core.delete_persistent_volume(volume)
    running.core.patch_persistent_volume(volume, {"metadata": {"finalizers": None}})
    eventually(lambda: claimed(running, name).status.phase == "Lost", "the claim is lost")
    delete(running, name)


def test_a_disk_waits_for_its_first_consumer(running: Cluster, name: str) -> None:
    create(running, claim(name, DISK))
    assert claimed(running, name).status.phase == "Pending"
    run(running, with_volume(job(name, "echo kept > /data/file"), name))
    bound(running, name)
    assert "volume.kubernetes.io/selected-node" in claimed(running, name).metadata.annotations


def test_an_attached_disk_is_detached_after_its_last_pod(running: Cluster, name: str) -> None:
    create(running, claim(name, DISK))
    body = with_volume(deployment(name, 1), name)
    running.apps.create_namespaced_deployment(running.namespace, body)
    volume = bound(running, name).metadata.name

    def attached() -> list[bool]:
        found = running.storage.list_volume_attachment().items
        return [a.status.attached for a in found if a.spec.source.persistent_volume_name == volume]

    eventually(lambda: attached() == [True], "the disk is attached")
    running.apps.patch_namespaced_deployment_scale(name, running.namespace, {"spec": {"replicas": 0}})
    eventually(lambda: attached() == [], "the disk is detached")


def test_a_claim_in_use_stays_until_its_pod_is_gone(running: Cluster, name: str) -> None:
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    bound(running, name)
    running.apps.create_namespaced_deployment(running.namespace, with_volume(deployment(name, 1), name))
    eventually(
        lambda: running.apps.read_namespaced_deployment(name, running.namespace).status.ready_replicas, "the pod runs"
    )
    delete(running, name)
    assert claimed(running, name).metadata.deletion_timestamp
    assert claimed(running, name).status.phase == "Bound"
    running.apps.delete_namespaced_deployment(name, running.namespace)
    eventually(lambda: gone(running, name), "the claim is gone")


def test_a_pod_that_has_ended_holds_its_claim_as_long_as_it_is_there(running: Cluster, name: str) -> None:
    """So do the pods of finished Jobs, and evicted ones, for days."""
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    holder = some_name()
    run(running, with_volume(job(holder), name))
    delete(running, name)
    time.sleep(2 if IS_OURS else 10)
    assert claimed(running, name).metadata.finalizers == ["kubernetes.io/pvc-protection"]
    delete_job(running, holder)
    eventually(lambda: gone(running, name), "the claim is gone")


def test_a_pod_whose_claim_is_missing_waits_for_it(running: Cluster, name: str) -> None:
    running.batch.create_namespaced_job(running.namespace, with_volume(job(name), name))

    def reasons() -> list[str]:
        found = running.core.list_namespaced_pod(running.namespace, label_selector=f"job-name={name}").items
        return [c.message for pod in found for c in pod.status.conditions or [] if c.type == "PodScheduled"]

    message = eventually(reasons, "the scheduler has spoken")[0]
    assert f'persistentvolumeclaim "{name}" not found' in message
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    eventually(lambda: has_succeeded(running, name), "the job goes on")


def test_a_retained_volume_is_released_and_can_be_bound_again_with_its_data(running: Cluster, name: str) -> None:
    """The way back from Azure Files to the disk, step by step."""
    create(running, claim(name, DISK))
    first = some_name()
    run(running, with_volume(job(first, "echo kept > /data/file"), name))
    volume = bound(running, name).metadata.name
    running.core.patch_persistent_volume(volume, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    delete_job(running, first)
    delete(running, name)
    eventually(lambda: phase(running, volume) == "Released", "the volume is released")

    create(running, claim(name, DISK, volumeName=volume))
    assert phase(running, volume) == "Released", "a released volume is nobody's, not even a namesake's"
    running.core.patch_persistent_volume(volume, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})
    assert bound(running, name).metadata.name == volume
    check = some_name()
    run(running, with_volume(job(check, "cat /data/file"), name))
    pod = running.core.list_namespaced_pod(running.namespace, label_selector=f"job-name={check}").items[0]
    assert running.core.read_namespaced_pod_log(pod.metadata.name, running.namespace) == "kept\n"

    delete_job(running, check)
    delete(running, name)
    eventually(lambda: phase(running, volume) == "Released", "it is released again")
    running.core.delete_persistent_volume(volume)


def test_a_bound_volume_cannot_be_deleted_from_under_its_claim(running: Cluster, name: str) -> None:
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    volume = bound(running, name).metadata.name
    running.core.delete_persistent_volume(volume)
    assert phase(running, volume) == "Bound"
    assert running.core.read_persistent_volume(volume).metadata.deletion_timestamp
    delete(running, name)
    eventually(lambda: phase(running, volume) is None, "it goes once it is released")


def test_a_second_node_gets_the_disk_only_after_the_first_has_let_go(running: Cluster, name: str) -> None:
    """The Multi-Attach trap, with a node that has no kubelet: its pod must not get an attachment."""
    if not IS_OURS:
        pytest.skip("makes a node up")
    create(running, claim(name, DISK))
    running.apps.create_namespaced_deployment(running.namespace, with_volume(deployment(name, 1), name))
    volume = bound(running, name).metadata.name

    def nodes() -> list[str]:
        found = running.storage.list_volume_attachment().items
        return [a.spec.node_name for a in found if a.spec.source.persistent_volume_name == volume]

    first = eventually(nodes, "the disk is attached")
    pod = {"metadata": {"name": name}, "spec": {"nodeName": "made-up", "containers": [container()]}}
    pod["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]
    running.core.create_namespaced_pod(running.namespace, pod)
    assert nodes() == first
    running.apps.delete_namespaced_deployment(name, running.namespace)
    eventually(lambda: nodes() == ["made-up"], "the disk moves")
    running.core.delete_namespaced_pod(name, running.namespace, grace_period_seconds=0)


def test_a_claim_cannot_be_bound_to_another_s_volume(running: Cluster, name: str) -> None:
    create(running, claim(name, FILES, ("ReadWriteMany",)))
    volume = bound(running, name).metadata.name
    other = some_name()
    create(running, claim(other, FILES, ("ReadWriteMany",), volumeName=volume))
    with refused(422, "Invalid"):
        patch = {"spec": {"volumeName": "another"}}
        running.core.patch_namespaced_persistent_volume_claim(other, running.namespace, patch)
    assert claimed(running, other).status.phase == "Pending"
    delete(running, name)
    delete(running, other)
