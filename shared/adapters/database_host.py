"""To which host the administrator's login may go: the Flexible Server that the request names, by one of its names.

DATABASE_URL is the workload's word. Whoever may edit the Deployment could write a host of his own there and receive the
administrator's password, so it counts only as far as it names the server that ARM knows. An alias (a CNAME, a virtual
endpoint) is followed to the server's own name, and the login is made under that one, whose certificate is checked.

Source: learn.microsoft.com/azure/postgresql/network/concepts-networking-private (private DNS zones),
.../network/concepts-networking-private-link (privatelink zone),
.../read-replica/concepts-read-replicas-virtual-endpoints.
"""

import socket
from collections.abc import Callable

from shared.errors import ConfigurationError, TransientError

DOMAINS = (
    "postgres.database.azure.com",
    "postgres.database.chinacloudapi.cn",
    "postgres.database.usgovcloudapi.net",
)
ZONES = ("", "private.", "privatelink.")

type Canonical = Callable[[str], str]


def canonical_name(host: str) -> str:
    """The name that this one leads to after all CNAMEs; TransientError when the resolver does not answer."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise TransientError(f"the name {host} could not be resolved for now") from error
        return ""
    return next((name for _, _, _, name, _ in found if name), "").lower().rstrip(".")


def admitted(host: str, server: str, fqdn: str, canonical: Canonical = canonical_name) -> str:
    """The host to sign in to for a DATABASE_URL that names `host`; ConfigurationError when it is another server.

    `server`, `fqdn`: its name, and its own name in DNS, as ARM says them.
    """
    return ",".join(_admit(one, server, fqdn, canonical) for one in host.split(","))


def _admit(host: str, server: str, fqdn: str, canonical: Canonical) -> str:
    name = host.lower().rstrip(".")
    own = {fqdn.lower(), *(f"{server.lower()}.{zone}{domain}" for domain in DOMAINS for zone in ZONES)}
    if name in own - {""}:
        return host
    led_to = canonical(name)
    if fqdn and led_to and led_to in {*own, canonical(fqdn)}:
        return fqdn
    raise ConfigurationError(
        f"DATABASE_URL leads to {host}, which is no name of the Flexible Server {server} ({fqdn or 'unknown'}): the"
        " administrator's login is sent to that server alone",
        hint="Correct target.postgres_server, or let DATABASE_URL name that server.",
    )
