"""Contract: what a deletion leaves, waits for and takes along."""

import pytest
from fix_contract import Cluster, config_map, deployment, eventually, job, refused, some_name


@pytest.fixture
def name() -> str:
    return some_name()


def test_a_finalizer_holds_the_object_until_it_is_taken_off(cluster: Cluster, name: str) -> None:
    body = config_map(name)
    body["metadata"]["finalizers"] = ["example.io/held"]
    cluster.core.create_namespaced_config_map(cluster.namespace, body)
    cluster.core.delete_namespaced_config_map(name, cluster.namespace)
    assert cluster.core.read_namespaced_config_map(name, cluster.namespace).metadata.deletion_timestamp
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"metadata": {"finalizers": None}})
    with refused(404):
        cluster.core.read_namespaced_config_map(name, cluster.namespace)


def test_a_name_is_not_free_before_its_object_is_gone(cluster: Cluster, name: str) -> None:
    body = config_map(name)
    body["metadata"]["finalizers"] = ["example.io/held"]
    cluster.core.create_namespaced_config_map(cluster.namespace, body)
    cluster.core.delete_namespaced_config_map(name, cluster.namespace)
    with refused(409, "AlreadyExists") as status:
        cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
    assert status["message"].startswith("object is being deleted: ")
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"metadata": {"finalizers": None}})


def test_a_precondition_that_does_not_hold_keeps_the_object(cluster: Cluster, name: str) -> None:
    cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
    with refused(409, "Conflict"):
        body = {"preconditions": {"uid": "nope"}}
        cluster.core.delete_namespaced_config_map(name, cluster.namespace, body=body)
    cluster.core.read_namespaced_config_map(name, cluster.namespace)


def test_what_is_missing_is_a_404(cluster: Cluster) -> None:
    with refused(404, "NotFound"):
        cluster.apps.delete_namespaced_deployment("nope", cluster.namespace)


def test_success_is_a_status_that_names_the_object(cluster: Cluster, name: str) -> None:
    created = cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
    answer = cluster.request("DELETE", cluster.path("configmaps", name))
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"]["uid"] == created.metadata.uid


def test_a_dry_run_deletes_nothing(cluster: Cluster, name: str) -> None:
    cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
    cluster.core.delete_namespaced_config_map(name, cluster.namespace, dry_run="All")
    cluster.core.read_namespaced_config_map(name, cluster.namespace)


def test_a_collection_is_deleted_through_its_selector(cluster: Cluster, name: str) -> None:
    group = some_name()
    for _ in range(2):
        body = config_map(some_name(), labels={"group": group})
        cluster.core.create_namespaced_config_map(cluster.namespace, body)
    cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
    cluster.core.delete_collection_namespaced_config_map(cluster.namespace, label_selector=f"group={group}")
    left = cluster.core.list_namespaced_config_map(cluster.namespace)
    assert name in [item.metadata.name for item in left.items]
    assert not [item for item in left.items if (item.metadata.labels or {}).get("group") == group]


class TestOfADeployment:
    @pytest.fixture
    def deployed(self, cluster: Cluster, name: str) -> str:
        cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name))
        eventually(lambda: self.pods(cluster, name), "its pod is there")
        return name

    def pods(self, cluster: Cluster, name: str) -> list[object]:
        return cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"app={name}").items

    def sets(self, cluster: Cluster, name: str) -> list[object]:
        return cluster.apps.list_namespaced_replica_set(cluster.namespace, label_selector=f"app={name}").items

    @pytest.mark.parametrize("propagation", ["Background", "Foreground"])
    def test_takes_its_replica_sets_and_pods_along(self, cluster: Cluster, deployed: str, propagation: str) -> None:
        cluster.apps.delete_namespaced_deployment(deployed, cluster.namespace, propagation_policy=propagation)
        eventually(lambda: not self.sets(cluster, deployed) and not self.pods(cluster, deployed), "all are gone")
        with refused(404):
            cluster.apps.read_namespaced_deployment(deployed, cluster.namespace)

    def test_in_the_foreground_waits_for_them(self, cluster: Cluster, deployed: str) -> None:
        pod = self.pods(cluster, deployed)[0]
        held = {"metadata": {"finalizers": ["example.io/held"]}}
        cluster.core.patch_namespaced_pod(pod.metadata.name, cluster.namespace, held)
        path = cluster.path("deployments", deployed, "apps/v1")
        answer = cluster.request("DELETE", path, {"propagationPolicy": "Foreground"})
        assert "foregroundDeletion" in answer["metadata"]["finalizers"]
        eventually(lambda: self.sets(cluster, deployed)[0].metadata.deletion_timestamp, "the deletion spreads")
        assert cluster.apps.read_namespaced_deployment(deployed, cluster.namespace).metadata.deletion_timestamp
        cluster.core.patch_namespaced_pod(pod.metadata.name, cluster.namespace, {"metadata": {"finalizers": None}})
        eventually(lambda: not self.sets(cluster, deployed), "all are gone")

    def test_as_an_orphanage_keeps_them_without_an_owner(self, cluster: Cluster, deployed: str) -> None:
        cluster.apps.delete_namespaced_deployment(deployed, cluster.namespace, propagation_policy="Orphan")
        eventually(lambda: not self.sets(cluster, deployed)[0].metadata.owner_references, "the set is released")
        assert self.pods(cluster, deployed)


def test_a_job_s_pods_survive_it_unless_a_policy_is_given(cluster: Cluster, name: str) -> None:
    """A trap of batch/v1: without propagationPolicy the pods stay and keep their claims in use."""
    cluster.batch.create_namespaced_job(cluster.namespace, job(name, "sleep 60"))

    def pods() -> list[object]:
        return cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"job-name={name}").items

    eventually(pods, "its pod is there")
    cluster.batch.delete_namespaced_job(name, cluster.namespace)
    eventually(lambda: not pods()[0].metadata.owner_references, "the pod is released")
    cluster.core.delete_namespaced_pod(pods()[0].metadata.name, cluster.namespace, grace_period_seconds=0)


def test_a_namespace_is_emptied_and_takes_nothing_new(cluster: Cluster, name: str) -> None:
    cluster.core.create_namespace({"metadata": {"name": name}})
    body = config_map("held")
    body["metadata"]["finalizers"] = ["example.io/held"]
    cluster.core.create_namespaced_config_map(name, body)
    cluster.core.delete_namespace(name)
    assert cluster.core.read_namespace(name).status.phase == "Terminating"
    with refused(403, "Forbidden") as status:
        cluster.core.create_namespaced_config_map(name, config_map("late"))
    assert "because it is being terminated" in status["message"]

    def try_to_release() -> bool:
        held = cluster.core.list_namespaced_config_map(name, field_selector="metadata.name=held").items
        if held and held[0].metadata.deletion_timestamp:
            cluster.core.patch_namespaced_config_map("held", name, {"metadata": {"finalizers": None}})
        return bool(held and held[0].metadata.deletion_timestamp)

    eventually(try_to_release, "the deletion spreads")
    by_name = {"field_selector": f"metadata.name={name}"}
    eventually(lambda: not cluster.core.list_namespace(**by_name).items, "the namespace is gone")
