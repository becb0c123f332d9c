"""The checks of what the identity is granted: the right roles, on the narrowest scopes, all that the code asks for."""

import re
from collections.abc import Iterator
from typing import Any

from bicep_files import BicepFile, Computed
from project import MAIN, Project

from phases.reading.problems import PERMISSIONS, SNAPSHOT_GROUP, Permission

# Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "clusterUser": "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
    "secretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "blobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "queueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "tableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "metricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "durableTaskDataContributor": "0ad04412-c4d5-4796-b79c-f76d14c8d402",
}
GRANTS = {
    ("clusterUser", "Microsoft.ContainerService/managedClusters"),
    ("clusterRole", "Microsoft.ContainerService/managedClusters"),
    ("namespaceRole", "Microsoft.ContainerService/managedClusters/namespaces"),
    ("parametersRole", "Microsoft.DBforPostgreSQL/flexibleServers"),
    ("secretsUser", "Microsoft.KeyVault/vaults/secrets"),
    ("blobDataOwner", "Microsoft.Storage/storageAccounts"),
    ("queueDataContributor", "Microsoft.Storage/storageAccounts"),
    ("tableDataContributor", "Microsoft.Storage/storageAccounts"),
    ("metricsPublisher", "Microsoft.Insights/components"),
    ("durableTaskDataContributor", "Microsoft.DurableTask/schedulers/taskHubs"),
}
"""(Role, type of the one resource that is its scope): exactly these."""
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CLUSTER = "infra/modules/clusterAccess.bicep"
DATABASE = "infra/modules/databaseAccess.bicep"
AKS = "Microsoft.ContainerService/managedClusters/"
SERVER = "Microsoft.DBforPostgreSQL/flexibleServers/"
ARM_ACTIONS = {f"{SERVER}read", f"{SERVER}configurations/read", f"{SERVER}configurations/write"}
"""What `shared.adapters.flexible_server` calls."""
AZURE_KINDS = {
    *("apps/deployments", "apps/replicasets", "autoscaling/horizontalpodautoscalers", "batch/jobs", "configmaps"),
    *("events", "metrics.k8s.io/pods", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods"),
    *("policy/poddisruptionbudgets", "secrets", "services", "storage.k8s.io/storageclasses"),
}
"""Kinds with data actions of their own; a role that names another action is refused whole.
Source: learn.microsoft.com/azure/role-based-access-control/permissions/containers#microsoftcontainerservice"""
READ, WRITE = {"get", "list", "watch"}, {"create", "patch", "update"}
RBAC = "infra/kubernetes/rbac/"


def role_ids_are_right(project: Project) -> list[str]:
    """Every id of a built-in role is the one that its variable's name says, and no other id stands anywhere."""
    problems = []
    for file in project.bicep.values():
        ids = {name: v.body for name, v in file.of("variables").items() if isinstance(v.body, str)}
        for name, value in ids.items():
            if (GUID.fullmatch(value) or name in ROLES) and ROLES.get(name) != value:
                problems.append(f"{file.path}: {name} is not role {value}")
        problems += [f"{file.path}: a bare id {g}" for g in GUID.findall(file.text) if g not in ids.values()]
    return problems


def roles_are_granted(project: Project) -> list[str]:
    """The identity gets every role that the app works with, and no other; each on one resource of the right kind."""
    found = {grant for file in project.bicep.values() for grant in _grants(file)}
    problems = [f"nobody is granted {role} on {scope}" for role, scope in sorted(GRANTS - found)]
    return problems + [f"{role} is granted on {scope}, which is not needed" for role, scope in sorted(found - GRANTS)]


def grants_are_the_identitys(project: Project) -> list[str]:
    problems = []
    for file in project.bicep.values():
        for name, resource in file.created.items():
            if resource.target == "Microsoft.Authorization/roleAssignments":
                properties = resource.body.get("properties", {})
                if _text(properties.get("principalId")) != "principalId":
                    problems.append(f"{file.path}: {name} grants to another than the app's identity")
                if properties.get("principalType") != "ServicePrincipal":
                    problems.append(f"{file.path}: {name} does not say that the identity is a ServicePrincipal")
    for name, module in project.bicep[MAIN].of("modules").items():
        given = module.body.get("params", {}).get("principalId")
        if given is not None and _text(given) != "identity.outputs.principalId":
            problems.append(f"{MAIN}: {name} gets {_text(given)} in the place of the app's identity")
    return problems


def custom_roles_are_narrow(project: Project) -> list[str]:
    """Actions that Azure knows, no wildcard, and nobody outside the resource group can be given the role."""
    problems = []
    for file in project.bicep.values():
        for name, body in _definitions(file):
            actions = [a for p in body["permissions"] for key in ("actions", "dataActions") for a in p.get(key, [])]
            problems += [f"{file.path}: {name} has the wildcard {a}" for a in actions if "*" in str(a)]
            problems += [f"{file.path}: {name} may manage grants: {a}" for a in actions if "Authorization" in str(a)]
            problems += [f"{file.path}: {name} has {a}, which Azure does not know" for a in actions if not _known(a)]
            scopes = [_text(scope) for scope in body.get("assignableScopes", [])]
            if scopes != ["resourceGroup().id"]:
                problems.append(f"{file.path}: {name} can be assigned on {', '.join(scopes) or 'nothing'}")
    for path, rules in _rules(project):
        problems += [
            f"{path}: a wildcard in {r}" for r in rules if "*" in [*r["verbs"], *r["resources"], *r["apiGroups"]]
        ]
    return problems


def roles_hold_what_the_app_asks_for(project: Project) -> list[str]:
    """Every verb of the preflight is in Kubernetes' own roles and in Azure's, and every ARM call in the server's."""
    problems = []
    for permission in PERMISSIONS:
        kind, role = ("Role", "namespaceRole") if permission.namespaced else ("ClusterRole", "clusterRole")
        if not any(covers(rule, permission) for rule in kubernetes_rules(project, kind)):
            problems.append(f"{RBAC}: {kind} lacks {permission.verb} {permission.kind}")
        if (action := azure_action(permission)) not in azure_actions(project, CLUSTER, role):
            problems.append(f"{CLUSTER}: {role} lacks {action}")
    granted = azure_actions(project, DATABASE, "parametersRole")
    problems += [f"{DATABASE}: parametersRole lacks {action}" for action in sorted(ARM_ACTIONS - granted)]
    return problems + [
        f"{DATABASE}: parametersRole has {action} for nothing" for action in sorted(granted - ARM_ACTIONS)
    ]


def both_ways_grant_the_same(project: Project) -> list[str]:
    """What Kubernetes' own role lets the identity do, Azure's does too, and the other way round."""
    problems = []
    for kind, role in (("Role", "namespaceRole"), ("ClusterRole", "clusterRole")):
        kubernetes = {
            azure_action(Permission(verb, resource.partition("/")[0], group, subresource=resource.partition("/")[2]))
            for rule in kubernetes_rules(project, kind)
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            if group != SNAPSHOT_GROUP
        }
        azure = azure_actions(project, CLUSTER, role)
        problems += [f"{CLUSTER}: {role} lacks {action}, which {RBAC} grants" for action in sorted(kubernetes - azure)]
        problems += [f"{RBAC}: {kind} lacks what {CLUSTER} grants: {each}" for each in sorted(azure - kubernetes)]
    return problems


def bindings_are_the_identitys(project: Project) -> list[str]:
    subjects = [s for m in manifests(project) for s in m.get("subjects", ())]
    wrong = [s for s in subjects if (s["kind"], s["name"]) != ("User", "IDENTITY_OBJECT_ID")]
    few = [f"{RBAC}: {len(subjects)} bindings, not 2"] if len(subjects) != 2 else []
    return few + [f"{RBAC}: {s['kind']} {s['name']} is bound, not the identity" for s in wrong]


def the_manual_says_what_each_is_for(project: Project) -> list[str]:
    manual = project.texts["docs/deploy.md"]
    text = "".join(file.text for file in project.bicep.values())
    custom = re.findall(r"roleName: '(Scaleout [a-z ]+) \$", text)
    problems = [f"docs/deploy.md: {name} ({id_})" for name, id_ in ROLES.items() if f"`{id_}`" not in manual]
    return problems + [f"docs/deploy.md: the role {name}" for name in custom if f"*{name}*" not in manual]


def azure_action(permission: Permission) -> str:
    """The data action that Azure checks for a verb. Source: learn.microsoft.com/azure/aks/manage-azure-rbac."""
    verb = "read" if permission.verb in READ else "write" if permission.verb in WRITE else permission.verb
    verb = "exec/action" if permission.subresource == "exec" else verb
    return AKS + "/".join(filter(None, (permission.group, permission.resource, verb)))


def azure_actions(project: Project, path: str, role: str) -> set[str]:
    body = dict(_definitions(project.bicep[path])).get(role, {"permissions": []})
    return {str(a) for p in body["permissions"] for key in ("actions", "dataActions") for a in p.get(key, [])}


def manifests(project: Project) -> list[dict[str, Any]]:
    return [m for path in sorted(project.under(RBAC, ".yaml")) for m in project.yaml(path)]


def kubernetes_rules(project: Project, kind: str) -> list[dict[str, Any]]:
    return next(m for m in manifests(project) if m["kind"] == kind)["rules"]


def _rules(project: Project) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for path in sorted(project.under(RBAC, ".yaml")):
        for manifest in project.yaml(path):
            yield path, manifest.get("rules", [])


def covers(rule: dict[str, Any], permission: Permission) -> bool:
    return (
        permission.verb in rule["verbs"]
        and permission.kind in rule["resources"]
        and permission.group in rule["apiGroups"]
    )


def _known(action: str) -> bool:
    kind = re.sub(r"/(?:read|write|delete)$|(?<=pods)/exec/action$", "", action)
    return action in ARM_ACTIONS or (kind != action and kind.removeprefix(AKS) in AZURE_KINDS)


def _definitions(file: BicepFile) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in file.created.items():
        if resource.target == "Microsoft.Authorization/roleDefinitions":
            yield name, resource.body["properties"]


def _grants(file: BicepFile) -> Iterator[tuple[str, str]]:
    """(role, scope's type) of every role assignment, with loops over roles unrolled."""
    resources = file.of("resources")
    for resource in file.created.values():
        if resource.target != "Microsoft.Authorization/roleAssignments":
            continue
        scope = re.match(r"\w+", _text(resource.body.get("scope")))
        kind = resources[scope[0]].target if scope and scope[0] in resources else "the whole resource group"
        for role in _roles(file, resource.node.text.decode(), _text(resource.body["properties"]["roleDefinitionId"])):
            yield role, kind


def _roles(file: BicepFile, declaration: str, expression: str) -> Iterator[str]:
    """The roles that `roleDefinitionId` may name: a variable, a definition's id, or what a loop runs over."""
    loops = dict(re.findall(r"\[\s*for \(?(\w+)(?:, \w+\))? in (\w+)", declaration))
    variables = file.of("variables")
    for name in re.findall(r"\b[A-Za-z_]\w*", re.sub(r"'[^']*'|\.\w+", "", expression)):
        over = loops.get(name, name)
        if over in variables and over not in ROLES and not isinstance(variables[over].body, str):
            yield from _roles(file, "", variables[over].node.text.decode().partition("=")[2])
        elif over in ROLES or over in variables or over in file.of("resources"):
            yield over


def _text(value: Any) -> str:
    return value.text if isinstance(value, Computed) else str(value or "")


CHECKS = (
    role_ids_are_right,
    roles_are_granted,
    grants_are_the_identitys,
    custom_roles_are_narrow,
    roles_hold_what_the_app_asks_for,
    both_ways_grant_the_same,
    bindings_are_the_identitys,
    the_manual_says_what_each_is_for,
)
