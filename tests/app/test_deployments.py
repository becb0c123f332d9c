import copy

import pytest

from shared.kubernetes import deployments

DEPLOYMENT = {
    "metadata": {"name": "open-webui", "generation": 2, "annotations": {}},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "open-webui"}},
        "template": {
            "spec": {
                "containers": [
                    {"name": "sidecar", "image": "s"},
                    {
                        "name": "web",
                        "image": "ghcr.io/open-webui/open-webui:0.12.4",
                        "ports": [{"containerPort": 8081}],
                        "env": [{"name": "DATABASE_URL", "value": "postgresql://u:secret@h:5433/d"}],
                        "volumeMounts": [{"name": "data", "mountPath": "/app/backend/data"}],
                    },
                ],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}],
            }
        },
    },
}


def pod(name="p", *, ready="True", waiting=None):
    state = {"waiting": {"reason": waiting, "message": "m"}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": "n"},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "web", "state": state}],
        },
    }


def test_the_container_that_mounts_the_disk_is_found_and_no_value_leaks():
    facts = deployments.describe(DEPLOYMENT, "disk", [pod("a", ready="False"), pod("b")])
    assert facts is not None
    assert (facts.container, facts.mount_path, facts.port, facts.pod) == ("web", "/app/backend/data", 8081, "b")
    assert facts.environment == ("DATABASE_URL",)
    assert "secret" not in repr(facts)


def test_a_claim_that_nobody_mounts_gives_nothing():
    assert deployments.describe(DEPLOYMENT, "other", []) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5433/d", ("h", 5433, "d", "u")),
        ("postgres://u@h/d?sslmode=require", ("h", 5432, "d", "u")),
        ("postgresql+psycopg2://u:p%40@h/d", ("h", 5432, "d", "u")),
        ("sqlite:////app/webui.db", None),
        ("", None),
        ("mysql://u@h/d", None),
    ],
)
def test_database_urls(url, expected):
    address = deployments.parse_database_url(url)
    assert (address and (address.host, address.port, address.name, address.role)) == expected


def test_the_patch_changes_only_what_is_listed():
    facts = deployments.describe(DEPLOYMENT, "disk", [])
    patch = deployments.switch_patch(DEPLOYMENT, facts, "files", [{"name": "VECTOR_DB", "value": "pgvector"}])
    [main] = patch["spec"]["template"]["spec"]["containers"]
    assert set(main) == {"name", "env", "readinessProbe", "livenessProbe", "startupProbe"}
    assert main["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 8081, "scheme": "HTTP"}
    assert patch["spec"]["template"]["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "files"}}
    ]
    assert patch["spec"]["strategy"]["type"] == "Recreate"


def test_settled_means_the_controller_has_seen_it_and_all_pods_are_new_and_available():
    counts = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
    live = copy.deepcopy(DEPLOYMENT) | {"status": {"observedGeneration": 2, **counts}}
    assert deployments.is_settled(live, 1)
    for key, value in [("observedGeneration", 1), ("updatedReplicas", 0), ("replicas", 2), ("availableReplicas", 0)]:
        assert not deployments.is_settled(live | {"status": live["status"] | {key: value}}, 1), key
    assert not deployments.is_settled(live, 2)


def test_a_pod_that_cannot_start_is_named():
    assert deployments.startup_failure([pod()]) is None
    assert deployments.startup_failure([pod(waiting="ContainerCreating")]) is None
    assert deployments.startup_failure([pod("x", waiting="ImagePullBackOff")]) == "x/web: ImagePullBackOff m"


def test_the_digest_tells_any_change_of_the_spec():
    other = copy.deepcopy(DEPLOYMENT)
    other["metadata"]["annotations"]["k"] = "v"
    assert deployments.spec_digest(other) == deployments.spec_digest(DEPLOYMENT)
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "t"
    assert deployments.spec_digest(other) != deployments.spec_digest(DEPLOYMENT)
