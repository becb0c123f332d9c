"""Requests to the API, read once: which object, through which subresource, with which options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.kubernetes.api_server.access import Action
from local.kubernetes.model.kinds import Resource, find_resource, served
from local.kubernetes.model.objects import Object
from local.kubernetes.model.selectors import Predicate, predicate
from local.kubernetes.model.status_errors import ApiError, PageNotFound, bad_request, no_such_path
from local.kubernetes.registry.decoding import Decoded
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Writer
from local.kubernetes.registry.store import Key

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a collection when `name` is empty."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows `/proxy/`."""

    @property
    def key(self) -> Key:
        return Key(self.resource, self.namespace, self.name)

    def action(self, method: str, *, watch: bool) -> Action:
        resource = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        verb = _VERBS.get(method, "get")
        if not self.name:
            verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)
        return Action(verb, self.resource.group, resource, self.namespace, self.name)


def parse_path(path: str) -> Target:
    """Read `/api/v1/…` or `/apis/<group>/<version>/…`.

    Raises `ApiError` 404 where a built-in group has no such version or kind, and `PageNotFound` elsewhere, below the
    groups of custom kinds too. Source: Kubernetes 1.36.2, asked for the paths of the contract test.
    """
    match path.strip("/").split("/"):
        case ["api", version, *parts]:
            group = ""
        case ["apis", group, version, *parts]:
            pass
        case _:
            raise PageNotFound
    match parts:
        case ["namespaces", namespace, plural, *names] if plural not in ("status", "finalize"):
            return _target(group, version, plural, namespace, names)
        case [plural, *names]:
            return _target(group, version, plural, "", names)
    raise _nothing_there(group)


def _target(group: str, version: str, plural: str, namespace: str, names: list[str]) -> Target:
    resource = find_resource(group, version, plural)
    if resource is None or (namespace and not resource.namespaced):
        raise _nothing_there(group)
    match names:
        case [] | [_]:
            return Target(resource, namespace, *names)
        case [name, subresource] if subresource in resource.subresources:
            return Target(resource, namespace, name, subresource)
        case [name, "proxy", *rest] if "proxy" in resource.subresources:
            return Target(resource, namespace, name, "proxy", "/".join(rest))
    raise _nothing_there(group)


def _nothing_there(group: str) -> Exception:
    built_in = any(resource.group == group and not resource.custom for resource in served())
    return no_such_path() if built_in else PageNotFound()


@dataclass(frozen=True, slots=True)
class Options:
    """The query parameters of a request, in the types they stand for."""

    query: Mapping[str, str]
    user_agent: str = ""

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")

    def text(self, name: str) -> str:
        return self.query.get(name, "")

    def number(self, name: str) -> int | None:
        value = self.query.get(name)
        return int(value) if value and value.lstrip("-").isdigit() else None

    @property
    def is_watch(self) -> bool:
        return self.flag("watch")

    @property
    def revision(self) -> int | None:
        """Where a watch begins: None for "with what is there", which an absent version and version 0 both mean."""
        text = self.text("resourceVersion")
        if text and not text.isdigit():
            why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
            raise ApiError(500, f'resourceVersion: Invalid value: "{text}": {why}')
        return int(text) if text not in ("", "0") else None

    @property
    def dry_run(self) -> bool:
        return "dryRun" in self.query

    @property
    def writer(self) -> Writer:
        """Without a fieldManager the client's name, the first part of its User-Agent, stands for it."""
        manager = self.text("fieldManager") or self.user_agent.partition("/")[0] or "unknown"
        return Writer(manager, dry_run=self.dry_run, force=self.flag("force"))

    def picks(self, target: Target) -> Predicate:
        return predicate(target.resource, target.namespace, self.text("labelSelector"), self.text("fieldSelector"))

    def check(self, decoded: Decoded, resource: Resource) -> tuple[Object, list[str]]:
        """Refuse unknown fields, or return warnings of them; see `judge`."""
        problem, warnings = self.judge(decoded)
        if problem:
            kind, version = resource.kind, resource.version
            raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {problem}')
        return decoded.value, warnings

    def judge(self, decoded: Decoded) -> tuple[str, list[str]]:
        """Treat unknown fields as `fieldValidation` says: refuse them, warn of them (the default) or ignore them.

        Returns why they are refused (empty: they are not), and the warnings.
        """
        unknown = [f'unknown field "{path}"' for path in decoded.unknown]
        policy = self.text("fieldValidation") or "Warn"
        if unknown and policy == "Strict":
            return f"strict decoding error: {', '.join(unknown)}", []
        return "", unknown if policy == "Warn" else []

    def deletion(self, body: Mapping[str, Any]) -> Deletion:
        """Read DeleteOptions, which come in the body or in the query."""
        required = body.get("preconditions") or {}
        grace = body.get("gracePeriodSeconds", self.number("gracePeriodSeconds"))
        return Deletion(
            propagation=body.get("propagationPolicy") or self.query.get("propagationPolicy"),
            grace_seconds=None if grace is None else max(0, int(grace)),
            required_uid=required.get("uid"),
            required_version=required.get("resourceVersion"),
            dry_run=self.dry_run or bool(body.get("dryRun")),
        )
