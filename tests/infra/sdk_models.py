"""The bodies that Azure's resource providers take, as their own SDKs describe them.

Both generations of generated models are read: those with `_attribute_map`, whose enumerations stand in their docstrings
only, and those whose fields are annotated.
"""

import enum
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from bicep_files import Computed

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
    "Microsoft.Web/sites/config/appsettings": ("azure.mgmt.web.models", "StringDictionary"),
    "Microsoft.Web/sites/config/authsettingsV2": ("azure.mgmt.web.models", "SiteAuthSettingsV2"),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (
        "azure.mgmt.web.models",
        "CsmPublishingCredentialsPoliciesEntity",
    ),
}
"""Resource type (of a `config` with its name) → the model of the body that is sent."""
ANSWERS = {"Microsoft.Storage/storageAccounts": "StorageAccount"}
"""Where the model of what comes back has another name."""
# Three types whose SDKs would be installed for one object each.
PLAIN = {
    "Microsoft.Resources/resourceGroups": {"location", "tags"},
    "Microsoft.Network/privateDnsZones": {"location", "tags"},
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": {
        *("location", "tags", "properties", "properties.registrationEnabled", "properties.resolutionPolicy"),
        *("properties.virtualNetwork", "properties.virtualNetwork.id"),
    },
}
BICEP_ONLY = {"name", "parent", "scope", "dependsOn"}
KNOWN_VALUES = re.compile(r"(?:Known|Possible) values (?:are|include):?(.*)", re.DOTALL)
PRIMITIVES = {"str": str, "int": int, "bool": bool, "float": (int, float)}


@dataclass(frozen=True)
class Field:
    """`hint`: its type as the SDK words it. `allowed`: an old model's known values."""

    hint: str
    required: bool
    read_only: bool
    allowed: frozenset[str] = frozenset()

    @property
    def is_list(self) -> bool:
        return self.hint.startswith("[") or bool(re.match(r"(?:typing\.Optional\[)?(?:typing\.)?[Ll]ist\[", self.hint))

    @property
    def is_map(self) -> bool:
        return self.hint.startswith("{") or bool(re.match(r"(?:typing\.Optional\[)?(?:typing\.)?[Dd]ict\[", self.hint))

    @property
    def primitives(self) -> tuple[type, ...]:
        """What a literal may be; empty where a model or anything is taken."""
        if re.search(r"[A-Z_]\w*\.[A-Z]|ForwardRef|Any|JSON|object|iso-8601|duration|date", self.hint):
            return ()
        named = set(re.findall(r"\b(str|int|bool|float)\b", self.hint))
        return tuple(kind for name in named for kind in _kinds(PRIMITIVES[name]))


def body_problems(kind: str, body: dict[str, Any], where: str) -> Iterator[str]:
    """What is wrong with a body that is sent for a resource of this type."""
    if kind in PLAIN:
        given = set(_paths({key: value for key, value in body.items() if key not in BICEP_ONLY}))
        yield from (f"{where}.{path}: not in {kind}" for path in sorted(given - PLAIN[kind]))
        return
    if kind.endswith("/config"):
        kind = f"{kind}/{body.get('name')}"
    if kind not in MODELS:
        yield f"{where}: no model is known for {kind}"
        return
    module, model = MODELS[kind]
    inner = {key: value for key, value in body.items() if key not in BICEP_ONLY}
    yield from _model_problems(importlib.import_module(module), model, inner, where, given=BICEP_ONLY)


def _paths(body: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in body.items():
        yield above + key
        if isinstance(value, dict):
            yield from _paths(value, f"{above}{key}.")


def path_problem(kind: str, path: list[str]) -> str:
    """The first step of a reference such as `properties.clientId` that a resource of this type does not have."""
    if kind not in MODELS or path[:1] != ["properties"]:
        return ""
    module_name, model = MODELS[kind]
    module: ModuleType = importlib.import_module(module_name)
    model = ANSWERS.get(kind, model)
    for i, step in enumerate(path):
        fields = fields_of(module, model)
        inner = {key.partition(".")[2]: f for key, f in fields.items() if key.startswith(f"{step}.")}
        if inner and i + 1 < len(path):  # an old model, flattened
            return "" if path[i + 1] in inner else f"{path[i + 1]} is not in {model}"
        if step not in fields:
            return f"{step} is not in {model}"
        classes = _classes(module, fields[step].hint)
        if not classes:
            return ""
        model = classes[0].__name__
    return ""


@cache
def fields_of(module: ModuleType, name: str) -> dict[str, Field]:
    """Name in the REST interface → field; old models flatten `properties.x`."""
    model = getattr(module, name)
    if hasattr(model, "_attribute_map"):
        return {v["key"]: _old_field(model, attribute, v["type"]) for attribute, v in model._attribute_map.items()}
    model({})  # fills the table of fields
    hints: dict[str, Any] = {}
    for base in reversed(model.__mro__):
        hints |= inspect.get_annotations(base)
    return {f._rest_name: _new_field(str(hints.get(n, "")), f) for n, f in model._attr_to_rest_field.items()}


def _old_field(model: Any, attribute: str, hint: str) -> Field:
    rules = model._validation.get(attribute, {})
    told = re.search(rf":ivar {attribute}:(.*?)(?=:ivar |:vartype )", inspect.getdoc(model) or "", re.DOTALL)
    known = KNOWN_VALUES.search(told[1]) if told else None
    allowed = frozenset(re.findall(r'"([^"]+)"', known[1])) if known else frozenset()
    return Field(hint, bool(rules.get("required")), bool(rules.get("readonly")), allowed)


def _new_field(hint: str, field: Any) -> Field:
    optional = not hint or hint.startswith("typing.Optional") or "NoneType" in hint
    read_only = field._visibility == ["read"]
    return Field(hint, required=not optional and not read_only, read_only=read_only)


def _model_problems(
    module: ModuleType, model: str, body: dict[str, Any], where: str, given: Iterable[str] = ()
) -> Iterator[str]:
    """`given`: what Bicep itself sends beside the body."""
    fields = fields_of(module, model)
    given = set(given)
    for key, value in body.items():
        inner = {k.removeprefix(f"{key}."): k for k in fields if k.startswith(f"{key}.")}
        if inner and isinstance(value, dict):
            for name, inner_value in value.items():
                given.add(f"{key}.{name}")
                field = fields.get(inner.get(name, ""))
                yield from _field_problems(module, model, field, inner_value, f"{where}.{key}.{name}")
        else:
            given.add(key)
            yield from _field_problems(module, model, fields.get(key), value, f"{where}.{key}")
    for name, field in fields.items():
        if field.required and name not in given:
            yield f"{where}: {name} is missing, which {model} requires"


def _field_problems(module: ModuleType, model: str, field: Field | None, value: Any, where: str) -> Iterator[str]:
    if field is None:
        yield f"{where}: not in {model}"
    elif field.read_only:
        yield f"{where}: read-only in {model}"
    else:
        yield from _value_problems(module, field, value, where)


def _value_problems(module: ModuleType, field: Field, value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Computed):
        for branch in value.branches:
            yield from _value_problems(module, field, branch, where)
        return
    if (
        isinstance(value, list) != field.is_list
        and value is not None
        and field.primitives + field_models(module, field)
    ):
        yield f"{where}: {'a list where one value' if isinstance(value, list) else 'one value where a list'} is wanted"
        return
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        place = f"{where}[{i}]" if isinstance(value, list) else where
        yield from _item_problems(module, field, item, place)


def _item_problems(module: ModuleType, field: Field, value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Computed):
        for branch in value.branches:
            yield from _item_problems(module, field, branch, where)
        return
    found = _classes(module, field.hint)
    enums = [c for c in found if issubclass(c, enum.Enum)]
    allowed = field.allowed | {str(member.value) for c in enums for member in c}
    if isinstance(value, str) and allowed and value not in allowed:
        yield f"{where}: {value!r} is not one of {', '.join(sorted(allowed))}"
    elif isinstance(value, dict) and not field.is_map:
        if not set(found) - set(enums) and field.primitives:
            yield f"{where}: an object where {' or '.join(k.__name__ for k in field.primitives)} is wanted"
        for model in (c for c in found if c not in enums):
            yield from _model_problems(module, model.__name__, value, where)
    elif isinstance(value, (str, int)) and field.primitives and type(value) not in field.primitives:
        yield f"{where}: {value!r} where {' or '.join(k.__name__ for k in field.primitives)} is wanted"


def field_models(module: ModuleType, field: Field) -> tuple[type, ...]:
    return tuple(_classes(module, field.hint))


def _classes(module: ModuleType, hint: str) -> list[type]:
    return [c for n in re.findall(r"[A-Z]\w+", hint) if inspect.isclass(c := getattr(module, n, None))]


def _kinds(kinds: Any) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)
