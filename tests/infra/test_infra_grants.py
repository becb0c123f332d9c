"""What the app is granted in the cluster is what it asks for at start, in both ways of granting, and little more."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from bicep_checks import ROLES
from bicep_files import ROOT, read_files

from phases.findings import PERMISSIONS, SNAPSHOT_GROUP, SNAPSHOT_PERMISSIONS

RBAC = ROOT / "infra/kubernetes/rbac"
AZURE = "Microsoft.ContainerService/managedClusters/"
READ, WRITE = {"get", "list", "watch"}, {"create", "patch", "update"}


def manifests() -> list[dict[str, Any]]:
    return [m for file in sorted(RBAC.glob("*.yaml")) for m in yaml.safe_load_all(file.read_text()) if m]


def rules(kind: str) -> list[dict[str, Any]]:
    return next(m for m in manifests() if m["kind"] == kind)["rules"]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: f"{m['kind']}/{m['metadata']['name']}")
def test_the_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.36", strict=True)


@pytest.mark.parametrize("permission", (*PERMISSIONS, *SNAPSHOT_PERMISSIONS), ids=lambda p: f"{p.verb}-{p.kind}")
def test_the_manifests_grant_what_the_preflight_asks_for(permission: Any) -> None:
    granted = rules("Role" if permission.namespaced else "ClusterRole")
    assert any(
        permission.verb in r["verbs"] and permission.kind in r["resources"] and permission.group in r["apiGroups"]
        for r in granted
    )


@pytest.mark.parametrize("permission", PERMISSIONS, ids=lambda p: f"{p.verb}-{p.kind}")
def test_the_azure_roles_grant_what_the_preflight_asks_for(permission: Any) -> None:
    verb = "read" if permission.verb in READ else "write" if permission.verb in WRITE else permission.verb
    verb = "exec/action" if permission.subresource == "exec" else verb
    action = AZURE + "/".join(filter(None, (permission.group, permission.resource, verb)))
    assert action in azure_actions("namespaceRole" if permission.namespaced else "clusterRole")


@pytest.mark.parametrize(("kind", "role"), [("Role", "namespaceRole"), ("ClusterRole", "clusterRole")])
def test_both_ways_grant_the_same_kinds(kind: str, role: str) -> None:
    """But for snapshots, for which Azure has no data actions: a role that names them would be refused."""
    in_kubernetes = {
        "/".join(filter(None, (group, resource.partition("/")[0])))
        for rule in rules(kind)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if group != SNAPSHOT_GROUP
    }
    in_azure = {a.removeprefix(AZURE).removesuffix("/exec/action").removesuffix("/read") for a in azure_actions(role)}
    in_azure = {kind for kind in in_azure if not kind.endswith(("/write", "/delete"))}
    assert in_azure == in_kubernetes


def test_nobody_is_granted_everything() -> None:
    for manifest in manifests():
        for rule in manifest.get("rules", ()):
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]


def test_the_manual_says_what_every_grant_is_for() -> None:
    manual = (ROOT / "docs/deploy.md").read_text()
    used = {value for file in read_files().values() for value in file.strings if value in ROLES.values()}
    custom = re.findall(r"roleName: '(Scaleout [a-z ]+) \$", "".join(f.text for f in read_files().values()))
    assert [role for role in used if f"`{role}`" not in manual] == []
    assert len(custom) == 3
    assert [name for name in custom if f"*{name}*" not in manual] == []


def test_every_binding_is_for_the_identity() -> None:
    subjects = [s for m in manifests() for s in m.get("subjects", ())]
    assert {(s["kind"], s["name"]) for s in subjects} == {("User", "IDENTITY_OBJECT_ID")}
    assert len(subjects) == 2


def azure_actions(role: str) -> list[str]:
    file = read_files()[str(Path("infra/modules/clusterAccess.bicep"))]
    body = next(body for name, _, body in file.bodies() if name == role)
    return list(body["properties"]["permissions"][0]["dataActions"])
