"""Who may do what: bearer tokens, and for one limited user a list of what is denied.

Two users exist: `admin`, who may do everything, and `limited`, who may do what was granted to him (without any grant:
everything) and was not denied. Grants are the rules of Roles, so that the rights asked for in production can be tried
in a rehearsal; denials take single ones away. SelfSubjectAccessReview answers by the same rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import yaml

ANONYMOUS = "system:anonymous"
# Everyone may ask about himself. Source: the default ClusterRole system:basic-user.
_OWN_REVIEWS = ("authorization.k8s.io", "authentication.k8s.io")
_OPEN_PATHS = ("/version", "/readyz", "/livez", "/healthz")


@dataclass(frozen=True, slots=True)
class Action:
    """What a request wants to do. `resource` carries its subresource: `pods/exec`."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class DenyRule:
    """Matches actions; each part may be a pattern such as `*` or `pods/*`."""

    verb: str
    resource: str
    namespace: str = "*"

    @classmethod
    def parse(cls, text: str) -> "DenyRule":
        """Read `VERB:RESOURCE[:NAMESPACE]`, for example `create:pods/exec` or `*:secrets:ollama`."""
        parts = text.split(":")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"{text!r} is not VERB:RESOURCE[:NAMESPACE]")
        return cls(*parts)

    def matches(self, action: Action) -> bool:
        return (
            fnmatchcase(action.verb, self.verb)
            and fnmatchcase(action.resource, self.resource)
            and fnmatchcase(action.namespace, self.namespace)
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule of a Role; `namespace` is the Role's own, empty for a ClusterRole, which holds everywhere."""

    namespace: str
    groups: frozenset[str]
    resources: frozenset[str]
    verbs: frozenset[str]
    names: frozenset[str] = frozenset()

    def covers(self, action: Action) -> bool:
        return (
            self.namespace in ("", action.namespace)
            and bool(self.groups & {"*", action.group})
            and bool(self.resources & {"*", action.resource})
            and bool(self.verbs & {"*", action.verb})
            and (not self.names or action.name in self.names)
        )


def grants_of(manifest: str) -> tuple[Grant, ...]:
    """Read the rules of all Roles and ClusterRoles in a YAML manifest; everything else in it is passed over."""
    roles = [each for each in yaml.safe_load_all(manifest) if each and each.get("kind") in ("Role", "ClusterRole")]
    return tuple(
        Grant(
            "" if role["kind"] == "ClusterRole" else role["metadata"].get("namespace", "default"),
            frozenset(rule.get("apiGroups", ())),
            frozenset(rule.get("resources", ())),
            frozenset(rule["verbs"]),
            frozenset(rule.get("resourceNames", ())),
        )
        for role in roles
        for rule in role.get("rules") or ()
    )


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    denied: tuple[DenyRule, ...] = ()
    granted: tuple[Grant, ...] | None = None
    """None: everything."""

    def may(self, action: Action) -> bool:
        if self.name == ANONYMOUS or any(rule.matches(action) for rule in self.denied):
            return False
        return action.group in _OWN_REVIEWS or self.granted is None or any(g.covers(action) for g in self.granted)

    def may_read(self, path: str) -> bool:
        """Say whether a path that is no resource (discovery, health) is open to this user."""
        return self.name != ANONYMOUS or path in _OPEN_PATHS


@dataclass(frozen=True, slots=True)
class Tokens:
    admin: str
    limited: str


@dataclass(frozen=True, slots=True)
class Users:
    """The users by their tokens."""

    by_token: Mapping[str, User] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: Tokens, denied: Sequence[DenyRule] = (), granted: Sequence[Grant] | None = None) -> "Users":
        admin = User("admin", ("system:masters", "system:authenticated"))
        limited = User("limited", denied=tuple(denied), granted=None if granted is None else tuple(granted))
        return cls({tokens.admin: admin, tokens.limited: limited})

    def find(self, authorization: str | None) -> User | None:
        """Return the user of an Authorization header: anonymous without one, None when it is not known."""
        if not authorization:
            return User(ANONYMOUS, ("system:unauthenticated",))
        scheme, _, token = authorization.partition(" ")
        return self.by_token.get(token.strip()) if scheme.lower() == "bearer" else None


def refusal(user: User, action: Action) -> str:
    """Return the sentence with which an action is refused."""
    where = f' in the namespace "{action.namespace}"' if action.namespace else " at the cluster scope"
    return f'User "{user.name}" cannot {action.verb} resource "{action.resource}" in API group "{action.group}"{where}'
