"""Which Deployments the guard watches, each with its own policy. Pure: the setting's text in, values out.

`SCALEOUT_GUARD_TARGETS` is a JSON list. An entry holds the target's fields that differ from the app's own, and in
`policy` the thresholds that differ from the defaults, times in seconds:

    [{"namespace": "team-a", "policy": {"minimum_replicas": 3, "calm_seconds": 900}}]
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, get_type_hints

import msgspec

from shared.errors import ConfigurationError
from shared.guard.policy import Policy
from shared.model.migration import Options, Target
from shared.model.request_parsing import InvalidRequest, parse_request

FEWEST = Options().replicas
"""The least replicas where a policy names none: as many as a migration makes; a quiet night costs no redundancy."""
HINT = "Correct the app setting SCALEOUT_GUARD_TARGETS; docs/guard.md lists the policy's fields."


@dataclass(frozen=True, slots=True)
class Guarded:
    """One Deployment under guard."""

    target: Target
    policy: Policy = field(default_factory=Policy)

    @property
    def key(self) -> str:
        return self.target.key


def read_guarded(text: str, defaults: Mapping[str, str]) -> tuple[Guarded, ...]:
    """The guarded Deployments; the app's own when `text` is empty. ConfigurationError lists every problem.

    `defaults`: the target's fields that the app's settings hold; without a cluster among them there is no own target.
    """
    if not text.strip():
        own = parse_request({}, defaults).target if _names_a_target(defaults) else None
        return (Guarded(own, Policy(minimum_replicas=FEWEST)),) if own else ()
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"SCALEOUT_GUARD_TARGETS is not JSON: {error}", hint=HINT) from error
    if not isinstance(entries, list):
        raise ConfigurationError("SCALEOUT_GUARD_TARGETS must be a JSON list", hint=HINT)
    problems: list[str] = []
    found = [_read_entry(entry, f"entry {n}", defaults, problems) for n, entry in enumerate(entries, 1)]
    keys = [guarded.key for guarded in found if guarded]
    problems += [f"{key} is listed twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if problems:
        raise ConfigurationError("SCALEOUT_GUARD_TARGETS: " + "; ".join(problems), hint=HINT)
    return tuple(guarded for guarded in found if guarded)


def _names_a_target(defaults: Mapping[str, str]) -> bool:
    needed = ("subscription_id", "resource_group", "cluster", "key_vault", "postgres_server")
    return all(defaults.get(name) for name in needed)


def _read_entry(entry: Any, where: str, defaults: Mapping[str, str], problems: list[str]) -> Guarded | None:
    if not isinstance(entry, dict):
        problems.append(f"{where} must be a JSON object")
        return None
    before = len(problems)
    target = None
    try:
        target = parse_request({"target": {k: v for k, v in entry.items() if k != "policy"}}, defaults).target
    except InvalidRequest as error:
        problems += [f"{where}: {problem}" for problem in error.problems]
    policy = _read_policy(entry.get("policy", {}), where, problems)
    return Guarded(target, policy) if target and policy and len(problems) == before else None


def _read_policy(given: Any, where: str, problems: list[str]) -> Policy | None:
    if not isinstance(given, dict):
        problems.append(f"{where}: policy must be a JSON object")
        return None
    types = get_type_hints(Policy)
    values: dict[str, Any] = {}
    names = {f"{f.name}_seconds" if types[f.name] is timedelta else f.name: f.name for f in fields(Policy)}
    problems += [f"{where}: unknown field 'policy.{key}'" for key in given if key not in names]
    for key in given.keys() & names.keys():
        name = names[key]
        kind = float if types[name] is timedelta else types[name]
        try:
            value = msgspec.convert(given[key], kind)
        except msgspec.ValidationError as error:
            problems.append(f"{where}: policy.{key}: {str(error).lower()}")
            continue
        values[name] = timedelta(seconds=value) if types[name] is timedelta else value
    values.setdefault("minimum_replicas", min(FEWEST, values.get("maximum_replicas") or FEWEST))
    try:
        return Policy(**values)
    except ConfigurationError as error:
        problems.append(f"{where}: {error.message}")
        return None
