"""The other pure parts: selectors, quantities, paths, placement, completion, autoscaling, volumes, access."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from local.kubernetes.api_server.access import Action, DenyRule, Tokens, User, Users, grants_of
from local.kubernetes.api_server.kubelet_proxy import choose_container
from local.kubernetes.api_server.request import Target, parse_path
from local.kubernetes.controllers import autoscaling
from local.kubernetes.controllers.autoscaling import Bounds, Change, Measurement, Recommendation
from local.kubernetes.controllers.scheduling.placement import Place, best_place, explain, obstacle
from local.kubernetes.controllers.volumes.volume_matching import best_volume
from local.kubernetes.controllers.workloads import completion
from local.kubernetes.controllers.workloads.completion import Tally
from local.kubernetes.controllers.workloads.deployment import template_hash
from local.kubernetes.controllers.workloads.job_accounting import TRACKING, account
from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import DEPLOYMENTS, NAMESPACES, PODS, SERVED, discovery_document
from local.kubernetes.model.quantities import parse_quantity, to_millis
from local.kubernetes.model.schema import Shape, schema_of
from local.kubernetes.model.status_errors import ApiError, PageNotFound
from local.kubernetes.registry.decoding import decode

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class TestSelectors:
    @pytest.mark.parametrize(
        ("text", "labels", "matches"),
        [
            ("", {}, True),
            ("a=1,b=2", {"a": "1", "b": "2"}, True),
            ("a=1,b=2", {"a": "1"}, False),
            ("a!=1", {}, True),
            ("a notin (1, 2)", {"a": "3"}, True),
            ("a in (1,2),!b", {"a": "2"}, True),
            ("app.kubernetes.io/name=x", {"app.kubernetes.io/name": "x"}, True),
            ("a=", {"a": ""}, True),
        ],
    )
    def test_in_words(self, text: str, labels: dict[str, str], matches: bool) -> None:
        assert selectors.matches(selectors.parse_labels(text), labels) is matches

    @pytest.mark.parametrize("text", ["a in 1", "=x", "a=b=c", "a in (1", "a b"])
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(ApiError) as caught:
            selectors.parse_labels(text)
        assert caught.value.code == 400

    def test_as_an_object(self) -> None:
        expressions = [{"key": "b", "operator": "In", "values": ["1"]}, {"key": "c", "operator": "DoesNotExist"}]
        selector = {"matchLabels": {"a": "1"}, "matchExpressions": expressions}
        assert selectors.matches(selectors.from_object(selector), {"a": "1", "b": "1"})
        assert not selectors.matches(selectors.from_object(selector), {"a": "1", "b": "1", "c": ""})
        assert selectors.to_words(selector) == "a=1,b in (1),!c"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("500m", "0.5"),
        ("1Gi", "1073741824"),
        ("2k", "2000"),
        ("1e3", "1000"),
        ("250000n", "0.00025"),
        ("1.5", "1.5"),
    ],
)
def test_quantities(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


def test_quantities_are_rounded_up_to_thousandths() -> None:
    assert to_millis("1500001n") == 2


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "target"),
        [
            ("/api/v1/pods", Target(PODS)),
            ("/api/v1/namespaces/ns/pods", Target(PODS, "ns")),
            ("/api/v1/namespaces/ns/pods/p/log", Target(PODS, "ns", "p", "log")),
            ("/api/v1/namespaces/ns/pods/p:80/proxy/a/b", Target(PODS, "ns", "p:80", "proxy", "a/b")),
            ("/api/v1/namespaces/ns", Target(NAMESPACES, "", "ns")),
            ("/api/v1/namespaces/ns/finalize", Target(NAMESPACES, "", "ns", "finalize")),
            ("/apis/apps/v1/namespaces/ns/deployments/d/scale", Target(DEPLOYMENTS, "ns", "d", "scale")),
        ],
    )
    def test_name_their_target(self, path: str, target: Target) -> None:
        assert parse_path(path) == target

    @pytest.mark.parametrize(
        "path", ["/api/v1/things", "/api/v2/pods", "/apis/apps/v1/namespaces/n/deployments/d/nope"]
    )
    def test_that_lead_nowhere_are_refused(self, path: str) -> None:
        with pytest.raises(ApiError) as caught:
            parse_path(path)
        assert caught.value.code == 404

    @pytest.mark.parametrize("path", ["/", "/nonsense", "/apis/nonsense.io/v1/things"])
    def test_that_are_not_of_the_api_are_no_pages(self, path: str) -> None:
        with pytest.raises(PageNotFound):
            parse_path(path)

    @pytest.mark.parametrize(
        ("path", "method", "watch", "verb", "resource"),
        [
            ("/api/v1/namespaces/ns/pods", "GET", False, "list", "pods"),
            ("/api/v1/namespaces/ns/pods", "GET", True, "watch", "pods"),
            ("/api/v1/namespaces/ns/pods/p", "GET", False, "get", "pods"),
            ("/api/v1/namespaces/ns/pods", "DELETE", False, "deletecollection", "pods"),
            ("/api/v1/namespaces/ns/pods/p/exec", "GET", False, "get", "pods/exec"),
        ],
    )
    def test_name_the_verb_that_is_authorized(
        self, path: str, method: str, watch: bool, verb: str, resource: str
    ) -> None:
        action = parse_path(path).action(method, watch=watch)
        assert (action.verb, action.resource) == (verb, resource)


def test_every_kind_that_is_served_has_a_schema_and_is_discovered() -> None:
    for resource in SERVED:
        if resource.group == "metrics.k8s.io":
            continue  # served by an aggregated API on real clusters, so the schemas do not have it
        assert schema_of(resource).shape is Shape.STRUCT, resource
        base = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
        document = discovery_document(base)
        assert document is not None
        assert resource.plural in [row["name"] for row in document["resources"]]


class TestDecoding:
    def test_drops_nulls_and_empty_collections_but_keeps_empty_structs(self) -> None:
        given = {"metadata": {"labels": {}, "annotations": None}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
        assert decode(given, PODS).value == {"metadata": {}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}

    def test_names_what_it_does_not_know(self) -> None:
        given = {"spec": {"containers": [{"name": "a", "imagee": "x"}], "nope": 1}}
        assert set(decode(given, PODS).unknown) == {"spec.containers[0].imagee", "spec.nope"}

    def test_writes_quantities_as_text(self) -> None:
        given = {"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": 1}}}]}}
        assert decode(given, PODS).value["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}

    @pytest.mark.parametrize("wrong", [{"spec": []}, {"spec": {"hostname": 1}}, {"spec": {"priority": True}}, []])
    def test_refuses_wrong_types(self, wrong: Any) -> None:
        with pytest.raises(ApiError) as caught:
            decode(wrong, PODS)
        assert caught.value.code == 400


def node(name: str = "n", ready: str = "True", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": ready}],
        "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"},
    }
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": status}


def pod(cpu: str = "0", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "m", "resources": {"requests": {"cpu": cpu}}}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


class TestPlacement:
    @pytest.mark.parametrize(
        ("candidate", "where", "reason"),
        [
            pytest.param(pod(), Place(node()), None, id="anywhere"),
            pytest.param(pod(), Place(node(ready="Unknown")), "node(s) were not ready", id="not ready"),
            pytest.param(pod(), Place(node(unschedulable=True)), "node(s) were unschedulable", id="cordoned"),
            pytest.param(pod(), Place(node(taints=[TAINT])), "node(s) had untolerated taint(s) {k: v}", id="tainted"),
            pytest.param(
                pod(tolerations=[{"key": "k", "operator": "Exists"}]), Place(node(taints=[TAINT])), None, id="tolerated"
            ),
            pytest.param(
                pod(tolerations=[{"key": "k", "value": "other"}]),
                Place(node(taints=[TAINT])),
                "node(s) had untolerated taint(s) {k: v}",
                id="another value is not tolerated",
            ),
            pytest.param(
                pod(nodeSelector={"zone": "1"}),
                Place(node(labels={"zone": "2"})),
                "node(s) didn't match Pod's node affinity/selector",
                id="selector",
            ),
            pytest.param(pod("1500m"), Place(node(), (pod("600m"),)), "Insufficient cpu", id="no room"),
            pytest.param(pod("1400m"), Place(node(), (pod("600m"),)), None, id="just fits"),
            pytest.param(pod(), Place(node(), (pod(), pod(), pod())), "Too many pods", id="too many"),
        ],
    )
    def test_of_a_pod(self, candidate: dict[str, Any], where: Place, reason: str | None) -> None:
        assert obstacle(candidate, where) == reason

    def test_follows_its_volume(self) -> None:
        terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["1"]}]}]
        volume = {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
        assert obstacle(pod(), Place(node(labels={"zone": "1"})), [volume]) is None
        assert obstacle(pod(), Place(node()), [volume]) == "node(s) had volume node affinity conflict"

    def test_prefers_the_emptiest_node(self) -> None:
        places = [Place(node("a"), (pod(),)), Place(node("c")), Place(node("b"))]
        assert best_place(places).node["metadata"]["name"] == "b"

    def test_is_explained_in_one_sentence(self) -> None:
        words = explain(["Insufficient cpu", "node(s) were not ready", "Insufficient cpu"])
        assert words == (
            "0/3 nodes are available: 1 node(s) were not ready, 2 Insufficient cpu. no new claims to deallocate, "
            "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
            "2 No preemption victims found for incoming pod."
        )


def a_job(**spec: Any) -> dict[str, Any]:
    defaults = {"completions": 3, "parallelism": 2, "backoffLimit": 1, "completionMode": "NonIndexed"}
    return {"metadata": {"name": "j"}, "spec": {**defaults, **spec}, "status": {"startTime": "2026-11-22T11:59:00Z"}}


ACTIVE = ({"metadata": {}, "spec": {}}, {"metadata": {}, "spec": {}})


class TestCompletion:
    @pytest.mark.parametrize(
        ("job", "tally", "reason"),
        [
            (a_job(), Tally((), 2, 1), None),
            (a_job(), Tally((), 3, 1), "CompletionsReached"),
            (a_job(), Tally((), 2, 2), "BackoffLimitExceeded"),
            (a_job(activeDeadlineSeconds=60), Tally((), 0, 0), "DeadlineExceeded"),
            (a_job(activeDeadlineSeconds=61), Tally((), 0, 0), None),
            (a_job(completionMode="Indexed"), Tally((), 3, 0, frozenset({0, 1})), None),
            (a_job(completionMode="Indexed"), Tally((), 3, 0, frozenset({0, 1, 2})), "CompletionsReached"),
        ],
    )
    def test_is_judged(self, job: dict[str, Any], tally: Tally, reason: str | None) -> None:
        verdict = completion.judge(job, tally, NOW)
        assert (verdict.reason if verdict else None) == reason

    def test_that_was_announced_stands(self) -> None:
        job = a_job()
        job["status"]["conditions"] = [
            {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "late"}
        ]
        verdict = completion.judge(job, Tally((), 3, 5), NOW)
        assert verdict is not None
        assert (verdict.type, verdict.reason) == ("Failed", "DeadlineExceeded")

    @pytest.mark.parametrize(
        ("job", "tally", "missing"),
        [
            (a_job(), Tally((), 0, 0), 2),
            (a_job(), Tally((), 2, 0), 1),
            (a_job(parallelism=1), Tally(ACTIVE, 0, 0), -1),
            (a_job(completions=None, parallelism=2), Tally(ACTIVE, 1, 0), 0),
        ],
    )
    def test_needs_so_many_more_pods(self, job: dict[str, Any], tally: Tally, missing: int) -> None:
        assert completion.missing_pods(job, tally) == missing

    def test_starts_the_lowest_indexes_that_nobody_works_on(self) -> None:
        at_work = {"metadata": {"annotations": {completion.INDEX: "1"}}}
        tally = Tally((at_work,), 1, 0, frozenset({0}))
        assert completion.next_indexes(a_job(completions=6), tally, 2) == [2, 3]

    @pytest.mark.parametrize(("indexes", "text"), [(set(), ""), ({3}, "3"), ({0, 1, 2, 5, 7, 8}, "0-2,5,7-8")])
    def test_ranges_read_both_ways(self, indexes: set[int], text: str) -> None:
        assert completion.to_ranges(indexes) == text
        assert completion.from_ranges(text) == indexes

    def test_backs_off_longer_after_each_failure(self) -> None:
        first = timedelta(seconds=10)
        waits = [completion.backoff(failures, first).total_seconds() for failures in (0, 1, 2, 3, 20)]
        assert waits == [0, 10, 20, 40, 600]


class TestAccounting:
    """Pods are counted once, whenever the process ends."""

    @staticmethod
    def pods(*outcomes: str) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {"uid": str(number), "finalizers": [TRACKING], "annotations": {completion.INDEX: "0"}},
                "spec": {},
                "status": {"phase": outcome},
            }
            for number, outcome in enumerate(outcomes)
        ]

    def test_ended_pods_are_added_with_their_uids_until_they_are_let_go(self) -> None:
        found = account(a_job(), self.pods("Succeeded", "Failed", "Running"))
        assert (found.tally.succeeded, found.tally.failed, len(found.tally.active)) == (1, 1, 1)
        assert found.status["uncountedTerminatedPods"] == {"succeeded": ["0"], "failed": ["1"]}
        assert found.settled_status["uncountedTerminatedPods"] == {}
        assert [pod["metadata"]["uid"] for pod in found.ended] == ["0", "1"]

    def test_after_an_end_between_the_two_writes_nothing_is_counted_twice(self) -> None:
        job, pods = a_job(), self.pods("Succeeded", "Failed")
        job["status"] = account(job, pods).status
        again = account(job, pods)
        assert (again.tally.succeeded, again.tally.failed) == (1, 1)
        assert again.status == job["status"], "the uids stay until the finalizers are off"

    def test_a_pod_that_was_let_go_is_not_looked_at_again(self) -> None:
        job, pods = a_job(), self.pods("Succeeded")
        job["status"] = account(job, pods).settled_status
        pods[0]["metadata"]["finalizers"] = []
        assert account(job, pods).tally.succeeded == 1

    def test_a_part_that_two_pods_did_counts_once(self) -> None:
        found = account(a_job(completionMode="Indexed"), self.pods("Succeeded", "Succeeded"))
        assert (found.tally.succeeded, found.status["completedIndexes"]) == (1, "0")


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
PLAIN: dict[str, Any] = {"spec": {"minReplicas": 1, "maxReplicas": 9}}


class TestAutoscaling:
    @pytest.mark.parametrize(
        ("used", "pods", "wanted"), [(70, 1, 1), (76, 1, 1), (78, 1, 2), (140, 1, 2), (300, 2, 5), (70, 2, 1)]
    )
    def test_aims_at_the_target_with_a_tolerance(self, used: int, pods: int, wanted: int) -> None:
        assert autoscaling.wanted_replicas(CPU, Measurement(used, 100 * pods, pods), pods) == wanted

    def test_grows_at_most_to_the_double_or_by_four(self) -> None:
        limited = [autoscaling.limit_rate(PLAIN, current, 100, (), NOW)[0] for current in (1, 3, 10)]
        assert limited == [5, 7, 20]

    @pytest.mark.parametrize(
        ("current", "wanted", "seconds_ago", "difference", "allowed"),
        [
            pytest.param(2, 9, 99, 0, 4, id="two more at once"),
            pytest.param(4, 9, 59, 2, 4, id="no more within the minute"),
            pytest.param(3, 9, 59, 1, 4, id="what is left of it"),
            pytest.param(4, 9, 60, 2, 6, id="two more after it"),
            pytest.param(4, 1, 99, 0, 3, id="one fewer"),
            pytest.param(3, 1, 119, -1, 3, id="not another one within two minutes"),
            pytest.param(3, 1, 120, -1, 2, id="but after them"),
        ],
    )
    def test_changes_no_faster_than_its_policies_allow(
        self, current: int, wanted: int, seconds_ago: int, difference: int, allowed: int
    ) -> None:
        up = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
        down = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}]}
        rules = {"spec": {**PLAIN["spec"], "behavior": {"scaleUp": up, "scaleDown": down}}}
        earlier = (Change(NOW - timedelta(seconds=seconds_ago), difference),)
        replicas, remembered = autoscaling.limit_rate(rules, current, wanted, earlier, NOW)
        assert replicas == allowed
        assert (remembered[-1] == Change(NOW, replicas - current)) is (replicas != current)

    def test_can_be_forbidden_to_shrink(self) -> None:
        rules = {"spec": {**PLAIN["spec"], "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}}
        assert autoscaling.limit_rate(rules, 4, 1, (), NOW)[0] == 4

    def test_keeps_its_bounds(self) -> None:
        assert [Bounds(2, 5).clamp(replicas) for replicas in (1, 3, 9)] == [2, 3, 5]

    def test_waits_five_minutes_before_it_shrinks(self) -> None:
        busy = (Recommendation(NOW - timedelta(seconds=200), 4),)
        assert autoscaling.stabilize(PLAIN, busy, 1, 4, NOW)[0] == 4
        quiet = (Recommendation(NOW - timedelta(seconds=301), 4),)
        assert autoscaling.stabilize(PLAIN, quiet, 1, 4, NOW)[0] == 1

    def test_grows_at_once(self) -> None:
        idle = (Recommendation(NOW - timedelta(seconds=10), 1),)
        assert autoscaling.stabilize(PLAIN, idle, 4, 1, NOW)[0] == 4


def a_claim(**spec: Any) -> dict[str, Any]:
    requests = {"resources": {"requests": {"storage": "2Gi"}}}
    given = {"accessModes": ["ReadWriteOnce"], "storageClassName": "c", "volumeMode": "Filesystem", **requests, **spec}
    return {"metadata": {"name": "claim", "namespace": "ns", "uid": "u"}, "spec": given}


def a_volume(name: str, storage: str = "2Gi", phase: str = "Available", **spec: Any) -> dict[str, Any]:
    given = {"accessModes": ["ReadWriteOnce", "ReadWriteMany"], "storageClassName": "c", "volumeMode": "Filesystem"}
    return {
        "metadata": {"name": name},
        "spec": {**given, "capacity": {"storage": storage}, **spec},
        "status": {"phase": phase},
    }


class TestVolumeMatching:
    @pytest.mark.parametrize(
        ("volumes", "chosen"),
        [
            ([a_volume("small", "1Gi")], None),
            ([a_volume("large", "9Gi"), a_volume("fitting")], "fitting"),
            ([a_volume("other", storageClassName="d")], None),
            (
                [a_volume("released", phase="Released", claimRef={"namespace": "ns", "name": "claim", "uid": "old"})],
                None,
            ),
            ([a_volume("free"), a_volume("ours", "9Gi", claimRef={"namespace": "ns", "name": "claim"})], "ours"),
            ([a_volume("theirs", claimRef={"namespace": "ns", "name": "another"})], None),
            ([a_volume("once", accessModes=["ReadOnlyMany"])], None),
        ],
    )
    def test_takes_the_reserved_then_the_smallest(self, volumes: list[dict[str, Any]], chosen: str | None) -> None:
        found = best_volume(a_claim(), volumes)
        assert (found["metadata"]["name"] if found else None) == chosen


class TestContainerChoice:
    POD: ClassVar[dict[str, Any]] = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "init"}]},
    }

    @pytest.mark.parametrize(("wanted", "chosen"), [("", "main"), ("main", "main"), ("init", "init")])
    def test_takes_the_named_or_the_only_one(self, wanted: str, chosen: str) -> None:
        assert choose_container(self.POD, wanted) == chosen

    def test_of_several_one_must_be_named(self) -> None:
        several = {**self.POD, "spec": {**self.POD["spec"], "containers": [{"name": "a"}, {"name": "b"}]}}
        words = r"choose one of: \[a b\] or one of the init containers: \[init\]"
        with pytest.raises(ApiError, match=words):
            choose_container(several, "")


class TestAccess:
    RULES = (DenyRule.parse("create:pods/exec"), DenyRule.parse("*:secrets:ollama"))

    @pytest.mark.parametrize(
        ("action", "may"),
        [
            (Action("create", "", "pods/exec", "any"), False),
            (Action("get", "", "pods/exec", "any"), True),
            (Action("get", "", "secrets", "ollama"), False),
            (Action("get", "", "secrets", "other"), True),
        ],
    )
    def test_of_a_limited_user(self, action: Action, may: bool) -> None:
        assert User("limited", denied=self.RULES).may(action) is may

    ROLES = """
kind: Role
metadata: {namespace: ollama}
rules:
  - {apiGroups: [""], resources: [pods, pods/exec], verbs: [get, create]}
  - {apiGroups: [apps], resources: [deployments], resourceNames: [open-webui], verbs: ["*"]}
---
kind: ClusterRole
metadata: {name: x}
rules:
  - {apiGroups: [storage.k8s.io], resources: ["*"], verbs: [get]}
---
kind: RoleBinding
"""

    @pytest.mark.parametrize(
        ("action", "may"),
        [
            (Action("create", "", "pods/exec", "ollama"), True),
            (Action("create", "", "pods/exec", "other"), False),
            (Action("delete", "", "pods", "ollama"), False),
            (Action("get", "", "pods/log", "ollama"), False),
            (Action("patch", "apps", "deployments", "ollama", "open-webui"), True),
            (Action("patch", "apps", "deployments", "ollama", "another"), False),
            (Action("get", "storage.k8s.io", "storageclasses"), True),
            (Action("list", "", "nodes"), False),
            (Action("create", "authorization.k8s.io", "selfsubjectaccessreviews"), True),
        ],
    )
    def test_of_a_user_with_roles(self, action: Action, may: bool) -> None:
        assert User("limited", granted=grants_of(self.ROLES)).may(action) is may

    def test_a_denial_outweighs_a_grant(self) -> None:
        user = User("limited", denied=self.RULES, granted=grants_of(self.ROLES))
        assert not user.may(Action("create", "", "pods/exec", "ollama"))

    def test_tokens_tell_who_it_is(self) -> None:
        users = Users.of(Tokens("a-token", "l-token"))
        found = [
            users.find(header) for header in ("Bearer a-token", "bearer l-token", None, "Bearer x", "Basic a-token")
        ]
        assert [user.name if user else None for user in found] == ["admin", "limited", "system:anonymous", None, None]

    def test_nobody_in_particular_may_do_nothing_but_ask_for_health(self) -> None:
        anonymous = Users.of(Tokens("a", "l")).find(None)
        assert anonymous is not None
        assert not anonymous.may(Action("get", "", "pods"))
        assert anonymous.may_read("/readyz")
        assert not anonymous.may_read("/api")

    @pytest.mark.parametrize("text", ["pods", "a:b:c:d", ":pods", "get:"])
    def test_a_rule_that_says_nothing_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not VERB:RESOURCE"):
            DenyRule.parse(text)


def test_the_template_hash_depends_on_the_content_only() -> None:
    one = template_hash({"a": 1, "b": 2})
    assert one == template_hash({"b": 2, "a": 1})
    assert one != template_hash({"a": 1, "b": 3})
    assert one.isalnum()
