"""Contract: what belongs to a StatefulSet, and what becomes of it: revisions, claims, and the pods of a deleted set."""

from typing import Any

import pytest
from fix_contract import STRATEGIC, Cluster, container, eventually, some_name, with_image
from fix_stateful_sets import (
    APPS,
    create,
    patch,
    pods,
    read,
    roll_out,
    scale,
    stateful_set,
    stays,
    uids,
    wait_for_names,
)
from kubernetes import client

PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.fixture
def name() -> str:
    return some_name()


class TestRevisions:
    """Of a set without pods, whose revisions are the same."""

    def revisions(self, cluster: Cluster, name: str) -> dict[str, dict[str, Any]]:
        where = cluster.path("controllerrevisions", group=APPS)
        items = cluster.request("GET", where, labelSelector=f"app={name}")["items"]
        return {found["metadata"]["name"]: found for found in items}

    def revision_now(self, cluster: Cluster, name: str) -> str:
        def seen() -> str | None:
            found = read(cluster, name)
            is_seen = (found.status.observed_generation or 0) >= found.metadata.generation
            return found.status.update_revision if is_seen else None

        return str(eventually(seen, "the controller has seen the template"))

    def test_have_the_recorded_names(self, cluster: Cluster) -> None:
        """Source: `statefulset-create`, `statefulset-patch-volume` and `statefulset-ready` in the recordings."""
        template = {
            "metadata": {"labels": {"app": "s1"}},
            "spec": {
                "containers": [{"image": "busybox:1.36", "name": "web"}],
                "volumes": [{"emptyDir": {}, "name": "data"}],
            },
        }
        spec = {"replicas": 0, "selector": {"matchLabels": {"app": "s1"}}, "serviceName": "s1", "template": template}
        create(cluster, {"metadata": {"name": "s1"}, "spec": spec})
        assert self.revision_now(cluster, "s1") == "s1-84d85db6c5"
        in_memory = {"volumes": [{"emptyDir": {"medium": "Memory"}, "name": "data"}]}
        patch(cluster, "s1", {"spec": {"template": {"spec": in_memory}}})
        assert self.revision_now(cluster, "s1") == "s1-fc7658557"

    def test_are_named_after_every_character(self, cluster: Cluster) -> None:
        """The name was given by Kubernetes 1.36.2."""
        main = container("echo '<a> & \"b\" \\ \t ü €'")
        create(cluster, stateful_set("fixed", 0, main))
        assert self.revision_now(cluster, "fixed") == "fixed-f668cf59d"

    def test_hold_the_template_and_belong_to_the_set(self, cluster: Cluster, name: str) -> None:
        create(cluster, {**stateful_set(name, 0), "metadata": {"name": name, "annotations": {"a": "b"}}})
        revision = self.revision_now(cluster, name)
        found = self.revisions(cluster, name)[revision]
        assert found["metadata"]["labels"] == {
            "app": name,
            "controller.kubernetes.io/hash": revision.removeprefix(f"{name}-"),
        }
        assert found["metadata"]["annotations"] == {"a": "b"}
        assert found["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
        stored = cluster.request("GET", cluster.path("statefulsets", name, group=APPS))["spec"]["template"]
        assert found["data"] == {"spec": {"template": {**stored, "$patch": "replace"}}}

    def test_an_old_template_takes_up_its_revision_again(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 0))
        first = self.revision_now(cluster, name)
        patch(cluster, name, with_image())
        second = self.revision_now(cluster, name)
        patch(cluster, name, with_image("busybox:1.36"))
        assert self.revision_now(cluster, name) == first
        eventually(
            lambda: {n: r["revision"] for n, r in self.revisions(cluster, name).items()} == {first: 3, second: 2},
            "it is the youngest again",
        )

    def test_applied_as_a_patch_they_put_their_template_back(self, cluster: Cluster, name: str) -> None:
        """As `kubectl rollout undo` does."""
        create(cluster, stateful_set(name, 0))
        first, where = self.revision_now(cluster, name), cluster.path("statefulsets", name, group=APPS)
        before = cluster.request("GET", where)["spec"]["template"]
        more = {"nodeSelector": {"a": "b"}, "containers": [{"name": "main", "env": [{"name": "A", "value": "b"}]}]}
        patch(cluster, name, {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": more}}})
        assert self.revision_now(cluster, name) != first
        data = self.revisions(cluster, name)[first]["data"]
        assert cluster.request("PATCH", where, data, STRATEGIC)["spec"]["template"] == before
        assert self.revision_now(cluster, name) == first

    def test_a_change_of_anything_else_makes_none(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 0))
        first = self.revision_now(cluster, name)
        patch(cluster, name, {"metadata": {"labels": {"a": "b"}}, "spec": {"minReadySeconds": 1}})
        assert self.revision_now(cluster, name) == first
        assert self.revisions(cluster, name).keys() == {first}

    def test_beyond_the_limit_are_forgotten(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 0, revisionHistoryLimit=1))
        names = [self.revision_now(cluster, name)]
        for number in range(3):
            patch(cluster, name, with_image(f"busybox:{number}"))
            names.append(self.revision_now(cluster, name))
        eventually(lambda: self.revisions(cluster, name).keys() == set(names[-2:]), "one old one is left")


class TestClaims:
    def templates(self, **policy: str) -> dict[str, Any]:
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        template = {"metadata": {"name": "data", "labels": {"tier": "x"}}, "spec": spec}
        more = {"persistentVolumeClaimRetentionPolicy": policy} if policy else {}
        return {"volumeClaimTemplates": [template], **PARALLEL, **more}

    def claims(self, cluster: Cluster, name: str) -> dict[str, client.V1PersistentVolumeClaim]:
        listed = cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace, label_selector=f"app={name}")
        return {found.metadata.name: found for found in listed.items}

    def owners(self, cluster: Cluster, name: str) -> dict[str, list[str]]:
        return {
            claim: [owner.kind for owner in found.metadata.owner_references or []]
            for claim, found in self.claims(cluster, name).items()
        }

    def test_are_made_for_each_number_and_mounted(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 2, **self.templates()))
        pod = wait_for_names(cluster, name, 0, 1)[f"{name}-1"]
        volume = next(found for found in pod.spec.volumes if found.name == "data")
        assert volume.persistent_volume_claim.claim_name == f"data-{name}-1"
        claims = self.claims(cluster, name)
        assert claims.keys() == {f"data-{name}-0", f"data-{name}-1"}
        assert claims[f"data-{name}-0"].metadata.labels == {"app": name, "tier": "x"}
        assert claims[f"data-{name}-0"].spec.access_modes == ["ReadWriteOnce"]

    def test_outlive_their_pods_and_the_set(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 2, **self.templates()))
        wait_for_names(cluster, name, 0, 1)
        before = {claim: found.metadata.uid for claim, found in self.claims(cluster, name).items()}
        scale(cluster, name, 1)
        wait_for_names(cluster, name, 0)
        scale(cluster, name, 2)
        wait_for_names(cluster, name, 0, 1)
        cluster.apps.delete_namespaced_stateful_set(name, cluster.namespace)
        wait_for_names(cluster, name)
        assert {claim: found.metadata.uid for claim, found in self.claims(cluster, name).items()} == before

    def test_go_with_the_set_where_it_says_so(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 1, **self.templates(whenDeleted="Delete")))
        eventually(lambda: self.owners(cluster, name) == {f"data-{name}-0": ["StatefulSet"]}, "it belongs to the set")
        cluster.apps.delete_namespaced_stateful_set(name, cluster.namespace)
        eventually(lambda: not self.claims(cluster, name), "they are gone")

    def test_go_with_the_number_where_it_says_so(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 2, **self.templates(whenScaled="Delete")))
        wait_for_names(cluster, name, 0, 1)
        assert self.owners(cluster, name) == {f"data-{name}-0": [], f"data-{name}-1": []}
        scale(cluster, name, 1)
        eventually(lambda: self.claims(cluster, name).keys() == {f"data-{name}-0"}, "one is gone")


class TestDeletion:
    def test_stops_the_pods(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2))
        running.apps.delete_namespaced_stateful_set(name, running.namespace)
        wait_for_names(running, name)

    def test_in_the_foreground_waits_for_the_pods(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 1))
        running.apps.delete_namespaced_stateful_set(name, running.namespace, propagation_policy="Foreground")
        found = read(running, name)
        assert (found.metadata.finalizers, found.metadata.generation) == (["foregroundDeletion"], 2)
        where = {"field_selector": f"metadata.name={name}"}
        listed = running.apps.list_namespaced_stateful_set
        eventually(lambda: not listed(running.namespace, **where).items, "it is gone")
        assert pods(running, name) == {}

    def test_can_leave_the_pods_for_a_new_set_to_adopt(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2))
        before = uids(running, name)
        running.apps.delete_namespaced_stateful_set(name, running.namespace, propagation_policy="Orphan")
        eventually(
            lambda: not any(pod.metadata.owner_references for pod in pods(running, name).values()), "they are orphans"
        )
        assert stays(lambda: uids(running, name))
        roll_out(running, stateful_set(name, 2))
        assert uids(running, name) == before
        owners = {pod.metadata.owner_references[0].uid for pod in pods(running, name).values()}
        assert owners == {read(running, name).metadata.uid}
