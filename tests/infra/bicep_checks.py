"""The checks of the Bicep files themselves: each takes the project and returns the problems that it finds."""

import re
from collections.abc import Iterator
from typing import Any

from bicep_files import BESIDE, BicepFile, Computed, Declaration, is_call, module_path, walk
from project import MAIN, PARAMETERS, Project
from sdk_models import body_problems, path_problem
from tree_sitter import Node

# Source: learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions
FUNCTIONS = {
    *("resourceGroup", "subscription", "tenant", "environment", "subscriptionResourceId", "resourceId"),
    *("uniqueString", "guid", "toLower", "take", "split", "last", "first", "empty", "union", "contains", "concat"),
    *("format", "replace", "length", "json", "string", "loadTextContent", "loadJsonContent", "cidrSubnet", "range"),
}
DECORATORS = {"description", "allowed", "secure", "minLength", "maxLength", "minValue", "maxValue", "batchSize"}
NAMESPACES = {"az", "sys"}
API_VERSIONS = {
    "Microsoft.Authorization/roleAssignments": {"2022-04-01"},
    "Microsoft.Authorization/roleDefinitions": {"2022-04-01"},
    "Microsoft.ContainerService/managedClusters": {"2024-09-01"},
    "Microsoft.ContainerService/managedClusters/namespaces": {"2024-09-01"},
    "Microsoft.DBforPostgreSQL/flexibleServers": {"2024-08-01"},
    "Microsoft.DurableTask/schedulers": {"2025-11-01"},
    "Microsoft.DurableTask/schedulers/taskHubs": {"2025-11-01"},
    "Microsoft.Insights/actionGroups": {"2023-01-01"},
    "Microsoft.Insights/components": {"2020-02-02"},
    "Microsoft.Insights/scheduledQueryRules": {"2023-12-01"},
    "Microsoft.Insights/workbooks": {"2023-06-01"},
    "Microsoft.KeyVault/vaults": {"2023-07-01"},
    "Microsoft.KeyVault/vaults/secrets": {"2023-07-01"},
    "Microsoft.ManagedIdentity/userAssignedIdentities": {"2023-01-31"},
    "Microsoft.Network/privateDnsZones": {"2024-06-01"},
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": {"2024-06-01"},
    "Microsoft.Network/privateEndpoints": {"2024-05-01"},
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": {"2024-05-01"},
    "Microsoft.Network/virtualNetworks": {"2024-05-01"},
    "Microsoft.OperationalInsights/workspaces": {"2023-09-01"},
    "Microsoft.Resources/resourceGroups": {"2024-03-01"},
    "Microsoft.Storage/storageAccounts": {"2024-01-01"},
    "Microsoft.Storage/storageAccounts/blobServices": {"2024-01-01"},
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"2024-01-01"},
    "Microsoft.Web/serverfarms": {"2024-04-01"},
    "Microsoft.Web/sites": {"2024-04-01"},
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"2024-04-01"},
    "Microsoft.Web/sites/config": {"2024-04-01"},
}
"""The released versions that this project may use: each was looked up. A newer one is added here when it is."""
LITERALS = {"string": str, "bool": bool, "int": int, "array": list, "object": dict}


def bodies_fit_their_models(project: Project) -> list[str]:
    """Every property is one that the service's own SDK knows, may be written, and has a type and value it takes."""
    return [
        problem
        for file in project.bicep.values()
        for name, resource in file.created.items()
        for problem in body_problems(resource.target, resource.body, f"{file.path}: {name}")
    ]


def references_exist(project: Project) -> list[str]:
    """What is read of a resource, such as `x.properties.clientId`, is something that it has."""
    problems = []
    for file in project.bicep.values():
        resources = file.of("resources")
        for symbol, steps in _references(file):
            if symbol in resources and (problem := path_problem(resources[symbol].target, steps)):
                problems.append(f"{file.path}: {symbol}.{'.'.join(steps)}: {problem}")
            problems += [f"{file.path}: {problem}" for problem in _item_problems(file, symbol, steps[0])]
    return problems


def _item_problems(file: BicepFile, symbol: str, step: str) -> Iterator[str]:
    """A loop's variable runs over a list that stands in the file: each of its items has what is read."""
    for variable in re.findall(rf"\[\s*for \(?{symbol}(?:, \w+\))? in (\w+)", file.text):
        items = file.of("variables")[variable].body if variable in file.of("variables") else []
        if isinstance(items, list) and any(isinstance(item, dict) and step not in item for item in items):
            yield f"an item of {variable} has no {step}"


def api_versions_are_known(project: Project) -> list[str]:
    return [
        f"{file.path}: {name} uses {resource.target}@{resource.api_version}, which is not a version that was looked up"
        for file in project.bicep.values()
        for name, resource in file.of("resources").items()
        if resource.api_version not in API_VERSIONS.get(resource.target, set())
    ]


def names_are_declared_and_used(project: Project) -> list[str]:
    """No name stands for nothing, and nothing is declared for no one."""
    problems = []
    for file in project.bicep.values():
        used: set[str] = set()
        unknown = list(_resolve(file, file.root, {d.name for d in file.declarations}, used))
        problems += [f"{file.path}: {name} is not declared" for name in unknown]
        idle = {**file.of("parameters"), **file.of("variables"), **file.of("types")}
        idle |= {name: d for name, d in file.of("resources").items() if d.existing}
        problems += [f"{file.path}: {name} is not used" for name in sorted(set(idle) - used)]
    return problems


def modules_get_what_they_take(project: Project) -> list[str]:
    """Every module is there, gets each parameter that it needs, of its type and allowed value, and has what is read."""
    return [
        f"{file.path}: {name} {problem}"
        for file in project.bicep.values()
        for name, module in file.of("modules").items()
        for problem in _module_problems(project, file, module)
    ]


def _module_problems(project: Project, file: BicepFile, module: Declaration) -> Iterator[str]:
    path = module_path(file.path, module.target)
    if path not in project.bicep:
        yield f"points to {path}, which is not there"
        return
    taken = project.bicep[path].of("parameters")
    given = module.body.get("params", {})
    yield from (f"does not take {n}" for n in sorted(set(given) - set(taken)))
    yield from (f"needs {n}" for n, p in taken.items() if not p.valued and n not in given)
    for n in sorted(set(given) & set(taken)):
        yield from _value_fits(taken[n], given[n])
    outputs = project.bicep[path].of("outputs")
    asked = {steps[1] for symbol, steps in _references(file) if symbol == module.name and steps[:1] == ["outputs"]}
    yield from (f"has no output {n}" for n in sorted(asked - set(outputs)))


def _value_fits(parameter: Declaration, value: Any) -> Iterator[str]:
    for one in value.branches if isinstance(value, Computed) else (value,):
        wanted = LITERALS.get(parameter.type_text)
        if not isinstance(one, Computed) and wanted and type(one) is not wanted:
            yield f"gives {parameter.name} {one!r}, which is no {parameter.type_text}"
        elif isinstance(one, str) and (allowed := allowed_values(parameter)) and one not in allowed:
            yield f"gives {parameter.name} {one!r}, which is not one of {', '.join(allowed)}"


def comparisons_can_hold(project: Project) -> list[str]:
    """A parameter with allowed values is compared with one of them only."""
    problems = []
    for file in project.bicep.values():
        limited = {name: a for name, p in file.of("parameters").items() if (a := allowed_values(p))}
        for name, literal in re.findall(r"\b(\w+) (?:==|!=) '([^']*)'", file.text):
            if name in limited and literal not in limited[name]:
                problems.append(f"{file.path}: {name} is never {literal!r}: one of {', '.join(limited[name])}")
    return problems


def defaults_are_allowed(project: Project) -> list[str]:
    """Every default, here and in what azd gives, is one of the allowed values."""
    given = {
        name: re.sub(r"^\$\{\w+=?(.*)\}$", r"\1", str(entry["value"]))
        for name, entry in project.json(PARAMETERS)["parameters"].items()
    }
    problems = []
    for file in project.bicep.values():
        for name, parameter in file.of("parameters").items():
            defaults = [parameter.body, *([given[name]] if file.path == MAIN and name in given else [])]
            allowed = allowed_values(parameter)
            bad = [d for d in defaults if isinstance(d, str) and d and allowed and d not in allowed]
            problems += [f"{file.path}: {name} is {d!r} by default, not one of {', '.join(allowed)}" for d in bad]
    return problems


def parameters_reach_main(project: Project) -> list[str]:
    """azd gives what main takes: nothing else, and all that has no default."""
    given = set(project.json(PARAMETERS)["parameters"])
    taken = project.bicep[MAIN].of("parameters")
    problems = [f"{PARAMETERS}: {MAIN} does not take {name}" for name in sorted(given - set(taken))]
    return problems + [f"{PARAMETERS}: {n} is missing" for n, p in taken.items() if not p.valued and n not in given]


def loaded_files_exist(project: Project) -> list[str]:
    return [
        f"{file.path}: {path} is not there"
        for file in project.bicep.values()
        for path in re.findall(r"load(?:Text|Json)Content\('([^']+)'\)", file.text)
        if module_path(file.path, path) not in project.texts
    ]


def allowed_values(parameter: Declaration) -> list[str]:
    """Of `@allowed([…])`."""
    found = next((d for d in parameter.decorators if d.startswith("allowed(")), "")
    return re.findall(r"'([^']*)'", found)


def _references(file: BicepFile) -> Iterator[tuple[str, list[str]]]:
    """(symbol, steps) of every longest `symbol.a.b`, with `[…]`, `!` and `?` left out."""
    for node in walk(file.root):
        if node.type == "member_expression" and (node.parent is None or node.parent.type != "member_expression"):
            text = re.sub(r"\[[^\]]*\]", "", (node.text or b"").decode())
            symbol, *steps = re.split(r"[!?]?\.\??", re.sub(r"\s", "", text))
            if re.fullmatch(r"\w+", symbol):
                yield symbol, steps


def _resolve(file: BicepFile, node: Node, scope: set[str], used: set[str]) -> Iterator[str]:
    """Names below `node` that nothing in scope declares; what is found is added to `used`."""
    children = node.named_children
    match node.type:
        case "identifier":
            name = (node.text or b"").decode()
            called = node.next_sibling is not None and is_call(node, node.next_sibling)
            used.add(name)
            if name not in (FUNCTIONS if called else scope | NAMESPACES):
                yield name
            return
        case "member_expression" | "resource_expression":
            children = children[:1]
        case "call_expression":
            function, *children = children
            if function.type != "identifier":
                children = [function, *children]
            elif (name := (function.text or b"").decode()) not in FUNCTIONS | DECORATORS:
                yield f"function {name}"
        case "object_property" if children[0].type == "identifier":
            children = children[1:]
        case "parameter_declaration" | "variable_declaration" | "output_declaration" | "type_declaration":
            children = children[1:]
        case "resource_declaration" | "module_declaration":
            children = children[2:]
        case "for_statement":
            variables, iterable, *children = children
            yield from _resolve(file, iterable, scope, used)
            scope = scope | set(re.findall(r"\w+", (variables.text or b"").decode()))
        case kind if kind in BESIDE - {"decorators"}:
            return
    for child in children:
        yield from _resolve(file, child, scope, used)


CHECKS = (
    bodies_fit_their_models,
    references_exist,
    api_versions_are_known,
    names_are_declared_and_used,
    modules_get_what_they_take,
    comparisons_can_hold,
    defaults_are_allowed,
    parameters_reach_main,
    loaded_files_exist,
)
