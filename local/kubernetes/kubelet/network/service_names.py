"""Rewrite the names of Services to addresses: a local process has no cluster DNS.

`redis-service`, `redis-service.ollama`, `redis-service.ollama.svc` and `redis-service.ollama.svc.cluster.local` become
the Service's address where a host is meant: in a URL, as a whole `host:port`, as a whole dotted name. A bare word such
as `open-webui` may be anything; it is taken for a host only as the value of a variable called so (`REDIS_HOST`).
"""

import re
from collections.abc import Mapping

type Addresses = Mapping[tuple[str, str], str]
"""(namespace, Service name) → the address that the proxy serves it on; ("", ClusterIP) → that, where they differ."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = rf"\d+(?:\.\d+){{3}}|{_LABEL}(?:\.{_LABEL}(?:\.svc(?:\.cluster\.local)?)?)?\.?"
_IN_URL = re.compile(rf"([a-zA-Z][\w+.-]*://(?:[^\s/?#@\"']*@)?)({_NAME})(?=[:/?#\s\"',;)]|$)")
_IP = re.compile(r"\d+(?:\.\d+){3}")
_WHOLE = re.compile(rf"({_NAME})(:\d+)?")
_HOST_VARIABLE = re.compile(r"(^|_)(HOST|HOSTNAME|ADDR|ADDRESS|SERVER|ENDPOINT)$")


def is_host_variable(name: str) -> bool:
    """Tell whether a variable's name says that its value is a host."""
    return _HOST_VARIABLE.search(name.upper()) is not None


def rewrite_hosts(text: str, addresses: Addresses, namespace: str, *, bare: bool = False) -> str:
    """Replace the Services' names in `text`; `bare` says that a single word as the whole text is a host."""
    whole = _WHOLE.fullmatch(text)
    if whole:
        host, port = whole.group(1), whole.group(2) or ""
        address = _address(host, addresses, namespace) if bare or port or "." in host else None
        return address + port if address else text
    return _IN_URL.sub(
        lambda found: found.group(1) + (_address(found.group(2), addresses, namespace) or found.group(2)), text
    )


def _address(host: str, addresses: Addresses, namespace: str) -> str | None:
    if _IP.fullmatch(host):
        return addresses.get(("", host))
    name, _, rest = host.rstrip(".").partition(".")
    return addresses.get((rest.partition(".")[0] or namespace, name))
