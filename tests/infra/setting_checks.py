"""The checks of the app's settings: what the code reads is set and described, nothing else is, nothing is secret."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from bicep_files import Computed, walk
from project import CODE, MAIN, PARAMETERS, SAMPLE, Project

APP = "infra/modules/functionApp.bicep"
ALERTS = "infra/modules/alerts.bicep"
PLATFORM = {"IDENTITY_ENDPOINT", "IDENTITY_HEADER"}
"""Set by Azure where a managed identity is. Source: learn.microsoft.com/azure/app-service/overview-managed-identity"""
HOSTS = re.compile(
    r"AzureWebJobs|AzureFunctionsJobHost__|APPLICATIONINSIGHTS_|PYTHON_|FUNCTIONS_|DURABLE_TASK_SCHEDULER"
)
"""Read by the Functions host and worker, not by our code."""
ELSEWHERE = ("shared/transfer/", "shared/programs/replica_probe.py")
"""They run inside Open WebUI's pods, with that environment."""
SECRET_CALLS = re.compile(r"list[A-Z]\w*|getSecret")
SECRET_WORDS = re.compile(
    r"password|passwd|secret|accountkey|sharedaccess|connectionstring|instrumentationkey|apikey|sas_?token",
    re.IGNORECASE,
)
SECRET_STEPS = re.compile(r".*(?:keys?\d?|password|connectionstring|token)$", re.IGNORECASE)
HARMLESS = {
    "secretNames",  # which secrets may be read: names
    "APPLICATIONINSIGHTS_CONNECTION_STRING",  # holds no credential: the component takes identities only
    "insights.properties.ConnectionString",
}
FLEX_REFUSES = frozenset(
    {
        *("alwaysOn", "containerSize", "ftpsState", "functionAppScaleLimit", "isReserved", "isXenon", "javaVersion"),
        *("linuxFxVersion", "netFrameworkVersion", "powerShellVersion", "preWarmedInstanceCount"),
        *("use32BitWorkerProcess", "vnetBackupRestoreEnabled", "vnetContentShareEnabled", "vnetImagePullEnabled"),
        *("vnetRouteAllEnabled", "windowsFxVersion"),
        *("ENABLE_ORYX_BUILD", "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_MAX_HTTP_CONCURRENCY"),
        *("FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED", "FUNCTIONS_WORKER_PROCESS_COUNT", "FUNCTIONS_WORKER_RUNTIME"),
        *("FUNCTIONS_WORKER_RUNTIME_VERSION", "SCM_DO_BUILD_DURING_DEPLOYMENT", "TZ", "WEBSITE_CONTENTOVERVNET"),
        *("WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE", "WEBSITE_DNS_SERVER"),
        *("WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT", "WEBSITE_NODE_DEFAULT_VERSION", "WEBSITE_RUN_FROM_PACKAGE"),
        *("WEBSITE_SKIP_CONTENTSHARE_VALIDATION", "WEBSITE_TIME_ZONE", "WEBSITE_VNET_ROUTE_ALL"),
    }
)
"""Of a site, its configuration and its app settings: replaced, set by the platform or without effect on Flex.
Newer stamps refuse such a property (error 51021) instead of ignoring it.
Source: learn.microsoft.com/azure/azure-functions/functions-app-settings, "Flex Consumption plan deprecations" """
REQUIRED: dict[str, dict[str, Any]] = {
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
    APP: {
        "plan.sku.name": "FC1",
        "app.properties.functionAppConfig.scaleAndConcurrency.alwaysReady": [{"name": "durable", "instanceCount": 1}],
        "app.identity.type": "UserAssigned",
        "app.properties.httpsOnly": True,
        "app.properties.siteConfig.minTlsVersion": "1.2",
        "app.properties.functionAppConfig.runtime.name": "python",
        "app.properties.functionAppConfig.runtime.version": "3.13",
        "app.properties.functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
        "noFtpPassword.properties.allow": False,
        "noDeployPassword.properties.allow": False,
        "signIn.properties.globalValidation.requireAuthentication": True,
        "signIn.properties.globalValidation.unauthenticatedClientAction": "Return401",
    },
}


def app_settings(project: Project) -> dict[str, Any]:
    """Name → value of every setting that the function app gets, those of one choice included."""
    value = project.bicep[APP].of("resources")["settings"].body["properties"]
    return dict(_merged(value))


def read_settings(project: Project) -> dict[str, str]:
    """Setting that the app's code reads → where."""
    found: dict[str, str] = {}
    for path, text in project.texts.items():
        if not path.endswith(".py") or not path.startswith(CODE) or path.startswith(ELSEWHERE):
            continue
        for name, line in _settings_in(text):
            found.setdefault(name, f"{path}:{line}")
    return found


def what_is_read_is_set_and_described(project: Project) -> list[str]:
    read = read_settings(project)
    problems = []
    for place, known in ((APP, app_settings(project)), (SAMPLE, project.json(SAMPLE)["Values"])):
        missing = sorted(set(read) - set(known) - PLATFORM)
        problems += [f"{place}: {name}, which {read[name]} reads, is not set" for name in missing]
    return problems


def what_is_set_is_read(project: Project) -> list[str]:
    read = set(read_settings(project))
    known = {APP: app_settings(project), SAMPLE: project.json(SAMPLE)["Values"]}
    return [
        f"{place}: {name} is set and nobody reads it"
        for place, names in known.items()
        for name in sorted(names)
        if name not in read and not HOSTS.match(name)
    ]


def settings_are_text(project: Project) -> list[str]:
    """App settings are strings; a number or a truth value is refused by the service."""
    return [
        f"{APP}: {name} is {value!r}, which is no text"
        for name, value in app_settings(project).items()
        if not isinstance(value, (str, Computed))
    ]


def nothing_secret_gets_out(project: Project) -> list[str]:
    """No key is listed, no parameter, output or setting is a secret."""
    problems = []
    for file in project.bicep.values():
        problems += [f"{file.path}: {what}" for what in _secret_reads(file.root)]
        for name, output in file.of("outputs").items():
            if SECRET_WORDS.search(output.node.text.decode()):
                problems.append(f"{file.path}: output {name} looks like a secret")
        for name, parameter in file.of("parameters").items():
            if name not in HARMLESS and (SECRET_WORDS.search(name) or "secure()" in parameter.decorators):
                problems.append(f"{file.path}: parameter {name} looks like a secret")
    problems += [
        f"{PARAMETERS}: {name} looks like a secret"
        for name in project.json(PARAMETERS)["parameters"]
        if name not in HARMLESS and SECRET_WORDS.search(name)
    ]
    return problems + _secret_settings(project)


def hardening_holds(project: Project) -> list[str]:
    problems = []
    for path, wanted in REQUIRED.items():
        bodies = {name: resource.body for name, resource in project.bicep[path].created.items()}
        for place, value in wanted.items():
            found: Any = bodies
            for step in place.split("."):
                found = found.get(step, {}) if isinstance(found, dict) else {}
            if type(found) is not type(value) or found != value:
                problems.append(f"{path}: {place} is {found!r}, not {value!r}")
    return problems


def flex_takes_them(project: Project) -> list[str]:
    """Nothing is set on the app that its plan refuses."""
    resources = project.bicep[APP].created
    site = {name: value for name, value in resources["app"].body["properties"].items() if isinstance(name, str)}
    named = {f"app.properties.{n}" for n in site} | {f"app.properties.siteConfig.{n}" for n in site["siteConfig"]}
    named |= {f"settings.{n}" for n in app_settings(project)}
    refused = {name.lower() for name in FLEX_REFUSES}
    found = sorted(name for name in named if name.rpartition(".")[2].lower() in refused)
    return [f"{APP}: {name} is refused on Flex Consumption" for name in found]


def alerts_stand_in_nobodys_way(project: Project) -> list[str]:
    """A rule on a workspace of the same deployment is refused while its tables are not there; the app is made without.

    Source: learn.microsoft.com/azure/templates/microsoft.insights/scheduledqueryrules, `skipQueryValidation`
    """
    problems = [
        f"{path}: {name} validates its query against a workspace that is just being made"
        for path, file in project.bicep.items()
        for name, resource in file.created.items()
        if resource.target.startswith("Microsoft.Insights/scheduledQueryRules")
        and resource.body["properties"].get("skipQueryValidation") is not True
    ]
    modules = project.bicep[MAIN].of("modules")
    app = next(module for module in modules.values() if APP.endswith(module.target))
    return problems + [f"{MAIN}: the app waits for the alerts"] * ("alerts." in app.node.text.decode())


def _secret_settings(project: Project) -> Iterator[str] | list[str]:
    problems = []
    for name, value in app_settings(project).items():
        text = value.text if isinstance(value, Computed) else str(value)
        if (
            name not in HARMLESS
            and not name.endswith("__connectionStringName")
            and SECRET_WORDS.search(f"{name}={text}")
        ):
            problems.append(f"setting {name} looks like a secret")
        if name in {"AzureWebJobsStorage", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"}:
            problems.append(f"setting {name} is a connection string; use the identity")
    return problems


def _secret_reads(root: Any) -> Iterator[str]:
    for node in walk(root):
        text = (node.text or b"").decode()
        if node.type == "call_expression":
            name = (node.named_children[0].text or b"").decode().rpartition(".")[2]
            if SECRET_CALLS.fullmatch(name):
                yield f"{name} is called"
        elif node.type == "property_identifier" and SECRET_STEPS.fullmatch(text):
            whole = (node.parent.text or b"").decode()
            if whole not in HARMLESS:
                yield f"{whole} is read"


@cache
def _settings_in(code: str) -> tuple[tuple[str, int], ...]:
    nodes = ast.walk(ast.parse(code))
    return tuple((name, getattr(node, "lineno", 1)) for node in nodes for name in _setting_names(node))


def _setting_names(node: ast.AST) -> Iterator[str]:
    """`environ["X"]`, `environ.get("X")`, `getenv("X")`, `metadata={"env": "X"}`, and `"%X%"` in a trigger."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
        yield from _text(node.slice)
    elif isinstance(node, ast.Call):
        if ast.unparse(node.func).endswith(("environ.get", "getenv")):
            yield from _text(node.args[0])
        for keyword in node.keywords:
            for name in _text(keyword.value):
                yield from re.findall(r"^%(\w+)%$", name)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "env":
                yield from _text(value)


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _merged(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    for branch in value.branches if isinstance(value, Computed) else ():
        yield from _merged(branch)


CHECKS = (
    what_is_read_is_set_and_described,
    what_is_set_is_read,
    settings_are_text,
    nothing_secret_gets_out,
    hardening_holds,
    flex_takes_them,
    alerts_stand_in_nobodys_way,
)
