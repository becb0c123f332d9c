"""Who may do what: bearer tokens, and for one limited user a list of what is denied.

Two users exist: `admin`, who may do everything, and `limited`, who may do everything except what the rules deny. The
rules are enough to rehearse a missing permission and to answer SelfSubjectAccessReview truthfully; they are not RBAC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

ANONYMOUS = "system:anonymous"
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
class User:
    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    denied: tuple[DenyRule, ...] = ()

    def may(self, action: Action) -> bool:
        return self.name != ANONYMOUS and not any(rule.matches(action) for rule in self.denied)

    def may_read(self, path: str) -> bool:
        """Say whether a path that is no resource (discovery, health) is open to this user."""
        return self.name != ANONYMOUS or path in _OPEN_PATHS


@dataclass(frozen=True, slots=True)
class Users:
    """The users by their tokens."""

    by_token: Mapping[str, User] = field(default_factory=dict)

    @classmethod
    def of(cls, admin_token: str, limited_token: str, denied: Sequence[DenyRule]) -> "Users":
        admin = User("admin", ("system:masters", "system:authenticated"))
        return cls({admin_token: admin, limited_token: User("limited", denied=tuple(denied))})

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
