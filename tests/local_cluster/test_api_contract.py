"""Contract: objects are created, read, listed, replaced and patched as on any Kubernetes API server."""

import pytest
from fix_contract import JSON, MERGE, Cluster, claim, config_map, container, deployment, refused, some_name
from kubernetes import client, config
from kubernetes.client.rest import ApiException


def test_the_version_is_told(cluster: Cluster) -> None:
    assert client.VersionApi(cluster.api).get_code().git_version.startswith("v1.")


@pytest.mark.parametrize(
    ("api_version", "kind", "namespaced"),
    [
        ("v1", "Pod", True),
        ("v1", "PersistentVolumeClaim", True),
        ("v1", "PersistentVolume", False),
        ("apps/v1", "Deployment", True),
        ("batch/v1", "Job", True),
        ("autoscaling/v2", "HorizontalPodAutoscaler", True),
        ("policy/v1", "PodDisruptionBudget", True),
        ("storage.k8s.io/v1", "StorageClass", False),
    ],
)
def test_the_dynamic_client_discovers_the_kinds_that_phases_use(
    cluster: Cluster, api_version: str, kind: str, namespaced: bool
) -> None:
    assert cluster.kind(api_version, kind).namespaced is namespaced


def test_a_deployment_can_be_scaled_by_its_subresource(cluster: Cluster) -> None:
    assert "scale" in cluster.kind("apps/v1", "Deployment").subresources


class TestCreate:
    def test_fills_in_the_metadata(self, cluster: Cluster) -> None:
        metadata = cluster.core.create_namespaced_config_map(cluster.namespace, config_map(some_name())).metadata
        assert metadata.uid
        assert metadata.creation_timestamp
        assert metadata.resource_version.isdigit()
        assert metadata.namespace == cluster.namespace

    def test_refuses_a_name_that_is_taken(self, cluster: Cluster) -> None:
        name = some_name()
        cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
        with refused(409, "AlreadyExists") as status:
            cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
        assert status["message"] == f'configmaps "{name}" already exists'
        assert status["details"] == {"name": name, "kind": "configmaps"}

    def test_refuses_a_namespace_that_is_not_there(self, cluster: Cluster) -> None:
        with refused(404, "NotFound") as status:
            cluster.core.create_namespaced_config_map("no-such-namespace", config_map(some_name()))
        assert status["message"] == 'namespaces "no-such-namespace" not found'

    def test_generates_names(self, cluster: Cluster) -> None:
        body = {"metadata": {"generateName": "gen-"}}
        name = cluster.core.create_namespaced_config_map(cluster.namespace, body).metadata.name
        assert name.startswith("gen-")
        assert len(name) == len("gen-") + 5

    def test_encodes_a_secret_s_strings(self, cluster: Cluster) -> None:
        body = {"metadata": {"name": some_name()}, "stringData": {"k": "v"}}
        created = cluster.core.create_namespaced_secret(cluster.namespace, body)
        assert created.data == {"k": "dg=="}
        assert created.string_data is None
        assert created.type == "Opaque"

    def test_changes_nothing_in_a_dry_run(self, cluster: Cluster) -> None:
        name = some_name()
        created = cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name), dry_run="All")
        assert created.metadata.uid
        with refused(404):
            cluster.core.read_namespaced_config_map(name, cluster.namespace)

    def test_gives_a_service_an_address(self, cluster: Cluster) -> None:
        body = {"metadata": {"name": some_name()}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}}
        created = cluster.core.create_namespaced_service(cluster.namespace, body)
        assert created.spec.cluster_ip.count(".") == 3
        assert created.spec.cluster_ips == [created.spec.cluster_ip]
        assert created.spec.ports[0].target_port == 80
        assert not created.status.load_balancer.ingress


class TestRead:
    def test_a_missing_object_is_a_404_that_names_it(self, cluster: Cluster) -> None:
        with refused(404, "NotFound") as status:
            cluster.core.read_namespaced_config_map("nope", cluster.namespace)
        assert status["message"] == 'configmaps "nope" not found'
        assert status["details"]["kind"] == "configmaps"

    @pytest.mark.parametrize("path", ["/apis/apps/v1/nonsense", "/apis/apps/v3/deployments", "/api/v2/pods"])
    def test_a_kind_or_version_that_a_group_has_not_is_a_404(self, cluster: Cluster, path: str) -> None:
        with refused(404, "NotFound") as status:
            cluster.request("GET", path)
        assert status["message"] == "the server could not find the requested resource"

    @pytest.mark.parametrize("path", ["/apis/no.such.group/v1/things", "/nonsense"])
    def test_a_group_that_is_not_served_is_a_404_in_plain_text(self, cluster: Cluster, path: str) -> None:
        with pytest.raises(ApiException) as caught:
            cluster.request("GET", path)
        assert (caught.value.status, caught.value.body) == (404, "404 page not found\n")

    def test_a_new_deployment_has_an_empty_status_not_none(self, cluster: Cluster) -> None:
        name = some_name()
        created = cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0))
        assert created.status.available_replicas is None


class TestList:
    @pytest.fixture(scope="class")
    def labelled(self, cluster: Cluster) -> str:
        group = some_name()
        for value in "abc":
            body = config_map(some_name(), labels={"group": group, "v": value})
            cluster.core.create_namespaced_config_map(cluster.namespace, body)
        return group

    @pytest.mark.parametrize(
        ("selector", "picked"),
        [
            ("v=a", "a"),
            ("v==a", "a"),
            ("v!=a", "bc"),
            ("v in (a,b)", "ab"),
            ("v notin (a, b)", "c"),
            ("v", "abc"),
            ("!v", ""),
        ],
    )
    def test_selects_by_labels(self, cluster: Cluster, labelled: str, selector: str, picked: str) -> None:
        found = cluster.core.list_namespaced_config_map(
            cluster.namespace, label_selector=f"group={labelled},{selector}"
        )
        assert sorted(item.metadata.labels["v"] for item in found.items) == list(picked)

    def test_selects_by_name(self, cluster: Cluster, labelled: str) -> None:
        name = some_name()
        cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
        found = cluster.core.list_namespaced_config_map(cluster.namespace, field_selector=f"metadata.name={name}")
        assert [item.metadata.name for item in found.items] == [name]

    def test_refuses_a_field_that_cannot_be_selected_by(self, cluster: Cluster) -> None:
        with refused(400, "BadRequest") as status:
            cluster.core.list_namespaced_config_map(cluster.namespace, field_selector="data.a=1")
        fields = '"metadata.name", "metadata.namespace"'
        assert status["message"] == f'"data.a" is not a known field selector: only {fields}'
        with refused(400, "BadRequest") as status:
            cluster.core.list_namespaced_pod(cluster.namespace, field_selector="spec.a=1")
        assert status["message"] == "field label not supported: spec.a"

    def test_comes_in_pages(self, cluster: Cluster, labelled: str) -> None:
        path = cluster.path("configmaps")
        first = cluster.request("GET", path, labelSelector=f"group={labelled}", limit="2")
        token = first["metadata"]["continue"]
        second = cluster.request("GET", path, labelSelector=f"group={labelled}", limit="2", **{"continue": token})
        assert len(first["items"]) == 2
        assert len(second["items"]) == 1
        assert "continue" not in second["metadata"]

    def test_says_its_kind_and_version(self, cluster: Cluster) -> None:
        found = cluster.request("GET", cluster.path("deployments", group="apps/v1"))
        assert (found["kind"], found["apiVersion"]) == ("DeploymentList", "apps/v1")
        assert found["metadata"]["resourceVersion"].isdigit()


class TestReplace:
    def test_replaces_everything(self, cluster: Cluster) -> None:
        name = some_name()
        current = cluster.request("POST", cluster.path("configmaps"), config_map(name, {"a": "1", "b": "2"}))
        current["data"] = {"z": "1"}
        assert cluster.core.replace_namespaced_config_map(name, cluster.namespace, current).data == {"z": "1"}

    def test_refuses_what_was_read_before_someone_else_s_change(self, cluster: Cluster) -> None:
        name = some_name()
        stale = cluster.request("POST", cluster.path("configmaps"), config_map(name))
        cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}})
        with refused(409, "Conflict") as status:
            cluster.core.replace_namespaced_config_map(name, cluster.namespace, stale)
        assert "the object has been modified" in status["message"]


class TestPatch:
    @pytest.fixture
    def named(self, cluster: Cluster) -> str:
        name = some_name()
        cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name))
        return name

    @pytest.fixture
    def workload(self, cluster: Cluster) -> str:
        name = some_name()
        main = container(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])
        cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0, main))
        return name

    def test_strategic_merges_containers_and_variables_by_name(self, cluster: Cluster, workload: str) -> None:
        containers = [{"name": "side", "image": "s:1"}, {"name": "main", "env": [{"name": "C", "value": "2"}]}]
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        patched = cluster.apps.patch_namespaced_deployment(workload, cluster.namespace, patch)
        by_name = {c.name: c for c in patched.spec.template.spec.containers}
        assert set(by_name) == {"main", "side"}
        assert by_name["main"].command[0] == "sh"
        assert {variable.name for variable in by_name["main"].env} == {"A", "B", "C"}

    def test_strategic_deletes_an_item_by_directive(self, cluster: Cluster, workload: str) -> None:
        containers = [{"name": "main", "env": [{"name": "A", "$patch": "delete"}]}]
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        patched = cluster.apps.patch_namespaced_deployment(workload, cluster.namespace, patch)
        assert [variable.name for variable in patched.spec.template.spec.containers[0].env] == ["B"]

    def test_merge_replaces_lists_and_deletes_by_null(self, cluster: Cluster, workload: str) -> None:
        path = cluster.path("deployments", workload, "apps/v1")
        new = {"template": {"spec": {"containers": [{"name": "new", "image": "z:1"}]}}}
        patched = cluster.request("PATCH", path, {"metadata": {"annotations": {"k": "v"}}, "spec": new}, MERGE)
        assert [c["name"] for c in patched["spec"]["template"]["spec"]["containers"]] == ["new"]
        patched = cluster.request("PATCH", path, {"metadata": {"annotations": {"k": None}}}, MERGE)
        assert "k" not in patched["metadata"].get("annotations", {})

    def test_json_patch_tests_adds_and_removes(self, cluster: Cluster, named: str) -> None:
        patch = [
            {"op": "test", "path": "/data/a", "value": "1"},
            {"op": "add", "path": "/data/b", "value": "2"},
            {"op": "remove", "path": "/data/a"},
        ]
        assert cluster.request("PATCH", cluster.path("configmaps", named), patch, JSON)["data"] == {"b": "2"}

    def test_json_patch_whose_test_fails_changes_nothing(self, cluster: Cluster, named: str) -> None:
        patch = [{"op": "test", "path": "/data/a", "value": "no"}, {"op": "remove", "path": "/data/a"}]
        with refused(422, "Invalid"):
            cluster.request("PATCH", cluster.path("configmaps", named), patch, JSON)
        assert cluster.core.read_namespaced_config_map(named, cluster.namespace).data == {"a": "1"}

    def test_that_changes_nothing_keeps_the_version(self, cluster: Cluster, named: str) -> None:
        before = cluster.core.read_namespaced_config_map(named, cluster.namespace)
        after = cluster.core.patch_namespaced_config_map(named, cluster.namespace, {"data": {"a": "1"}})
        assert after.metadata.resource_version == before.metadata.resource_version

    def test_with_a_stale_version_is_a_conflict(self, cluster: Cluster, named: str) -> None:
        stale = cluster.core.read_namespaced_config_map(named, cluster.namespace).metadata.resource_version
        cluster.core.patch_namespaced_config_map(named, cluster.namespace, {"data": {"a": "2"}})
        with refused(409, "Conflict"):
            patch = {"metadata": {"resourceVersion": stale}, "data": {"a": "3"}}
            cluster.core.patch_namespaced_config_map(named, cluster.namespace, patch)

    def test_in_a_dry_run_shows_the_outcome_and_changes_nothing(self, cluster: Cluster, named: str) -> None:
        patch = {"data": {"a": "9"}}
        shown = cluster.core.patch_namespaced_config_map(named, cluster.namespace, patch, dry_run="All")
        assert shown.data["a"] == "9"
        assert cluster.core.read_namespaced_config_map(named, cluster.namespace).data["a"] == "1"

    def test_of_unknown_type_is_refused(self, cluster: Cluster, named: str) -> None:
        with refused(415):
            cluster.request("PATCH", cluster.path("configmaps", named), {"data": {}}, "application/json")


class TestSubresources:
    def test_scale_shows_and_sets_the_replicas(self, cluster: Cluster) -> None:
        name = some_name()
        cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 2))
        scale = cluster.apps.read_namespaced_deployment_scale(name, cluster.namespace)
        assert scale.spec.replicas == 2
        assert scale.status.selector == f"app={name}"
        cluster.apps.patch_namespaced_deployment_scale(name, cluster.namespace, {"spec": {"replicas": 0}})
        scaled = cluster.apps.read_namespaced_deployment(name, cluster.namespace)
        assert scaled.spec.replicas == 0
        assert scaled.metadata.generation == 2

    def test_status_is_written_apart_from_the_rest(self, cluster: Cluster) -> None:
        name = some_name()
        cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim(name))
        path = cluster.path("persistentvolumeclaims", name)
        ignored = cluster.request("PATCH", path, {"status": {"phase": "Bound"}}, MERGE)
        assert ignored["status"]["phase"] == "Pending"
        patch = {"spec": {"storageClassName": "other"}, "status": {"capacity": {"storage": "1Gi"}}}
        written = cluster.request("PATCH", f"{path}/status", patch, MERGE)
        assert written["status"]["capacity"] == {"storage": "1Gi"}
        assert written["spec"]["storageClassName"] == "none"

    def test_the_generation_counts_changes_of_the_spec_only(self, cluster: Cluster) -> None:
        name = some_name()
        cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0))
        labelled = cluster.apps.patch_namespaced_deployment(
            name, cluster.namespace, {"metadata": {"labels": {"q": "1"}}}
        )
        assert labelled.metadata.generation == 1
        changed = cluster.apps.patch_namespaced_deployment(name, cluster.namespace, {"spec": {"minReadySeconds": 2}})
        assert changed.metadata.generation == 2

    def test_the_annotations_of_a_deployment_count_as_its_spec(self, cluster: Cluster) -> None:
        name = some_name()
        cluster.apps.create_namespaced_deployment(cluster.namespace, deployment(name, 0))
        patch = {"metadata": {"annotations": {"a": "1"}}}
        annotated = cluster.apps.patch_namespaced_deployment(name, cluster.namespace, patch)
        assert annotated.metadata.generation == 2


class TestAccess:
    def test_a_wrong_token_is_unauthorized(self, cluster: Cluster) -> None:
        settings = client.Configuration()
        settings.host = cluster.api.configuration.host
        settings.ssl_ca_cert = cluster.api.configuration.ssl_ca_cert
        settings.api_key = {"authorization": "Bearer wrong"}
        with refused(401, "Unauthorized"):
            client.CoreV1Api(client.ApiClient(settings)).list_namespaced_pod(cluster.namespace)

    def test_what_a_user_may_not_do_is_forbidden_in_words(self, cluster: Cluster, limited_kubeconfig: str) -> None:
        limited = client.CoreV1Api(config.new_client_from_config(limited_kubeconfig))
        with refused(403, "Forbidden") as status:
            limited.list_namespaced_secret(cluster.namespace)
        assert 'cannot list resource "secrets" in API group ""' in status["message"]
        assert f'in the namespace "{cluster.namespace}"' in status["message"]

    @pytest.mark.parametrize(("verb", "resource", "limited_may"), [("list", "secrets", False), ("get", "pods", True)])
    def test_a_review_says_beforehand_what_is_allowed(
        self, cluster: Cluster, kubeconfig: str, limited_kubeconfig: str, verb: str, resource: str, limited_may: bool
    ) -> None:
        wanted = {"verb": verb, "resource": resource, "namespace": cluster.namespace}
        review = {"spec": {"resourceAttributes": wanted}}
        answers = []
        for file in (kubeconfig, limited_kubeconfig):
            authorization = client.AuthorizationV1Api(config.new_client_from_config(file))
            answers.append(authorization.create_self_subject_access_review(review).status.allowed)
        assert answers == [True, limited_may]
