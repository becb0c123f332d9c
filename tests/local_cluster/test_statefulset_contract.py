"""Contract: StatefulSets start, grow, shrink, roll and end their pods in order, with pods that really run."""

from datetime import UTC, datetime

import pytest
from fix_contract import MERGE, OTHER_IMAGE, STRATEGIC, Cluster, container, eventually, some_name, with_image
from fix_stateful_sets import (
    APPS,
    condition,
    create,
    is_ready,
    moment,
    never_ready,
    patch,
    pods,
    read,
    ready_after,
    revision_of,
    roll_out,
    scale,
    stateful_set,
    stays,
    story,
    uids,
    wait_for_names,
    wait_for_rollout,
)

PARALLEL = {"podManagementPolicy": "Parallel"}
BROKEN = with_image("example.com/no-such-image:missing")


@pytest.fixture
def name() -> str:
    return some_name()


def images(cluster: Cluster, name: str) -> dict[str, str]:
    """Return each pod's image, by its number."""
    return {pod.rpartition("-")[2]: found.spec.containers[0].image for pod, found in pods(cluster, name).items()}


class TestIdentity:
    def test_of_a_pod_is_its_number(self, running: Cluster, name: str) -> None:
        main = container("echo I am $HOSTNAME; while true; do sleep 0.2; done")
        roll_out(running, stateful_set(name, 2, main, serviceName="web"))
        pod = pods(running, name)[f"{name}-1"]
        labels = {key: value for key, value in pod.metadata.labels.items() if not key.startswith("topology.")}
        assert labels == {
            "app": name,
            "apps.kubernetes.io/pod-index": "1",
            "statefulset.kubernetes.io/pod-name": f"{name}-1",
            "controller-revision-hash": read(running, name).status.update_revision,
        }
        assert (pod.spec.hostname, pod.spec.subdomain) == (f"{name}-1", "web")
        assert pod.metadata.generate_name == f"{name}-"
        owner = pod.metadata.owner_references[0]
        assert (owner.kind, owner.name, owner.controller) == ("StatefulSet", name, True)
        log = running.core.read_namespaced_pod_log
        eventually(lambda: log(f"{name}-1", running.namespace) == f"I am {name}-1\n", "it knows its name")

    def test_without_a_service_has_no_subdomain(self, running: Cluster, name: str) -> None:
        create(running, stateful_set(name))
        assert wait_for_names(running, name, 0)[f"{name}-0"].spec.subdomain is None

    def test_comes_back_after_a_deletion(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2))
        before, since = uids(running, name), moment(running)
        running.core.delete_namespaced_pod(f"{name}-0", running.namespace)
        eventually(
            lambda: uids(running, name).get(f"{name}-0", before[f"{name}-0"]) != before[f"{name}-0"], "it is new"
        )
        wait_for_rollout(running, name)
        assert uids(running, name)[f"{name}-1"] == before[f"{name}-1"]
        told = [what for what, pod in story(running, name, since) if pod == f"{name}-0"]
        assert told == ["ending", "gone", "made", "ready"], "never two of one name"

    def test_comes_back_after_an_eviction(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name))
        before = uids(running, name)
        failed = {"status": {"phase": "Failed", "reason": "Evicted"}}
        running.core.patch_namespaced_pod_status(f"{name}-0", running.namespace, failed)
        eventually(lambda: (after := uids(running, name)) and after != before, "the ended pod is replaced")
        wait_for_rollout(running, name)

    def test_numbers_begin_where_the_spec_says(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2, ordinals={"start": 3}))
        wait_for_names(running, name, 3, 4)

    def test_a_pod_with_other_labels_is_let_go_and_keeps_its_name(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name))
        relabelled = {"metadata": {"labels": {"app": "other"}}}
        pod = running.core.patch_namespaced_pod(f"{name}-0", running.namespace, relabelled)
        where = (f"{name}-0", running.namespace)
        eventually(lambda: not running.core.read_namespaced_pod(*where).metadata.owner_references, "it is let go")
        eventually(lambda: read(running, name).status.replicas == 0, "it no longer counts")
        assert running.core.read_namespaced_pod(*where).metadata.uid == pod.metadata.uid
        running.core.delete_namespaced_pod(*where)
        wait_for_rollout(running, name)


class TestOrder:
    def test_each_pod_waits_until_the_one_before_it_is_ready(self, running: Cluster, name: str) -> None:
        since = moment(running)
        roll_out(running, stateful_set(name, 3, ready_after(1)))
        assert story(running, name, since) == [(what, f"{name}-{n}") for n in range(3) for what in ("made", "ready")]

    def test_a_pod_that_never_gets_ready_holds_up_the_next(self, running: Cluster, name: str) -> None:
        create(running, stateful_set(name, 2, never_ready()))
        wait_for_names(running, name, 0)
        eventually(lambda: pods(running, name)[f"{name}-0"].status.phase == "Running", "it runs")
        assert stays(lambda: uids(running, name).keys(), 3)
        scale(running, name, 0)
        wait_for_names(running, name)

    def test_a_pod_counts_as_available_after_a_while(self, running: Cluster, name: str) -> None:
        since = moment(running)
        create(running, stateful_set(name, 2, minReadySeconds=2))
        eventually(lambda: read(running, name).status.ready_replicas == 1, "the first is ready")
        assert not read(running, name).status.available_replicas
        wait_for_rollout(running, name)
        eventually(lambda: read(running, name).status.available_replicas == 2, "both are available")
        first, second = (pods(running, name)[f"{name}-{n}"] for n in (0, 1))
        waited = second.metadata.creation_timestamp - condition(first, "Ready").last_transition_time
        assert waited.total_seconds() >= 2
        assert story(running, name, since)[0] == ("made", f"{name}-0")

    def test_it_shrinks_from_the_highest_number_and_grows_again(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 3))
        before, since = uids(running, name), moment(running)
        scale(running, name, 1)
        wait_for_names(running, name, 0)
        assert story(running, name, since) == [(what, f"{name}-{n}") for n in (2, 1) for what in ("ending", "gone")]
        scale(running, name, 0)
        wait_for_names(running, name)
        eventually(lambda: read(running, name).status.replicas == 0, "it says so")
        scale(running, name, 3)
        wait_for_rollout(running, name)
        assert not set(before.values()) & set(uids(running, name).values())

    def test_two_pods_that_are_not_ready_are_never_scaled_away(self, running: Cluster, name: str) -> None:
        """The highest goes only if none below it is unavailable: whoever scales to zero has to delete it."""
        roll_out(running, stateful_set(name, 2))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        unready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
        for pod in pods(running, name):
            running.core.patch_namespaced_pod_status(pod, running.namespace, {"status": {"conditions": [unready]}})
        eventually(lambda: not read(running, name).status.ready_replicas, "none is ready")
        scale(running, name, 0)
        eventually(lambda: read(running, name).status.observed_generation == 2, "it has been seen")
        assert stays(lambda: uids(running, name), 3)
        running.core.delete_namespaced_pod(f"{name}-1", running.namespace)
        wait_for_names(running, name)

    def test_parallel_pods_do_not_wait_for_each_other(self, running: Cluster, name: str) -> None:
        create(running, stateful_set(name, 3, never_ready(), **PARALLEL))
        wait_for_names(running, name, 0, 1, 2)
        eventually(lambda: all(p.status.phase == "Running" for p in pods(running, name).values()), "all run")
        scale(running, name, 1)
        wait_for_names(running, name, 0)


class TestUpdate:
    def test_goes_from_the_highest_number_to_the_lowest(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 3))
        first, since = read(running, name).status.update_revision, moment(running)
        patch(running, name, with_image())
        wait_for_rollout(running, name)
        one_by_one = [(what, f"{name}-{n}") for n in (2, 1, 0) for what in ("ending", "gone", "made", "ready")]
        assert story(running, name, since) == one_by_one
        status = read(running, name).status
        assert status.update_revision == status.current_revision != first
        assert (status.current_replicas, status.updated_replicas, status.available_replicas) == (3, 3, 3)
        assert {revision_of(pod) for pod in pods(running, name).values()} == {status.update_revision}

    def test_of_parallel_pods_goes_one_by_one_too(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2, **PARALLEL))
        since = moment(running)
        patch(running, name, with_image())
        wait_for_rollout(running, name)
        one_by_one = [(what, f"{name}-{n}") for n in (1, 0) for what in ("ending", "gone", "made", "ready")]
        assert story(running, name, since) == one_by_one

    def test_leaves_out_the_numbers_below_the_partition(self, running: Cluster, name: str) -> None:
        body = stateful_set(name, 3, updateStrategy={"rollingUpdate": {"partition": 2}})
        roll_out(running, body)
        first = read(running, name).status.current_revision
        patch(running, name, with_image())
        eventually(lambda: read(running, name).status.updated_replicas == 1, "the last is updated")
        eventually(lambda: read(running, name).status.ready_replicas == 3, "it is ready")
        status = read(running, name).status
        assert (status.current_revision, status.current_replicas) == (first, 2)
        running.core.delete_namespaced_pod(f"{name}-1", running.namespace)
        eventually(
            lambda: (pod := pods(running, name).get(f"{name}-1")) and is_ready(pod) and revision_of(pod) == first,
            "a pod below the partition comes back as it was",
        )
        patch(running, name, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        wait_for_rollout(running, name)
        assert set(images(running, name).values()) == {OTHER_IMAGE}

    def test_on_delete_waits_for_someone_to_delete_the_pods(self, running: Cluster, name: str) -> None:
        roll_out_on_delete(running, name)
        first = read(running, name).status.current_revision
        patch(running, name, with_image())
        eventually(lambda: read(running, name).status.update_revision != first, "it has the new template")
        before = uids(running, name)
        assert stays(lambda: uids(running, name))
        running.core.delete_namespaced_pod(f"{name}-0", running.namespace)
        eventually(lambda: read(running, name).status.updated_replicas == 1, "the new pod is of the new template")
        assert uids(running, name)[f"{name}-1"] == before[f"{name}-1"]
        running.core.delete_namespaced_pod(f"{name}-1", running.namespace)
        eventually(lambda: read(running, name).status.updated_replicas == 2, "both are")
        assert read(running, name).status.current_revision == first, "it never becomes the current one"

    def test_that_is_broken_is_stuck_until_the_pod_is_deleted(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2))
        first, image = read(running, name).status.update_revision, images(running, name)["0"]
        patch(running, name, BROKEN)
        eventually(lambda: images(running, name).get("1", image) != image, "the last pod is of the broken template")
        patch(running, name, with_image(image))
        eventually(lambda: read(running, name).status.update_revision == first, "the template is the old one again")
        assert stays(lambda: images(running, name), 3), "the broken pod holds up its own repair"
        running.core.delete_namespaced_pod(f"{name}-1", running.namespace)
        wait_for_rollout(running, name)
        assert images(running, name) == {"0": image, "1": image}

    def test_that_is_broken_can_be_scaled_away(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2))
        before = images(running, name)
        patch(running, name, BROKEN)
        eventually(lambda: images(running, name).get("1", before["1"]) != before["1"], "it is broken")
        scale(running, name, 0)
        wait_for_names(running, name)
        patch(running, name, with_image())
        scale(running, name, 2)
        wait_for_rollout(running, name)

    def test_that_is_broken_is_mended_by_itself_in_parallel(self, running: Cluster, name: str) -> None:
        roll_out(running, stateful_set(name, 2, **PARALLEL))
        image = images(running, name)["0"]
        patch(running, name, BROKEN)
        eventually(lambda: images(running, name).get("1", image) != image, "it is broken")
        patch(running, name, with_image(image))
        wait_for_rollout(running, name)
        assert images(running, name) == {"0": image, "1": image}


def roll_out_on_delete(running: Cluster, name: str) -> None:
    create(running, stateful_set(name, 2, updateStrategy={"type": "OnDelete"}))
    eventually(lambda: read(running, name).status.ready_replicas == 2, "both are ready")


def test_a_budget_counts_its_pods(running: Cluster, name: str) -> None:
    budget = {"metadata": {"name": name}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}}}
    running.policy.create_namespaced_pod_disruption_budget(running.namespace, budget)
    roll_out(running, stateful_set(name, 2))

    def found() -> tuple[int, int, int]:
        status = running.policy.read_namespaced_pod_disruption_budget(name, running.namespace).status
        return status.expected_pods, status.desired_healthy, status.disruptions_allowed

    eventually(lambda: found() == (2, 1, 1), "it expects two")
    running.request("PATCH", running.path("statefulsets", name, group=APPS), {"spec": {"replicas": 3}}, MERGE)
    eventually(lambda: found() == (3, 2, 1), "it expects three")


def test_the_status_is_the_recorded_one(running: Cluster, name: str) -> None:
    """Source: `statefulset-three` in the recordings."""
    roll_out(running, stateful_set(name, 3))
    where = running.path("statefulsets", name, group=APPS)
    status = running.request("GET", where)["status"]
    revision = status["updateRevision"]
    assert status == {
        "availableReplicas": 3,
        "collisionCount": 0,
        "currentReplicas": 3,
        "currentRevision": revision,
        "observedGeneration": 1,
        "readyReplicas": 3,
        "replicas": 3,
        "updateRevision": revision,
        "updatedReplicas": 3,
    }
    changed = running.request("PATCH", where, with_image(), STRATEGIC, dryRun="All")
    assert changed["metadata"]["generation"] == 2
    assert read(running, name).metadata.generation == 1
