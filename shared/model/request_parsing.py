"""Read a request body and list everything that is wrong with it at once. Pure.

`defaults` are the target's fields that the app's settings already know (its own cluster, vault and server), so that an
operator of one installation can post `{"mode": "plan"}` and nothing else.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from shared.errors import ConfigurationError
from shared.model.migration import LATER_PHASES, MigrationRequest, Mode, Options, Target

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
AZURE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_]{0,61}[A-Za-z0-9])?")
"""A cluster or a database server. Source: Azure, resource name rules (Microsoft.ContainerService, .DBforPostgreSQL)."""
GROUP_NAME = re.compile(r"[-\w.()]{0,89}[-\w()]")
"""Source: Azure, resource name rules: a group's name does not end with a period."""
AZURE_NAMES = {
    "subscription_id": AZURE_NAME,
    "resource_group": GROUP_NAME,
    "cluster": AZURE_NAME,
    "postgres_server": AZURE_NAME,
    "admin_password_secret": AZURE_NAME,
}
VAULT = re.compile(
    r"https://[a-z0-9][-a-z0-9]{0,22}[a-z0-9]?\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net)/?", re.IGNORECASE
)
"""The clouds' own domains: the app's token goes to no other host."""
KUBERNETES_NAMES = ("namespace", "deployment", "service", "disk_claim", "files_claim")
LARGEST_REPLICAS = 20


class InvalidRequest(ConfigurationError):
    """The body cannot be used; `problems` names every mistake, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            f"{len(problems)} mistake{'s' if len(problems) > 1 else ''} in the request: " + "; ".join(problems),
            hint="Correct the body as /api/openapi.json describes it and post it again.",
        )
        self.problems = problems


def parse_request(body: Any, defaults: Mapping[str, str]) -> MigrationRequest:
    """Return the request in `body`; InvalidRequest lists every problem."""
    if not isinstance(body, Mapping):
        raise InvalidRequest(["the body must be a JSON object"])
    problems = [f"unknown field {_shown(key)}" for key in body if key not in {"target", "mode", "options", "phases"}]
    target = _read(Target, body.get("target", {}), "target", problems, defaults)
    options = _read(Options, body.get("options", {}), "options", problems, {})
    mode = body.get("mode", Mode.PLAN.value)
    if not isinstance(mode, str) or mode not in list(Mode):
        problems.append(f"mode must be one of {', '.join(Mode)}, not {_shown(mode)}")
    phases = body.get("phases", [])
    problems += _target_problems(target) + _options_problems(options) + _phases_problems(mode, phases)
    if problems:
        raise InvalidRequest(problems)
    return MigrationRequest(Target(**target), Mode(mode), Options(**options), tuple(phases))


def _read(kind: type, given: Any, path: str, problems: list[str], defaults: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `kind` that `given` holds in the right type; what is wrong goes to `problems`."""
    if not isinstance(given, Mapping):
        problems.append(f"{path} must be a JSON object")
        return {}
    types = get_type_hints(kind)
    problems += [f"unknown field {_shown(f'{path}.{key}')}" for key in given if key not in types]
    values: dict[str, Any] = {key: value for key, value in defaults.items() if value and key in types}
    for name in types.keys() & given.keys():
        try:
            values[name] = msgspec.convert(given[name], types[name])
        except msgspec.ValidationError as error:
            problems.append(f"{path}.{name}: {str(error).lower()}")
            values[name] = None
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in values]
    problems += [f"{path}.{name} is missing" for name in required]
    return values


def _shown(value: Any) -> str:
    """A value in an answer: whatever it is, short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}… ({len(text):,} characters)"


def _target_problems(target: Mapping[str, Any]) -> list[str]:
    problems = [
        f"target.{name} {_shown(target[name])} is not a Kubernetes name (lower case letters, digits and '-')"
        for name in KUBERNETES_NAMES
        if target.get(name) is not None and not NAME.fullmatch(target[name])
    ]
    problems += [
        f"target.{name} {_shown(target[name])} is not a name that Azure allows"
        for name, pattern in AZURE_NAMES.items()
        if target.get(name) is not None and not pattern.fullmatch(target[name])
    ]
    problems += [
        f"target.{name} {_shown(target[name])} is not a name that PostgreSQL allows"
        for name in ("database", "admin_user")
        if target.get(name) and (len(target[name].encode()) > 63 or not target[name].isprintable())
    ]
    group = target.get("postgres_resource_group")
    if group and not GROUP_NAME.fullmatch(group):
        problems.append(f"target.postgres_resource_group {_shown(group)} is not a name that Azure allows")
    vault = target.get("key_vault")
    if vault is not None and not VAULT.fullmatch(vault):
        problems.append(f"target.key_vault must be https://<name>.vault.azure.net, not {_shown(vault)}")
    if target.get("disk_claim") is not None and target.get("disk_claim") == target.get("files_claim"):
        problems.append("target.files_claim must be another claim than target.disk_claim")
    return problems


def _phases_problems(mode: Any, phases: Any) -> list[str]:
    known = ", ".join(LATER_PHASES)
    if not isinstance(phases, list):
        return [f"phases must be a list of {known}"]
    problems = [
        f"phases: {_shown(name)} is none of {known}"
        for name in phases
        if not isinstance(name, str) or name not in LATER_PHASES
    ]
    if mode == Mode.PHASES and not phases:
        problems.append(f"mode phases needs phases: a list of {known}")
    if mode != Mode.PHASES and phases:
        problems.append(f"phases goes with mode phases; with mode {mode} set options such as options.autoscaling")
    return problems


def _options_problems(options: Mapping[str, Any]) -> list[str]:
    ranges = {
        "replicas": (1, LARGEST_REPLICAS),
        "workers": (1, 8),
        "throttle_rows_per_second": (0, 1_000_000),
        "approval_deadline_seconds": (1, 30 * 24 * 3600),
        "cut_over_deadline_seconds": (30, 24 * 3600),
        "retire_deadline_seconds": (1, 30 * 24 * 3600),
        "soak_seconds": (0, 30 * 24 * 3600),
        "disk_price_per_gib": (0, 1000),
        "files_price_per_gib": (0, 1000),
        "load_test_users": (1, 1000),
        "load_test_seconds": (5, 3600),
        "load_test_trials": (1, 8),
    }
    problems = [
        f"options.{name} must be from {low:,} to {high:,}, not {options[name]:,}"
        for name, (low, high) in ranges.items()
        if options.get(name) is not None and not low <= options[name] <= high
    ]
    size = options.get("share_size")
    if size is not None and not re.fullmatch(r"[1-9]\d*(Gi|Ti)", size):
        problems.append(f"options.share_size must be a size such as 100Gi or 1Ti, not {_shown(size)}")
    return problems
