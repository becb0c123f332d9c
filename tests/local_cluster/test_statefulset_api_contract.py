"""Contract: StatefulSets and ControllerRevisions as the API takes, completes, refuses and scales them.

Source: the `statefulset-*` answers in tests/local_cluster/recordings; what they lack was asked of Kubernetes 1.36.2.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from fix_contract import MERGE, STRATEGIC, Cluster, claim, refused, some_name
from fix_stateful_sets import APPS, create, read, stateful_set

LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
ONLY_THESE_CHANGE = (
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
    "forbidden"
)
NOT_NEGATIVE = "must be greater than or equal to 0"


@pytest.fixture
def name() -> str:
    return some_name()


@pytest.fixture(scope="module")
def idle(cluster: Cluster) -> Iterator[str]:
    """A StatefulSet without pods."""
    create(cluster, stateful_set("idle", 0, serviceName="web"))
    yield "idle"


def path(cluster: Cluster, name: str = "") -> str:
    return cluster.path("statefulsets", name, group=APPS)


def tried(cluster: Cluster, body: dict[str, Any]) -> dict[str, Any]:
    """Return what would be stored."""
    return cluster.request("POST", path(cluster), body, dryRun="All")


def refusal(cluster: Cluster, body: dict[str, Any]) -> str:
    with refused(422, "Invalid") as status:
        tried(cluster, body)
    return problem_of(status, body["metadata"]["name"])


def problem_of(status: dict[str, Any], name: str) -> str:
    """Return what the refusal says, which must be the same in its message and in its causes."""
    listed = [f"{cause['field']}: {cause['message']}" for cause in status["details"]["causes"]]
    joined = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    assert status["message"] == f'{status["details"]["kind"]}.apps "{name}" is invalid: {joined}'
    return joined


class TestCreation:
    def test_fills_in_what_is_left_out(self, cluster: Cluster, name: str) -> None:
        made = tried(cluster, stateful_set(name))
        spec = {field: value for field, value in made["spec"].items() if field != "template"}
        assert spec == {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "serviceName": "",
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        }
        assert (made["status"], made["metadata"]["generation"]) == ({"replicas": 0, "availableReplicas": 0}, 1)

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ({}, {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
            ({"type": "RollingUpdate"}, {"type": "RollingUpdate"}),
            ({"type": "OnDelete"}, {"type": "OnDelete"}),
            ({"rollingUpdate": {"partition": 2}}, {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}),
            # MaxUnavailableStatefulSet is a feature that is off by default.
            ({"rollingUpdate": {"maxUnavailable": 2}}, {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ],
    )
    def test_completes_the_update_strategy(
        self, cluster: Cluster, name: str, given: dict[str, Any], kept: dict[str, Any]
    ) -> None:
        assert tried(cluster, stateful_set(name, updateStrategy=given))["spec"]["updateStrategy"] == kept

    def test_completes_the_claim_templates(self, cluster: Cluster, name: str) -> None:
        made = tried(cluster, stateful_set(name, volumeClaimTemplates=[{**claim("data"), "apiVersion": None}]))
        assert made["spec"]["volumeClaimTemplates"] == [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "storageClassName": "none",
                    "volumeMode": "Filesystem",
                },
                "status": {"phase": "Pending"},
            }
        ]

    def test_lets_containers_mount_the_claim_templates(self, cluster: Cluster, name: str) -> None:
        body = stateful_set(name)
        main = body["spec"]["template"]["spec"]["containers"][0]
        main["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        assert refusal(cluster, body) == 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'
        body["spec"]["volumeClaimTemplates"] = [claim("data")]
        assert "volumes" not in tried(cluster, body)["spec"]["template"]["spec"]


REFUSED_SPECS: list[tuple[dict[str, Any], str]] = [
    (
        {"podManagementPolicy": "X"},
        "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
    ),
    (
        {"updateStrategy": {"type": "X"}},
        'spec.updateStrategy: Invalid value: {"Type":"X","RollingUpdate":null}: must be \'RollingUpdate\' or '
        "'OnDelete'",
    ),
    (
        {"updateStrategy": {"type": "X", "rollingUpdate": {"partition": 2}}},
        'spec.updateStrategy: Invalid value: {"Type":"X","RollingUpdate":{"Partition":2,"MaxUnavailable":null}}: must '
        "be 'RollingUpdate' or 'OnDelete'",
    ),
    (
        {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
        'spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":1,"MaxUnavailable":null}: only allowed for '
        "updateStrategy 'RollingUpdate'",
    ),
    (
        {"updateStrategy": {"rollingUpdate": {"partition": -1}}},
        f"spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: {NOT_NEGATIVE}",
    ),
    (
        {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "X"}},
        'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "X": supported values: "Retain", '
        '"Delete"',
    ),
    (
        {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]},
        "[spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required, "
        "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value]",
    ),
    (
        {"replicas": -1, "minReadySeconds": -1},
        f"[spec.replicas: Invalid value: -1: {NOT_NEGATIVE}, spec.minReadySeconds: Invalid value: -1: {NOT_NEGATIVE}]",
    ),
    ({"ordinals": {"start": -1}}, f"spec.ordinals.start: Invalid value: -1: {NOT_NEGATIVE}"),
    ({"serviceName": "A_b"}, f'spec.serviceName: Invalid value: "A_b": {LABEL_RULE}'),
    ({"serviceName": "a.b"}, 'spec.serviceName: Invalid value: "a.b": must not contain dots'),
    ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for statefulset"),
    (
        {"selector": {"matchLabels": {"app": "other"}}},
        'spec.template.metadata.labels: Invalid value: {"app":"fixed"}: `selector` does not match template `labels`',
    ),
]


class TestRefusal:
    @pytest.mark.parametrize(("spec", "problem"), REFUSED_SPECS)
    def test_of_a_spec_is_word_for_word(self, cluster: Cluster, spec: dict[str, Any], problem: str) -> None:
        assert refusal(cluster, stateful_set("fixed", **spec)) == problem

    def test_of_a_template_that_does_not_run_for_ever(self, cluster: Cluster, name: str) -> None:
        body = stateful_set(name)
        body["spec"]["template"]["spec"] |= {"restartPolicy": "OnFailure", "activeDeadlineSeconds": 3}
        assert refusal(cluster, body) == (
            '[spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always", '
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not "
            "Supported]"
        )

    @pytest.mark.parametrize(
        ("bad_name", "problem"),
        [
            ("a.b", 'metadata.name: Invalid value: "a.b": must not contain dots'),
            ("A-b", f'metadata.name: Invalid value: "A-b": {LABEL_RULE}'),
            ("x" * 64, f'metadata.name: Invalid value: "{"x" * 64}": must be no more than 63 characters'),
        ],
    )
    def test_of_a_name_that_no_pod_could_have(self, cluster: Cluster, bad_name: str, problem: str) -> None:
        body = stateful_set("fixed")
        body["metadata"]["name"] = bad_name
        assert refusal(cluster, body) == problem


class TestChange:
    @pytest.mark.parametrize(
        ("spec", "problem"),
        [
            ({"serviceName": "other"}, ONLY_THESE_CHANGE),
            ({"podManagementPolicy": "Parallel"}, ONLY_THESE_CHANGE),
            ({"volumeClaimTemplates": [claim("data")]}, ONLY_THESE_CHANGE),
            (
                {"selector": {"matchLabels": {"app": "other"}}},
                '[spec.template.metadata.labels: Invalid value: {"app":"idle"}: `selector` does not match template '
                f"`labels`, {ONLY_THESE_CHANGE}]",
            ),
            (
                {"replicas": -1, "serviceName": "other"},
                f"[spec.replicas: Invalid value: -1: {NOT_NEGATIVE}, {ONLY_THESE_CHANGE}]",
            ),
            (
                {"updateStrategy": {"type": "OnDelete"}},
                'spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":0,"MaxUnavailable":null}: only allowed '
                "for updateStrategy 'RollingUpdate'",
            ),
        ],
    )
    def test_of_what_may_not_change_is_refused(
        self, cluster: Cluster, idle: str, spec: dict[str, Any], problem: str
    ) -> None:
        with refused(422, "Invalid") as status:
            cluster.request("PATCH", path(cluster, idle), {"spec": spec}, STRATEGIC)
        assert problem_of(status, idle) == problem

    @pytest.mark.parametrize(
        ("strategy", "kept"),
        [
            ({"$retainKeys": ["type"], "type": "OnDelete"}, {"type": "OnDelete"}),
            ({"rollingUpdate": None, "type": "OnDelete"}, {"type": "OnDelete"}),
            ({"rollingUpdate": None}, {"type": "RollingUpdate"}),
            (None, {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ],
    )
    def test_of_the_strategy(self, cluster: Cluster, idle: str, strategy: Any, kept: dict[str, Any]) -> None:
        patch = {"spec": {"updateStrategy": strategy}}
        changed = cluster.request("PATCH", path(cluster, idle), patch, STRATEGIC, dryRun="All")
        assert changed["spec"]["updateStrategy"] == kept

    def test_of_the_spec_counts_a_generation_and_of_the_status_does_not(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 0))
        changed = cluster.request("PATCH", path(cluster, name), {"spec": {"minReadySeconds": 1}}, MERGE)
        assert changed["metadata"]["generation"] == 2
        cluster.request("PATCH", path(cluster, name) + "/status", {"status": {"conditions": []}}, MERGE)
        assert read(cluster, name).metadata.generation == 2

    def test_of_a_change_of_nothing_but_the_status_leaves_the_spec(self, cluster: Cluster, idle: str) -> None:
        changed = cluster.request("PATCH", path(cluster, idle) + "/status", {"spec": {"replicas": 7}}, MERGE)
        assert changed["spec"]["replicas"] == 0


class TestScale:
    def test_is_read_and_set(self, cluster: Cluster, name: str) -> None:
        create(cluster, stateful_set(name, 0))
        scale_path = path(cluster, name) + "/scale"
        found = cluster.request("GET", scale_path)
        assert (found["kind"], found["spec"], found["status"]) == (
            "Scale",
            {},
            {"replicas": 0, "selector": f"app={name}"},
        )
        changed = cluster.request("PATCH", scale_path, {"spec": {"replicas": 2}}, MERGE)
        assert (changed["spec"], read(cluster, name).spec.replicas) == ({"replicas": 2}, 2)
        changed["spec"]["replicas"] = 1
        changed["metadata"].pop("resourceVersion")
        assert cluster.request("PUT", scale_path, changed)["spec"] == {"replicas": 1}


def test_both_kinds_are_discovered(cluster: Cluster) -> None:
    listed = {row["name"]: row for row in cluster.request("GET", f"/apis/{APPS}")["resources"]}
    assert (listed["statefulsets"]["kind"], listed["statefulsets"]["shortNames"]) == ("StatefulSet", ["sts"])
    assert listed["controllerrevisions"]["kind"] == "ControllerRevision"
    assert {"statefulsets/scale", "statefulsets/status"} <= listed.keys()
    assert "controllerrevisions/status" not in listed


class TestControllerRevision:
    def make(self, cluster: Cluster, **content: Any) -> dict[str, Any]:
        revisions = cluster.path("controllerrevisions", group=APPS)
        return cluster.request("POST", revisions, {"metadata": {"name": content.pop("name")}, **content})

    def test_has_data_that_never_change(self, cluster: Cluster, name: str) -> None:
        made = self.make(cluster, name=name, data={"a": [2, {"b": None}]})
        assert (made["data"], made["revision"]) == ({"a": [2, {"b": None}]}, 0)
        where = cluster.path("controllerrevisions", name, group=APPS)
        with refused(422, "Invalid") as status:
            cluster.request("PATCH", where, {"data": {"a": 1}}, MERGE)
        assert problem_of(status, name) == 'data: Invalid value: {"a":1}: field is immutable'

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ({"revision": 1}, "data: Required value: data is mandatory"),
            ({"data": {"a": 1}, "revision": -1}, f"revision: Invalid value: -1: {NOT_NEGATIVE}"),
        ],
    )
    def test_is_refused(self, cluster: Cluster, name: str, content: dict[str, Any], problem: str) -> None:
        with refused(422, "Invalid") as status:
            self.make(cluster, name=name, **content)
        assert problem_of(status, name) == problem
