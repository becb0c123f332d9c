"""Contract: what the API server fills in, what it refuses, and how it says so."""

from typing import Any

import pytest
from fix_contract import MERGE, Cluster, claim, config_map, container, deployment, job, refused, some_name


@pytest.fixture
def name() -> str:
    return some_name()


class TestDefaults:
    def test_of_a_deployment(self, cluster: Cluster, name: str) -> None:
        body = deployment(name)
        del body["spec"]["replicas"]
        spec = cluster.apps.create_namespaced_deployment(cluster.namespace, body).spec
        assert spec.replicas == 1
        assert spec.strategy.type == "RollingUpdate"
        assert (spec.strategy.rolling_update.max_surge, spec.strategy.rolling_update.max_unavailable) == ("25%", "25%")
        assert (spec.revision_history_limit, spec.progress_deadline_seconds) == (10, 600)
        assert spec.template.spec.restart_policy == "Always"
        assert spec.template.spec.termination_grace_period_seconds == 1
        assert spec.template.spec.containers[0].image_pull_policy == "IfNotPresent"

    def test_of_a_probe(self, cluster: Cluster, name: str) -> None:
        main = container(readinessProbe={"httpGet": {"port": 80}})
        created = cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0, main))
        probe = created.spec.template.spec.containers[0].readiness_probe
        assert (probe.period_seconds, probe.timeout_seconds, probe.failure_threshold) == (10, 1, 3)
        assert (probe.http_get.path, probe.http_get.scheme) == ("/", "HTTP")

    def test_of_a_job_let_its_pods_be_found(self, cluster: Cluster, name: str) -> None:
        created = cluster.batch.create_namespaced_job(cluster.namespace, job(name, suspend=True))
        assert (created.spec.completions, created.spec.parallelism, created.spec.completion_mode) == (
            1,
            1,
            "NonIndexed",
        )
        assert created.spec.selector.match_labels == {"batch.kubernetes.io/controller-uid": created.metadata.uid}
        assert created.spec.template.metadata.labels["job-name"] == name

    def test_a_claim_is_protected_while_it_is_used(self, cluster: Cluster, name: str) -> None:
        created = cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim(name))
        assert created.metadata.finalizers == ["kubernetes.io/pvc-protection"]
        assert created.status.phase == "Pending"

    def test_limits_stand_in_for_requests_in_a_pod_but_not_in_a_template(self, cluster: Cluster, name: str) -> None:
        main = container(resources={"limits": {"memory": "1Gi"}})
        created = cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0, main))
        assert created.spec.template.spec.containers[0].resources.requests is None
        pod = cluster.core.create_namespaced_pod(
            cluster.namespace, {"metadata": {"name": name}, "spec": {"containers": [main]}}
        )
        assert pod.spec.containers[0].resources.requests == {"memory": "1Gi"}


class TestDecoding:
    def post(self, cluster: Cluster, body: dict[str, Any], policy: str) -> dict[str, Any]:
        return cluster.request("POST", cluster.path("deployments", group="apps/v1"), body, fieldValidation=policy)

    def test_strict_refuses_an_unknown_field(self, cluster: Cluster, name: str) -> None:
        with refused(400, "BadRequest") as status:
            self.post(cluster, deployment(name, 0, replicaz=1), "Strict")
        assert 'unknown field "spec.replicaz"' in status["message"]

    @pytest.mark.parametrize("policy", ["Warn", "Ignore"])
    def test_otherwise_an_unknown_field_is_dropped(self, cluster: Cluster, name: str, policy: str) -> None:
        assert "replicaz" not in self.post(cluster, deployment(name, 0, replicaz=1), policy)["spec"]

    def test_a_secret_that_is_not_base64_is_refused(self, cluster: Cluster, name: str) -> None:
        body = {"metadata": {"name": name}, "data": {"k": "no base64!"}}
        with refused(400, "BadRequest") as status:
            cluster.request("POST", cluster.path("secrets"), body)
        assert "illegal base64 data" in status["message"]

    def test_a_time_that_is_none_is_refused(self, cluster: Cluster, name: str) -> None:
        path = cluster.path("leases", group="coordination.k8s.io/v1")
        with refused(400, "BadRequest"):
            cluster.request("POST", path, {"metadata": {"name": name}, "spec": {"renewTime": "yesterday"}})

    def test_a_wrong_type_is_refused(self, cluster: Cluster, name: str) -> None:
        body = deployment(name)
        body["spec"]["replicas"] = "three"
        with refused(400, "BadRequest") as status:
            self.post(cluster, body, "Ignore")
        assert "cannot unmarshal string" in status["message"]


class TestRefusals:
    def test_a_selector_must_match_the_template(self, cluster: Cluster, name: str) -> None:
        body = deployment(name, selector={"matchLabels": {"app": "other"}})
        with refused(422, "Invalid") as status:
            cluster.apps.create_namespaced_deployment(cluster.namespace, body)
        assert status["details"]["kind"] == "Deployment"
        assert status["details"]["causes"][0]["field"] == "spec.template.metadata.labels"

    def test_all_causes_come_at_once(self, cluster: Cluster, name: str) -> None:
        body = deployment(name, -1)
        del body["spec"]["template"]["spec"]["containers"][0]["image"]
        with refused(422, "Invalid") as status:
            cluster.request("POST", cluster.path("deployments", group="apps/v1"), body)
        fields = {cause["field"] for cause in status["details"]["causes"]}
        assert fields >= {"spec.replicas", "spec.template.spec.containers[0].image"}

    def test_a_required_field(self, cluster: Cluster, name: str) -> None:
        body = {"kind": "StorageClass", "apiVersion": "storage.k8s.io/v1", "metadata": {"name": name}}
        with refused(422, "Invalid") as status:
            cluster.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body)
        assert status["details"]["causes"][0]["field"] == "provisioner"

    def test_a_name_in_capitals(self, cluster: Cluster) -> None:
        with refused(422, "Invalid") as status:
            cluster.core.create_namespaced_config_map(cluster.namespace, config_map("Bad_Name"))
        assert "a lowercase RFC 1123 subdomain" in status["message"]

    def test_a_mount_of_a_volume_that_is_not_there(self, cluster: Cluster, name: str) -> None:
        main = container(volumeMounts=[{"name": "nope", "mountPath": "/x"}])
        with refused(422) as status:
            cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0, main))
        assert status["details"]["causes"][0]["field"].endswith("containers[0].volumeMounts[0].name")

    def test_a_job_that_restarts_always(self, cluster: Cluster, name: str) -> None:
        body = job(name)
        body["spec"]["template"]["spec"]["restartPolicy"] = "Always"
        with refused(422) as status:
            cluster.batch.create_namespaced_job(cluster.namespace, body)
        assert status["details"]["causes"][0]["reason"] == "FieldValueRequired"

    def test_a_config_map_over_one_mebibyte(self, cluster: Cluster, name: str) -> None:
        whole = {"data": {"a": "x" * (1024 * 1024)}}
        cluster.core.create_namespaced_config_map(cluster.namespace, {**config_map(name), **whole})
        with refused(422, "Invalid") as status:
            cluster.request("PATCH", cluster.path("configmaps", name), {"data": {"b": "x"}}, MERGE)
        assert "Too long" in status["message"]
        assert "1048576" in status["message"]

    def test_a_key_that_is_no_file_name(self, cluster: Cluster, name: str) -> None:
        with refused(422, "Invalid") as status:
            cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name, {"a/b": "1"}))
        assert status["details"]["causes"][0]["field"] == "data[a/b]"

    def test_a_job_whose_name_does_not_fit_a_label(self, cluster: Cluster) -> None:
        with refused(422, "Invalid"):
            cluster.batch.create_namespaced_job(cluster.namespace, job("x" * 64, suspend=True))


class TestImmutability:
    def test_of_a_deployment_s_selector(self, cluster: Cluster, name: str) -> None:
        cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0))
        labels = {"app": name, "q": "1"}
        patch = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
        with refused(422, "Invalid") as status:
            cluster.apps.patch_namespaced_deployment(name, cluster.namespace, patch)
        assert "field is immutable" in status["message"]

    def test_of_a_claim(self, cluster: Cluster, name: str) -> None:
        cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim(name))
        with refused(422, "Invalid"):
            patch = {"spec": {"accessModes": ["ReadWriteMany"]}}
            cluster.core.patch_namespaced_persistent_volume_claim(name, cluster.namespace, patch)

    @pytest.mark.parametrize(
        "change",
        [{"parameters": {"a": "2"}}, {"reclaimPolicy": "Retain"}, {"volumeBindingMode": "WaitForFirstConsumer"}],
    )
    def test_of_a_storage_class(self, cluster: Cluster, name: str, change: dict[str, Any]) -> None:
        cluster.storage.create_storage_class({"metadata": {"name": name}, "provisioner": "p", "parameters": {"a": "1"}})
        try:
            with refused(422, "Invalid") as status:
                cluster.storage.patch_storage_class(name, change)
            field = next(iter(change))
            assert status["details"]["causes"][0]["field"] == field
        finally:
            cluster.storage.delete_storage_class(name)

    def test_of_a_job_s_template(self, cluster: Cluster, name: str) -> None:
        cluster.batch.create_namespaced_job(cluster.namespace, job(name, suspend=True))
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:1"}]}}}}
        with refused(422, "Invalid"):
            cluster.batch.patch_namespaced_job(name, cluster.namespace, patch)

    def test_of_a_config_map_that_says_so(self, cluster: Cluster, name: str) -> None:
        cluster.core.create_namespaced_config_map(cluster.namespace, {**config_map(name), "immutable": True})
        with refused(422, "Invalid"):
            cluster.request("PATCH", cluster.path("configmaps", name), {"data": {"a": "2"}}, MERGE)


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("PUT", "/scale", {"spec": {"replicas": "three"}}),
        ("PATCH", "/scale", {"spec": {"replicas": "three"}}),
        ("PATCH", "", {"spec": {"replicas": [1]}}),
        ("PATCH", "", {"metadata": {"labels": "x"}}),
        ("DELETE", "", {"gracePeriodSeconds": "x"}),
        ("DELETE", "", {"preconditions": []}),
    ],
)
def test_a_body_of_the_wrong_shape_is_a_bad_request_and_a_patch_that_makes_one_is_invalid(
    cluster: Cluster, name: str, method: str, suffix: str, body: dict[str, Any]
) -> None:
    cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0))
    media_type = MERGE if method == "PATCH" else "application/json"
    with refused(*((422, "Invalid") if method == "PATCH" else (400, "BadRequest"))):
        cluster.request(method, cluster.path("deployments", name, "apps/v1") + suffix, body, media_type)
