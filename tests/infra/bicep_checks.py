"""The checks of the Azure resources: each takes the files and returns the problems that it finds."""

import enum
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from bicep_files import FUNCTIONS, MAIN, BicepFile, body_of

type Files = Mapping[str, BicepFile]

MODELS = {
    "Microsoft.Authorization/roleAssignments": (
        "azure.mgmt.authorization.v2022_04_01.models",
        "RoleAssignmentCreateParameters",
    ),
    "Microsoft.Authorization/roleDefinitions": ("azure.mgmt.authorization.v2022_04_01.models", "RoleDefinition"),
    "Microsoft.DurableTask/schedulers": ("azure.mgmt.durabletask.models", "Scheduler"),
    "Microsoft.DurableTask/schedulers/taskHubs": ("azure.mgmt.durabletask.models", "TaskHub"),
    "Microsoft.Insights/actionGroups": ("azure.mgmt.monitor.models", "ActionGroupResource"),
    "Microsoft.Insights/components": (
        "azure.mgmt.applicationinsights.v2020_02_02.models",
        "ApplicationInsightsComponent",
    ),
    "Microsoft.Insights/scheduledQueryRules": ("azure.mgmt.monitor.models", "ScheduledQueryRuleResource"),
    "Microsoft.Insights/workbooks": ("azure.mgmt.applicationinsights.v2023_06_01.models", "Workbook"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("azure.mgmt.msi.v2024_11_30.models", "Identity"),
    "Microsoft.Network/privateEndpoints": ("azure.mgmt.network.models", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ("azure.mgmt.network.models", "PrivateDnsZoneGroup"),
    "Microsoft.Network/virtualNetworks": ("azure.mgmt.network.models", "VirtualNetwork"),
    "Microsoft.OperationalInsights/workspaces": ("azure.mgmt.loganalytics.models", "Workspace"),
    "Microsoft.Storage/storageAccounts": ("azure.mgmt.storage.models", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("azure.mgmt.storage.models", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("azure.mgmt.storage.models", "BlobContainer"),
    "Microsoft.Web/serverfarms": ("azure.mgmt.web.models", "AppServicePlan"),
    "Microsoft.Web/sites": ("azure.mgmt.web.models", "Site"),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (
        "azure.mgmt.web.models",
        "CsmPublishingCredentialsPoliciesEntity",
    ),
}
BY_NAME = {"appsettings": "StringDictionary", "authsettingsV2": "SiteAuthSettingsV2"}  # Microsoft.Web/sites/config
# Three types whose SDKs would be installed for one object each.
PLAIN = {
    "Microsoft.Resources/resourceGroups": {"location", "tags"},
    "Microsoft.Network/privateDnsZones": {"location", "tags"},
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": {"location", "tags", "properties"},
}
BICEP_ONLY = {"name", "parent", "scope", "dependsOn"}
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
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SECRET_FUNCTIONS = re.compile(r"\b(list(?:Keys|Secrets|KeyValue|AccountSas|ServiceSas|ConnectionStrings)|getSecret)\b")
SECRET_WORDS = re.compile(r"password|secret|accountkey|sharedaccess|connectionstring|instrumentationkey", re.IGNORECASE)
REQUIRED = {
    "infra/modules/storage.bicep": {
        "account.properties.allowSharedKeyAccess": False,
        "account.properties.allowBlobPublicAccess": False,
        "account.properties.supportsHttpsTrafficOnly": True,
        "account.properties.minimumTlsVersion": "TLS1_2",
        "packageContainer.properties.publicAccess": "None",
    },
    "infra/modules/monitoring.bicep": {
        "insights.properties.DisableLocalAuth": True,
        "workspace.properties.features.disableLocalAuth": True,
    },
    "infra/modules/functionApp.bicep": {
        "plan.sku.name": "FC1",
        "app.identity.type": "UserAssigned",
        "app.properties.httpsOnly": True,
        "app.properties.siteConfig.minTlsVersion": "1.2",
        "app.properties.siteConfig.ftpsState": "Disabled",
        "app.properties.functionAppConfig.runtime.name": "python",
        "app.properties.functionAppConfig.runtime.version": "3.13",
        "app.properties.functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
        "noFtpPassword.properties.allow": False,
        "noDeployPassword.properties.allow": False,
    },
}


def bodies_fit_their_models(files: Files) -> list[str]:
    """Every property is one that the service's own SDK knows, and a fixed value one that it allows."""
    problems: list[str] = []
    for file in files.values():
        for name, resource, body in file.bodies():
            where = f"{file.path}: {name}"
            kind = resource["type"]
            if kind in PLAIN:
                extra = set(body) - PLAIN[kind] - BICEP_ONLY
                problems += [f"{where}.{key}: not in {kind}" for key in sorted(extra)]
                continue
            module, model = MODELS.get(kind) or ("azure.mgmt.web.models", BY_NAME.get(body["name"], ""))
            if not model:
                problems.append(f"{where}: no model is known for {kind}")
                continue
            inner = {key: value for key, value in body.items() if key not in BICEP_ONLY}
            _check_body(importlib.import_module(module), model, inner, where, file, problems)
    return problems


def api_versions_are_released(files: Files) -> list[str]:
    return [
        f"{file.path}: {name} uses {resource['api_version']}"
        for file in files.values()
        for name, resource in file.names("resources").items()
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", resource["api_version"])
    ]


def names_are_declared_and_used(files: Files) -> list[str]:
    """No name stands for nothing, and nothing is declared for no one."""
    problems = []
    for file in files.values():
        used = set(file.used)
        unknown = used - file.symbols - file.loop_variables - FUNCTIONS
        problems += [f"{file.path}: {name} is not declared" for name in sorted(unknown)]
        idle = (set(file.names("parameters")) | set(file.names("variables"))) - used
        problems += [f"{file.path}: {name} is not used" for name in sorted(idle)]
    return problems


def modules_get_what_they_take(files: Files) -> list[str]:
    problems = []
    main = files[MAIN]
    for name, module in main.names("modules").items():
        path = str(PurePosixPath("infra") / module["detail"]["path"])
        if path not in files:
            problems.append(f"{MAIN}: {name} points to {path}, which is not there")
            continue
        taken = files[path].names("parameters")
        given = set(body_of(module).get("params", {}))
        required = {n for n, p in taken.items() if p.get("default") is None}
        problems += [f"{MAIN}: {name} does not take {n}" for n in sorted(given - set(taken))]
        problems += [f"{MAIN}: {name} needs {n}" for n in sorted(required - given)]
        asked = set(re.findall(rf"\b{name}!?\.outputs\.(\w+)", main.text))
        problems += [f"{MAIN}: {name} has no output {n}" for n in sorted(asked - set(files[path].names("outputs")))]
    return problems


def role_ids_are_right(files: Files) -> list[str]:
    """Every id of a built-in role is the one that its variable's name says."""
    problems = []
    for file in files.values():
        for name, value in re.findall(r"^var (\w+) = '([^']+)'$", file.text, flags=re.MULTILINE):
            if (GUID.fullmatch(value) or name in ROLES) and ROLES.get(name) != value:
                problems.append(f"{file.path}: {name} is not role {value}")
        named = {value for _, value in re.findall(r"^var (\w+) = '([^']+)'$", file.text, flags=re.MULTILINE)}
        problems += [f"{file.path}: a bare id {g}" for g in GUID.findall(file.text) if g not in named]
    return problems


def grants_are_narrow(files: Files) -> list[str]:
    """Every grant has one resource as its scope, is the identity's, and no role has a wildcard."""
    problems = []
    for file in files.values():
        for name, resource, body in file.bodies():
            if resource["type"] == "Microsoft.Authorization/roleAssignments":
                if "scope" not in body:
                    problems.append(f"{file.path}: {name} grants on the whole resource group")
                if body["properties"].get("principalId") != "principalId":
                    problems.append(f"{file.path}: {name} grants to another than the app's identity")
        problems += [f"{file.path}: wildcard in {s}" for s in file.strings if s.startswith("Microsoft.") and "*" in s]
    return problems


def nothing_secret_gets_out(files: Files) -> list[str]:
    """No key is listed, no output and no setting is a secret."""
    problems = []
    for file in files.values():
        problems += [f"{file.path}: {f} is called" for f in SECRET_FUNCTIONS.findall(file.code)]
        for name in file.names("outputs"):
            line = next(ln for ln in file.text.splitlines() if re.match(rf"output {name}\b", ln))
            if SECRET_WORDS.search(line):
                problems.append(f"{file.path}: output {name} looks like a secret")
    for name, value in app_settings(files).items():
        harmless = name in {"APPLICATIONINSIGHTS_CONNECTION_STRING"} or name.endswith("__connectionStringName")
        if not harmless and SECRET_WORDS.search(f"{name}={value}"):
            problems.append(f"setting {name} looks like a secret")
        if name == "AzureWebJobsStorage":
            problems.append("setting AzureWebJobsStorage is a connection string; use the identity")
    return problems


def hardening_holds(files: Files) -> list[str]:
    problems = []
    for path, wanted in REQUIRED.items():
        bodies = {name: body for name, _, body in files[path].bodies()}
        for place, value in wanted.items():
            found: Any = bodies
            for step in place.split("."):
                found = found.get(step, {}) if isinstance(found, dict) else {}
            if found != value:
                problems.append(f"{path}: {place} is {found!r}, not {value!r}")
    return problems


def app_settings(files: Files) -> dict[str, str]:
    """Name → expression, as the text has it, of every setting that the function app gets."""
    file = files["infra/modules/functionApp.bicep"]
    block = file.text.partition("resource settings ")[2].partition("\n}\n")[0]
    return dict(re.findall(r"^    (\w+): (.+)$", block, flags=re.MULTILINE))


def _check_body(
    module: Any, model: str, body: Mapping[str, Any], where: str, file: BicepFile, problems: list[str]
) -> None:
    fields = _fields(getattr(module, model))
    for key, value in body.items():
        flattened = {k.removeprefix(f"{key}."): t for k, t in fields.items() if k.startswith(f"{key}.")}
        if key in fields:
            _check_value(module, fields[key], value, f"{where}.{key}", file, problems)
        elif flattened and isinstance(value, dict):
            for inner, inner_value in value.items():
                if inner in flattened:
                    _check_value(module, flattened[inner], inner_value, f"{where}.{key}.{inner}", file, problems)
                else:
                    problems.append(f"{where}.{key}.{inner}: not in {model}")
        else:
            problems.append(f"{where}.{key}: not in {model}")


def _check_value(module: Any, hint: str, value: Any, where: str, file: BicepFile, problems: list[str]) -> None:
    if _is_expression(value):
        for branch in _branches(value):
            _check_value(module, hint, branch, where, file, problems)
        return
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_value(module, hint, item, f"{where}[{i}]", file, problems)
        return
    types = [getattr(module, n) for n in re.findall(r"[A-Z]\w+", hint) if inspect.isclass(getattr(module, n, None))]
    for found in types:
        if issubclass(found, enum.Enum):
            allowed = {str(member.value) for member in found}
            if isinstance(value, str) and value in file.strings and value not in allowed:
                problems.append(f"{where}: {value!r} is not one of {', '.join(sorted(allowed))}")
        elif isinstance(value, dict) and "dict[" not in hint.lower() and not hint.startswith("{"):
            _check_body(module, found.__name__, value, where, file, problems)


def _is_expression(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and set(value) <= {"operator", "function"}


def _branches(value: dict[str, Any]) -> list[Any]:
    """The objects that an expression may come to: both sides of a condition, every part of a union."""
    if (operator := value.get("operator")) and operator.get("type") == "conditional":
        return [operator["operands"]["true_value"], operator["operands"]["false_value"]]
    if (function := value.get("function")) and function.get("type") == "union":
        return list(function["parameters"].values())
    return []


def _fields(model: Any) -> dict[str, str]:
    """Name in the REST interface → type, of both generations of generated models."""
    if hasattr(model, "_attribute_map"):
        return {v["key"]: v["type"] for v in model._attribute_map.values()}
    model({})  # fills the table of fields
    hints: dict[str, Any] = {}
    for base in reversed(model.__mro__):
        hints |= inspect.get_annotations(base)
    return {field._rest_name: str(hints.get(name, "")) for name, field in model._attr_to_rest_field.items()}


CHECKS = (
    bodies_fit_their_models,
    api_versions_are_released,
    names_are_declared_and_used,
    modules_get_what_they_take,
    role_ids_are_right,
    grants_are_narrow,
    nothing_secret_gets_out,
    hardening_holds,
)
