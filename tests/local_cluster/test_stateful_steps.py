"""The pure parts of StatefulSets: what is done next, how it stands, whose a claim is, what a revision is called."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from local.kubernetes.controllers.workloads.revisions import hash_of, snapshot, template_in
from local.kubernetes.controllers.workloads.stateful_claims import claim_owners, claims_of
from local.kubernetes.controllers.workloads.stateful_pods import ordinal_of, pod_of
from local.kubernetes.controllers.workloads.stateful_status import status_now
from local.kubernetes.controllers.workloads.stateful_steps import (
    Create,
    Delete,
    ProvideClaims,
    Replica,
    Step,
    Wish,
    next_steps,
)

OLD, NEW = "web-old", "web-new"


def pods(text: str) -> list[Replica]:
    """Read pods from words such as `0 1! 2~x`, which stand in any order.

    Nothing after the number: healthy. `.` pending, `!` running and not ready, `~` ready and not yet available, `x`
    terminating, `f` failed, `o` of the old revision.
    """
    found = []
    for word in text.split():
        number = word.rstrip(".!~xfo")
        marks = word.removeprefix(number)
        phase = "Pending" if "." in marks else "Failed" if "f" in marks else "Running"
        ready = not set(marks) & set(".!f")
        available, revision = ready and "~" not in marks, OLD if "o" in marks else NEW
        found.append(Replica(int(number), revision, phase, ready, available, "x" in marks))
    return found


def wish(replicas: int, **more: Any) -> Wish:
    return Wish(**{"replicas": replicas, "current": OLD, "update": NEW, **more})


def words(steps: list[Step]) -> str:
    told = []
    for step in steps:
        match step:
            case Create(ordinal, revision):
                told.append(f"+{ordinal}{'o' if revision == OLD else ''}")
            case Delete(ordinal):
                told.append(f"-{ordinal}")
            case ProvideClaims(ordinal):
                told.append(f"claims {ordinal}")
    return ", ".join(told)


# In each table: how many are wanted, what is there, what is done.
ORDERED = [
    (3, "", "+0"),
    (3, "0.", "claims 0"),
    (3, "0!", ""),
    (3, "0~", ""),
    (3, "0", "+1"),
    (3, "0 1 2", ""),
    (3, "0 2", "+1"),
    (3, "0! 2", ""),  # a missing pod behind one that is not ready waits
    (3, "0x 1 2", ""),  # and so does everything behind one that is ending
    (3, "0 1f 2", "-1"),  # an ended pod makes room, and the next look makes a new one
    (3, "0 1fx 2", ""),
    (2, "0 1 2 3", "-3"),
    (2, "0 1 2 3x", ""),  # one after the other
    (2, "0! 1 2 3", ""),  # shrinking waits for the ones that stay
    (2, "0 1 2 3!", "-3"),
    (2, "0 1 2! 3", "-3"),
    (2, "0 1 2! 3!", ""),  # two that are not healthy wait for each other, and for ever
    (0, "0f 1f", ""),
    (0, "0! 1 2", "-2"),
    (0, "0!", "-0"),
    (0, "0x", ""),
]
UPDATES = [
    (3, "0o 1o 2o", "-2"),
    (3, "0o 1o 2ox", ""),
    (3, "0o 1o", "+2"),
    (3, "0o 1o 2.", "claims 2"),
    (3, "0o 1o 2!", ""),  # a broken update is stuck
    (3, "0o 1o 2~", ""),
    (3, "0o 1o 2", "-1"),
    (3, "0o 1 2", "-0"),
    (3, "0o! 1o 2o", ""),  # a broken pod also holds up the update that would mend it
    (3, "0o 1o 2o 3o", "-3"),  # scaling goes before updating
]
PARALLEL = [
    (3, "", "+0, +1, +2"),
    (3, "0! 2.", "+1, claims 2"),
    (3, "0 1f 2", "-1"),
    (1, "0! 1 2x 3!", "-3, -1"),
    (3, "0o 1o 2o", "-2"),
    (3, "0o 1o 2o!", "-2"),  # a broken pod is mended by the next update
    (3, "0o 1o 2!", ""),
    (3, "0o! 1o 2", "-1"),
    (3, "0o 1of 2", "-1"),
]
LEFT_OUT = [
    (3, "0o 1o 2o", 3, ""),
    (3, "0o 1o 2o", 2, "-2"),
    (3, "0o 1o 2", 2, ""),
    (3, "0o 2", 2, "+1o"),
    (3, "0o 1o", 2, "+2"),
    (3, "0 1 2", 3, ""),  # what is new below the partition stays new
    (3, "", 5, "+0o"),
]


@pytest.mark.parametrize(("wanted", "there", "done"), [*ORDERED, *UPDATES])
def test_one_after_the_other(wanted: int, there: str, done: str) -> None:
    assert words(next_steps(wish(wanted), pods(there))) == done


@pytest.mark.parametrize(("wanted", "there", "done"), PARALLEL)
def test_all_at_once(wanted: int, there: str, done: str) -> None:
    assert words(next_steps(wish(wanted, is_ordered=False), pods(there))) == done


@pytest.mark.parametrize(("wanted", "there", "partition", "done"), LEFT_OUT)
def test_a_partition_leaves_the_lowest_numbers_as_they_are(wanted: int, there: str, partition: int, done: str) -> None:
    assert words(next_steps(wish(wanted, partition=partition), pods(there))) == done


def test_on_delete_nothing_is_replaced_but_new_pods_are_new() -> None:
    waiting = wish(3, replaces=False)
    assert words(next_steps(waiting, pods("0o 1o 2o"))) == ""
    assert words(next_steps(waiting, pods("0o 2o"))) == "+1"


def test_without_a_rolling_update_the_current_pods_come_back_as_they_were() -> None:
    unsaid = wish(3, partition=None, current_replicas=2)
    assert words(next_steps(unsaid, pods("0o 2"))) == "+1o"
    assert words(next_steps(unsaid, pods("0o 1o"))) == "+2"


def test_numbers_may_begin_later() -> None:
    later = wish(2, start=3, partition=1)
    assert words(next_steps(later, pods(""))) == "+3o"
    assert words(next_steps(later, pods("0o 3o"))) == "+4"
    assert words(next_steps(later, pods("0o 3o 4"))) == "-0"
    assert words(next_steps(later, pods("3o 4o"))) == "-4"


def deleted(steps: list[Step]) -> set[int]:
    return {step.ordinal for step in steps if isinstance(step, Delete)}


replicas = st.builds(
    Replica,
    ordinal=st.integers(0, 5),
    revision=st.sampled_from([OLD, NEW]),
    phase=st.sampled_from(["Pending", "Running", "Failed"]),
    terminating=st.booleans(),
)
worlds = st.lists(replicas, unique_by=lambda pod: pod.ordinal)


def settled(pod: Replica) -> Replica:
    """A pod as it is when its kubelet has had its time."""
    phase = "Failed" if pod.phase == "Failed" else "Running"
    return Replica(pod.ordinal, pod.revision, phase, phase == "Running", phase == "Running")


@given(worlds, st.integers(0, 5), st.booleans())
def test_where_pods_get_ready_it_gets_where_it_should(world: list[Replica], wanted: int, is_ordered: bool) -> None:
    ended = [pod for pod in world if pod.is_finished and pod.ordinal >= wanted]
    assume(len(ended) < 2)  # which would hold up each other for ever: see TestOrder in the contract
    wished = wish(wanted, is_ordered=is_ordered)
    for _ in range(40):
        steps = next_steps(wished, world)
        if is_ordered:
            assert len(steps) <= 1
        gone = {pod.ordinal for pod in world if pod.terminating} | deleted(steps)
        made = [Replica(step.ordinal, step.revision, "Pending") for step in steps if isinstance(step, Create)]
        world = [settled(pod) for pod in [*world, *made] if pod.ordinal not in gone]
    assert {pod.ordinal: pod.revision for pod in world} == dict.fromkeys(range(wanted), NEW)
    assert next_steps(wished, world) == []


@given(worlds, st.integers(0, 5), st.booleans())
def test_no_healthy_pod_that_is_wanted_as_it_is_is_ever_deleted(
    world: list[Replica], wanted: int, is_ordered: bool
) -> None:
    steps = next_steps(wish(wanted, is_ordered=is_ordered), world)
    kept = {pod.ordinal for pod in world if pod.ordinal < wanted and pod.revision == NEW and not pod.is_finished}
    assert not deleted(steps) & kept


class TestStatus:
    def status(self, wished: Wish, there: str) -> dict[str, Any]:
        return status_now(wished, pods(there), generation=2, collisions=0)

    def test_counts_the_pods_that_are_there(self) -> None:
        """Source: `statefulset-ready` in the recordings, where the only pod is on its way out."""
        assert self.status(wish(1), "0ox") == {
            "availableReplicas": 1,
            "collisionCount": 0,
            "currentRevision": OLD,
            "observedGeneration": 2,
            "readyReplicas": 1,
            "replicas": 1,
            "updateRevision": NEW,
        }

    @pytest.mark.parametrize(
        ("there", "counts"),
        [
            ("", (0, 0, 0, 0, 0)),
            ("0o 1o. 2", (3, 2, 2, 2, 1)),
            ("0o 1~ 2x", (3, 3, 2, 1, 1)),
            ("0o 1 2 3", (4, 4, 4, 1, 3)),
        ],
    )
    def test_counts_by_state_and_revision(self, there: str, counts: tuple[int, ...]) -> None:
        found = self.status(wish(3), there)
        names = ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas")
        assert tuple(found.get(name, 0) for name in names) == counts

    @pytest.mark.parametrize(
        ("wished", "there", "current"),
        [
            (wish(2), "0 1", NEW),
            (wish(2), "0 1~", NEW),  # ready is enough
            (wish(2), "0 1!", OLD),
            (wish(2), "0 1 2x", OLD),
            (wish(2), "0 1 2!o", OLD),
            (wish(2), "0o 1", OLD),
            (wish(0), "", NEW),
            (wish(2, replaces=False), "0 1", OLD),
        ],
    )
    def test_the_new_revision_is_the_current_one_when_all_pods_are(
        self, wished: Wish, there: str, current: str
    ) -> None:
        found = self.status(wished, there)
        assert found["currentRevision"] == current
        assert found.get("currentReplicas", 0) == len([p for p in pods(there) if p.revision == current])


def stateful_set(**spec: Any) -> dict[str, Any]:
    policy = {"whenDeleted": "Retain", "whenScaled": "Retain", **spec.pop("policy", {})}
    selector = {"matchLabels": {"app": "w"}}
    fixed = {"persistentVolumeClaimRetentionPolicy": policy, "serviceName": "", "selector": selector}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "ns", "uid": "set"},
        "spec": {**fixed, **spec},
    }


class TestPods:
    @pytest.mark.parametrize(
        ("name", "ordinal"), [("web-0", 0), ("web-12", 12), ("web", None), ("web-a", None), ("my-web-0", None)]
    )
    def test_are_known_by_their_names(self, name: str, ordinal: int | None) -> None:
        assert ordinal_of(stateful_set(), {"metadata": {"name": name}}) == ordinal

    def test_claims_take_the_place_of_volumes(self) -> None:
        volumes = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
        template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [], "volumes": volumes}}
        revision = {"metadata": {"name": OLD}, "data": snapshot(template)}
        made = pod_of(stateful_set(volumeClaimTemplates=[{"metadata": {"name": "data"}}]), revision, 3)
        claimed = {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-3"}}
        assert made["spec"]["volumes"] == [claimed, volumes[1]]
        assert made["metadata"]["labels"]["controller-revision-hash"] == OLD
        assert "subdomain" not in made["spec"]

    def test_claims_have_the_labels_of_the_template_and_the_selector(self) -> None:
        template = {"metadata": {"name": "data", "labels": {"app": "other", "tier": "x"}}, "spec": {"volumeName": "v"}}
        claim = claims_of(stateful_set(volumeClaimTemplates=[template]), 0)[0]
        assert claim["metadata"] == {"name": "data-web-0", "labels": {"app": "w", "tier": "x"}}
        assert template["metadata"]["labels"]["app"] == "other"


SET = {"kind": "StatefulSet", "name": "web", "uid": "set"}
POD = {"kind": "Pod", "name": "web-0", "uid": "pod"}
STRANGER = {"kind": "Backup", "name": "b", "uid": "b"}


class TestClaimOwners:
    def owners(self, policy: dict[str, str], before: list[dict[str, Any]], *, is_condemned: bool) -> list[Any]:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "uid": "pod"}}
        claim = {"metadata": {"name": "data-web-0", "ownerReferences": before}}
        after = claim_owners(stateful_set(policy=policy), pod, claim, is_condemned=is_condemned)
        return [owner["uid"] for owner in after]

    @pytest.mark.parametrize(
        ("deleted", "scaled", "staying", "condemned"),
        [
            ("Retain", "Retain", [], []),
            ("Delete", "Retain", ["set"], ["set"]),
            ("Retain", "Delete", [], ["pod"]),
            ("Delete", "Delete", ["set"], ["pod"]),
        ],
    )
    @pytest.mark.parametrize("before", [[], [SET], [POD], [SET, POD]])
    def test_follow_the_policy(
        self, deleted: str, scaled: str, staying: list[str], condemned: list[str], before: list[dict[str, Any]]
    ) -> None:
        policy = {"whenDeleted": deleted, "whenScaled": scaled}
        assert self.owners(policy, before, is_condemned=False) == staying
        assert self.owners(policy, before, is_condemned=True) == condemned

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([STRANGER], ["b", "set"]),
            ([{**STRANGER, "controller": True}], ["b"]),
            ([{**STRANGER, "controller": True}, SET], ["b"]),
            ([{**SET, "uid": "earlier"}], ["earlier"]),
            ([{**POD, "uid": "earlier"}], ["earlier"]),
        ],
    )
    def test_of_others_are_respected(self, before: list[dict[str, Any]], after: list[str]) -> None:
        assert self.owners({"whenDeleted": "Delete"}, before, is_condemned=False) == after


class TestRevisions:
    def test_a_revision_gives_its_template_back(self) -> None:
        template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "a"}]}}
        data = snapshot(template)
        assert data["spec"]["template"]["$patch"] == "replace"
        assert template_in({"data": data}) == template

    def test_a_collision_changes_the_name(self) -> None:
        assert hash_of({"a": 1}, 0) != hash_of({"a": 1}, 1)
