"""Kinds that a CustomResourceDefinition brings: served at once, held to their schema, gone with the definition."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_contract import Cluster, eventually, process, refused
from kubernetes import client
from kubernetes.client.rest import ApiException

from local.prometheus.operator import GROUP, definitions

RULES = f"prometheusrules.{GROUP}"
WRONG = {"groups": [{"rules": [{"expr": "up"}]}]}  # a group has a name


def rule(*groups: str) -> dict:
    spec = {"groups": [{"name": name, "rules": [{"alert": "A", "expr": "up == 0", "for": "1m"}]} for name in groups]}
    return {"apiVersion": f"{GROUP}/v1", "kind": "PrometheusRule", "metadata": {"name": "r"}, "spec": spec}


@pytest.fixture
def objects(cluster: Cluster) -> Iterator[client.CustomObjectsApi]:
    extensions = client.ApiextensionsV1Api(cluster.api)
    definition = definitions()[0]
    extensions.create_custom_resource_definition(definition)

    def established() -> bool:
        status = extensions.read_custom_resource_definition(RULES).status
        return any(c.type == "Established" and c.status == "True" for c in (status and status.conditions) or [])

    eventually(established, "the definition is established")
    found = client.CustomObjectsApi(cluster.api)
    eventually(lambda: isinstance(listed(found, cluster), list), "its kind is served")
    yield found
    extensions.delete_custom_resource_definition(RULES)
    eventually(lambda: listed(found, cluster) is None, "its kind is gone")


def listed(objects: client.CustomObjectsApi, cluster: Cluster) -> list | None:
    """None: the API server does not know the kind."""
    try:
        return objects.list_namespaced_custom_object(GROUP, "v1", cluster.namespace, "prometheusrules")["items"]
    except ApiException as error:
        assert error.status == 404
        return None


def create(objects: client.CustomObjectsApi, cluster: Cluster, body: dict) -> dict:
    return objects.create_namespaced_custom_object(GROUP, "v1", cluster.namespace, "prometheusrules", body)


def test_a_kind_is_unknown_until_its_definition_comes(cluster: Cluster) -> None:
    assert listed(client.CustomObjectsApi(cluster.api), cluster) is None


def test_its_group_is_discovered_and_its_objects_are_kept(objects: client.CustomObjectsApi, cluster: Cluster) -> None:
    assert GROUP in [group.name for group in client.ApisApi(cluster.api).get_api_versions().groups]
    made = create(objects, cluster, rule("g"))
    assert made["spec"] == rule("g")["spec"]
    assert made["metadata"]["generation"] == 1
    assert [each["metadata"]["name"] for each in listed(objects, cluster) or []] == ["r"]


@pytest.mark.parametrize("path", [f"/apis/{GROUP}/v9/prometheusrules", f"/apis/{GROUP}/v1/nonsense"])
@pytest.mark.usefixtures("objects")
def test_what_its_group_has_not_is_a_404_in_plain_text(cluster: Cluster, path: str) -> None:
    with pytest.raises(ApiException) as caught:
        cluster.request("GET", path)
    assert (caught.value.status, caught.value.body) == (404, "404 page not found\n")


def test_what_the_schema_requires_is_required(objects: client.CustomObjectsApi, cluster: Cluster) -> None:
    with refused(422):
        create(objects, cluster, rule() | {"spec": WRONG})


def test_groups_are_merged_by_name_under_server_side_apply(objects: client.CustomObjectsApi, cluster: Cluster) -> None:
    kind = cluster.kind(f"{GROUP}/v1", "PrometheusRule")
    for manager, name in (("one", "a"), ("two", "b")):
        kind.server_side_apply(body=rule(name), name="r", namespace=cluster.namespace, field_manager=manager)
    found = kind.get(name="r", namespace=cluster.namespace).to_dict()
    assert [group["name"] for group in found["spec"]["groups"]] == ["a", "b"]


def test_with_the_definition_go_its_objects(objects: client.CustomObjectsApi, cluster: Cluster) -> None:
    create(objects, cluster, rule("g"))
    extensions = client.ApiextensionsV1Api(cluster.api)
    extensions.delete_custom_resource_definition(RULES)
    eventually(lambda: listed(objects, cluster) is None, "its kind is gone")
    extensions.create_custom_resource_definition(definitions()[0])
    eventually(lambda: listed(objects, cluster) == [], "it comes back empty")


def test_definitions_and_objects_outlive_the_process(tmp_path: Path) -> None:
    for again in (False, True):
        with process("local.kubernetes", "--dir", tmp_path) as ready:
            found = Cluster(ready["kubeconfig"], "default")
            objects = client.CustomObjectsApi(found.api)
            if not again:
                client.ApiextensionsV1Api(found.api).create_custom_resource_definition(definitions()[0])
                create(objects, found, rule("g"))
            assert len(listed(objects, found) or []) == 1
