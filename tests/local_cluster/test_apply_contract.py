"""Contract: server-side apply shares an object between managers, and says who holds what."""

from typing import Any

import pytest
from fix_contract import (
    APPLY,
    STRATEGIC,
    Cluster,
    config_map,
    container,
    deployment,
    refused,
    some_name,
)


@pytest.fixture
def name() -> str:
    return some_name()


def owners(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields each manager holds, by `manager operation[ subresource]`."""
    return {
        " ".join(filter(None, (entry["manager"], entry["operation"], entry.get("subresource")))): entry["fieldsV1"]
        for entry in obj["metadata"]["managedFields"]
    }


def test_apply_creates_then_updates(cluster: Cluster, name: str) -> None:
    created = cluster.apply(config_map(name))
    updated = cluster.apply(config_map(name, {"a": "5"}))
    assert updated["data"] == {"a": "5"}
    assert updated["metadata"]["uid"] == created["metadata"]["uid"]


def test_the_applied_fields_and_no_others_are_the_managers(cluster: Cluster, name: str) -> None:
    main = container(ports=[{"containerPort": 80}])
    applied = cluster.apply(deployment(name, 0, main))
    spec = owners(applied)["one Apply"]["f:spec"]
    assert spec["f:replicas"] == {}
    assert "f:strategy" not in spec, "a default belongs to nobody"
    assert spec["f:selector"] == {}, "a label selector is one atomic field"
    item = spec["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    assert item["."] == item["f:image"] == {}
    assert set(item["f:ports"]) == {'k:{"containerPort":80,"protocol":"TCP"}'}


def test_the_same_again_changes_nothing(cluster: Cluster, name: str) -> None:
    assert cluster.apply(config_map(name)) == cluster.apply(config_map(name))


def test_another_value_is_a_conflict_that_names_manager_and_field(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name))
    with refused(409, "Conflict") as status:
        cluster.apply(config_map(name, {"a": "2"}), "two")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    cause = status["details"]["causes"][0]
    assert cause == {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}


def test_several_conflicts_are_listed_by_manager(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name, {"a": "1", "b": "1"}))
    with refused(409) as status:
        cluster.apply(config_map(name, {"a": "2", "b": "2"}), "two")
    assert status["message"] == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'


def test_the_same_value_is_shared(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name))
    shared = owners(cluster.apply(config_map(name), "two"))
    assert shared["one Apply"]["f:data"] == shared["two Apply"]["f:data"] == {"f:a": {}}


@pytest.mark.parametrize("nothing", [{}, None])
def test_an_applied_map_without_entries_is_owned_as_a_whole(cluster: Cluster, name: str, nothing: Any) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": nothing}
    path = cluster.path("configmaps", name)
    cluster.request("PATCH", path, body, APPLY, fieldManager="one")
    with refused(409, "Conflict") as status:
        cluster.request("PATCH", path, {**body, "data": {"a": "1"}}, APPLY, fieldManager="two")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data'


def test_items_of_a_second_manager_come_after_those_that_are_there(cluster: Cluster, name: str) -> None:
    for manager, variable in (("one", "A"), ("two", "B")):
        main = container(env=[{"name": variable, "value": "1"}])
        applied = cluster.apply(deployment(name, 0, main), manager)
    assert [one["name"] for one in applied["spec"]["template"]["spec"]["containers"][0]["env"]] == ["A", "B"]


def test_force_takes_the_field_over(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name))
    forced = cluster.apply(config_map(name, {"a": "2"}), "two", force_conflicts=True)
    assert forced["data"] == {"a": "2"}
    assert "f:data" not in owners(forced).get("one Apply", {})


def test_a_field_no_longer_applied_goes(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name, {"a": "1", "b": "2"}))
    assert cluster.apply(config_map(name, {"a": "1"}))["data"] == {"a": "1"}


def test_a_field_no_longer_applied_stays_while_another_applies_it(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name, {"a": "1", "b": "2"}))
    cluster.apply(config_map(name, {"b": "2"}), "two")
    assert cluster.apply(config_map(name, {"a": "1"}))["data"] == {"a": "1", "b": "2"}


def test_fields_of_others_stay(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name))
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"z": "9"}})
    assert cluster.apply(config_map(name, {"a": "2"}))["data"] == {"a": "2", "z": "9"}


def test_a_patch_takes_the_field_away_from_who_applied_it(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name))
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "7"}}, field_manager="hand")
    with refused(409) as status:
        cluster.apply(config_map(name))
    assert status["details"]["causes"][0]["message"] == 'conflict with "hand" using v1'


def test_a_container_that_is_no_longer_applied_goes(cluster: Cluster, name: str) -> None:
    both = deployment(name, 0)
    both["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "s:1"})
    cluster.apply(both)
    applied = cluster.apply(deployment(name, 0))
    assert [each["name"] for each in applied["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_a_manual_scale_conflicts_with_applied_replicas(cluster: Cluster, name: str) -> None:
    cluster.apply(deployment(name, 0))
    body = {"spec": {"replicas": 1}}
    cluster.apps.patch_namespaced_deployment_scale(name, cluster.namespace, body, field_manager="hand")
    with refused(409, "Conflict") as status:
        cluster.apply(deployment(name, 0))
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "hand" with subresource "scale" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_dropping_replicas_as_their_only_owner_resets_them_to_one(cluster: Cluster, name: str) -> None:
    cluster.apply(deployment(name, 3))
    without = deployment(name)
    del without["spec"]["replicas"]
    assert cluster.apply(without)["spec"]["replicas"] == 1


def test_a_defaulted_rolling_update_cannot_be_applied_away(cluster: Cluster, name: str) -> None:
    cluster.apply(deployment(name, 0))
    with refused(422, "Invalid") as status:
        cluster.apply(deployment(name, 0, strategy={"type": "Recreate"}))
    assert status["details"]["causes"][0]["field"] == "spec.strategy.rollingUpdate"


def test_a_strategic_patch_can_switch_to_recreate(cluster: Cluster, name: str) -> None:
    cluster.apply(deployment(name, 0))
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    path = cluster.path("deployments", name, "apps/v1")
    assert cluster.request("PATCH", path, patch, STRATEGIC)["spec"]["strategy"] == {"type": "Recreate"}


def test_a_dry_run_shows_the_outcome_and_changes_nothing(cluster: Cluster, name: str) -> None:
    cluster.apply(config_map(name))
    shown = cluster.apply(config_map(name, {"a": "2"}), "two", force_conflicts=True, dry_run="All")
    assert shown["data"] == {"a": "2"}
    assert cluster.core.read_namespaced_config_map(name, cluster.namespace).data == {"a": "1"}


def test_a_field_manager_is_required(cluster: Cluster, name: str) -> None:
    with refused(422) as status:
        cluster.request("PATCH", cluster.path("configmaps", name), config_map(name), APPLY)
    assert "fieldManager: Required value" in status["message"]


def test_managed_fields_may_not_be_applied(cluster: Cluster, name: str) -> None:
    applied = cluster.apply(config_map(name))
    with refused(400):
        cluster.request("PATCH", cluster.path("configmaps", name), applied, APPLY, fieldManager="one")


def test_an_update_owns_what_it_sets_defaults_included(cluster: Cluster, name: str) -> None:
    created = cluster.request(
        "POST", cluster.path("deployments", group="apps/v1"), deployment(name, 0), fieldManager="m"
    )
    held = owners(created)["m Update"]["f:spec"]
    assert held["f:replicas"] == {}
    assert held["f:strategy"]["f:type"] == {}
    assert held["f:template"]["f:metadata"]["f:labels"] == {".": {}, "f:app": {}}
