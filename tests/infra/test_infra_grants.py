"""The manifests that grant inside the cluster are what Kubernetes takes, and cover what is only wished for too."""

from typing import Any

import grant_checks
import kubernetes_validate
import pytest
from project import read_project

from phases.reading.problems import SNAPSHOT_GROUP, SNAPSHOT_PERMISSIONS

PROJECT = read_project()


@pytest.mark.parametrize(
    "manifest", grant_checks.manifests(PROJECT), ids=lambda m: f"{m['kind']}/{m['metadata']['name']}"
)
def test_the_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.36", strict=True)


@pytest.mark.parametrize("permission", SNAPSHOT_PERMISSIONS, ids=lambda p: f"{p.verb}-{p.kind}")
def test_the_manifests_grant_what_snapshots_need(permission: Any) -> None:
    rules = grant_checks.kubernetes_rules(PROJECT, "Role" if permission.namespaced else "ClusterRole")
    assert any(grant_checks.covers(rule, permission) for rule in rules)


def test_azure_has_no_data_actions_for_snapshots() -> None:
    """So a role that names them would be refused, and the check of both ways passes over them."""
    assert SNAPSHOT_GROUP not in PROJECT.texts[grant_checks.CLUSTER]
