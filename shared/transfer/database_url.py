"""A database URL, read as SQLAlchemy reads it, since that is who reads Open WebUI's. The only parser of one here.

A password may hold `/ # ? [ :` as it is; only `@` must be written as `%40`. No error and no representation ever shows a
part of a URL that could be a secret.

Source: SQLAlchemy 2.0, engine/url.py (`_parse_url`); Open WebUI 0.12.4, env.py (DATABASE_URL and its parts).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode

_URL = re.compile(
    r"""
    (?P<scheme>[\w+]+)://
    (?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?
    (?:(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?(?::(?P<port>[^/?]*))?)?
    (?:/(?P<name>[^?]*))?
    (?:\?(?P<query>.*))?
    """,
    re.VERBOSE,
)
_PARTS = ("DATABASE_TYPE", "DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME")
COMPOSED_FROM = (*_PARTS, "DATABASE_USER", "DATABASE_PASSWORD")
"""The variables that together replace DATABASE_URL."""


@dataclass(frozen=True)
class DatabaseUrl:
    """Its parts, unquoted."""

    scheme: str
    """Such as `postgresql+psycopg`."""
    user: str
    password: "str | None" = field(repr=False)
    host: str
    """Several, separated by commas, where the URL names several."""
    port: "int | None"
    name: str
    """The database."""
    parameters: "tuple[tuple[str, str], ...]" = ()

    @property
    def is_postgres(self) -> bool:
        return self.scheme.split("+", 1)[0] in ("postgres", "postgresql")

    def with_port(self, port: int) -> "DatabaseUrl":
        """The same by way of another port."""
        return replace(self, port=port)

    def __str__(self) -> str:
        """The URL again, secrets and all: whoever prints it gives them away."""
        login = quote(self.user, safe="")
        if self.password is not None:
            login += ":" + quote(self.password, safe="")
        host = f"[{self.host}]" if self.host.count(":") > 1 and "," not in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        query = f"?{urlencode(self.parameters, quote_via=quote)}" if self.parameters else ""
        return f"{self.scheme}://{login}{'@' if login else ''}{host}{port}/{quote(self.name, safe='')}{query}"


def parse_url(text: str) -> DatabaseUrl:
    """Read a URL; ValueError, whose text tells nothing of it, when SQLAlchemy would refuse it."""
    found = _URL.fullmatch(text.strip())
    if found is None:
        raise ValueError("it is not of the form scheme://user:password@host:port/database")
    port = found["port"] or None
    if port is not None and not port.isdigit():
        raise ValueError("its port is not a number: is there an @ in the password that is not written as %40?")
    parameters = parse_qsl(found["query"] or "", keep_blank_values=True)
    hosts = [value for key, value in parameters if key == "host"]  # source: SQLAlchemy, PostgreSQL, multiple hosts
    return DatabaseUrl(
        scheme=found["scheme"],
        user=unquote(found["user"] or ""),
        password=None if found["password"] is None else unquote(found["password"]),
        host=found["ipv6"] or found["host"] or ",".join(hosts),
        port=None if port is None else int(port),
        name=unquote(found["name"] or ""),
        parameters=tuple((key, value) for key, value in parameters if key != "host" or found["host"] or found["ipv6"]),
    )


def composes_url(names: Collection[str]) -> bool:
    """Whether the parts replace DATABASE_URL. `names`: the variables that have a value."""
    return {*_PARTS} <= {*names} and bool({"DATABASE_USER", "DATABASE_PASSWORD"} & {*names})


def effective_url(environment: Mapping[str, str]) -> str:
    """The application database's URL, as Open WebUI takes it from its variables; empty: its SQLite file.

    All of type, login, host, port and name together win over DATABASE_URL; an empty one counts as not set.
    """
    login = environment.get("DATABASE_USER", "")
    if password := environment.get("DATABASE_PASSWORD", ""):
        login += f":{password}"
    kind, host, port, name = (environment.get(part, "") for part in _PARTS)
    if kind and login and host and port and name:
        return f"{kind}://{login}@{host}:{port}/{name}"
    return environment.get("DATABASE_URL", "")
