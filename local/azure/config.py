"""The configuration file: which vaults, clusters and servers exist, who may do what, and which faults to play.

The file is read again whenever it changes, so a test or the rehearsal can revoke a permission or add a fault while the
endpoints run. A file that does not make sense is refused with every problem listed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.azure.pgbouncer import Front
from local.azure.protocol import Json
from local.azure.tokens import LIFETIME_SECONDS


class BadConfiguration(Exception):
    """The file is unusable; the message lists every problem."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret: its versions, oldest first, and whether it may be read."""

    values: tuple[str, ...]
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Cluster:
    """One AKS cluster, named `resource group/name`."""

    kubeconfig: Path
    entra: bool = False  # the kubeconfig that ARM gives has an exec stanza in the place of a credential
    local_accounts_disabled: bool = False
    private_fqdn: str = ""  # set: the API server is only reachable from inside its network


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL Flexible Server, named `resource group/name`."""

    fqdn: str
    version: str = "17"
    sku_name: str = "Standard_B1ms"
    tier: str = "Burstable"
    state: str = "Ready"
    administrator_login: str = "scaleout_admin"
    superuser_url: str = ""  # of the PostgreSQL that plays it; set: a new allow-list is put in force there
    parameters: Mapping[str, str] = field(default_factory=dict)
    entra_administrators: tuple[str, ...] = ()  # roles that sign in with a token; needs superuser_url
    pgbouncer: Front | None = None  # where the server's PgBouncer listens when it is on; needs superuser_url


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do to the next `times` requests that match `method host/path`."""

    match: re.Pattern[str]
    action: str = "answer"  # answer (with status and code) | drop (cut the connection) | fail_operation
    status: int = 500  # 0: only wait delay_seconds
    code: str = "InternalServerError"
    message: str = "A fault that was asked for."
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Configuration:
    subscription_id: str
    tenant_id: str
    client_id: str | None  # of the user-assigned identity; None: system-assigned
    tokens: Mapping[str, str]  # resource → the token to give out for it, where the other side does not know ours
    token_seconds: int  # how long a token is good
    operation_seconds: float  # how long a change of a server parameter takes
    vaults: Mapping[str, Mapping[str, Secret]]
    clusters: Mapping[str, Cluster]
    servers: Mapping[str, Server]
    denied: tuple[str, ...]
    """Patterns of actions, such as Microsoft.KeyVault/vaults/secrets/*; `…/action <secret>`: of that secret alone."""
    faults: tuple[Fault, ...]


def read_configuration(path: Path) -> Configuration:
    """Read and check the file.

    Raises BadConfiguration with every problem found.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as e:
        raise BadConfiguration(f"{path}: {e}") from e
    problems: list[str] = []
    configuration = _configuration(content, path.parent, problems) if isinstance(content, dict) else None
    if configuration is None:
        problems.append("must be a JSON object")
    if problems or configuration is None:
        raise BadConfiguration("\n".join(f"{path}: {problem}" for problem in problems))
    return configuration


def _configuration(content: Json, folder: Path, problems: list[str]) -> Configuration:
    known = {"subscription_id", "tenant_id", "identity", "operation_seconds", "vaults", "clusters", "servers"}
    _reject_unknown(content, known | {"denied", "faults"}, "the file", problems)
    if not content.get("subscription_id"):
        problems.append("subscription_id is missing")
    identity = content.get("identity", {})
    return Configuration(
        subscription_id=str(content.get("subscription_id", "")).lower(),
        tenant_id=content.get("tenant_id", "11111111-2222-3333-4444-555555555555"),
        client_id=identity.get("client_id"),
        tokens=identity.get("tokens", {}),
        token_seconds=int(identity.get("token_seconds", LIFETIME_SECONDS)),
        operation_seconds=float(content.get("operation_seconds", 0.3)),
        vaults={
            vault.lower(): {name.lower(): _secret(value) for name, value in secrets.items()}
            for vault, secrets in content.get("vaults", {}).items()
        },
        clusters={key.lower(): _cluster(key, c, folder, problems) for key, c in content.get("clusters", {}).items()},
        servers={key.lower(): _server(key, s, problems) for key, s in content.get("servers", {}).items()},
        denied=tuple(content.get("denied", ())),
        faults=tuple(_fault(i, f, problems) for i, f in enumerate(content.get("faults", ()))),
    )


def _secret(value: Any) -> Secret:
    if isinstance(value, dict):
        return Secret(tuple(value.get("values", ())), value.get("enabled", True))
    return Secret((str(value),))


def _cluster(key: str, content: Json, folder: Path, problems: list[str]) -> Cluster:
    where = f"clusters[{key}]"
    _require_group(key, where, problems)
    _reject_unknown(content, {"kubeconfig", "entra", "local_accounts_disabled", "private_fqdn"}, where, problems)
    if "kubeconfig" not in content:
        problems.append(f"{where}: kubeconfig is missing")
    return Cluster(
        kubeconfig=folder / content.get("kubeconfig", ""),
        entra=content.get("entra", False),
        local_accounts_disabled=content.get("local_accounts_disabled", False),
        private_fqdn=content.get("private_fqdn", ""),
    )


def _server(key: str, content: Json, problems: list[str]) -> Server:
    where = f"servers[{key}]"
    _require_group(key, where, problems)
    known = {"fqdn", "version", "sku", "state", "administrator_login", "superuser_url", "parameters"}
    _reject_unknown(content, known | {"entra_administrators", "pgbouncer"}, where, problems)
    sku, front = content.get("sku", {}), content.get("pgbouncer")
    return Server(
        fqdn=content.get("fqdn", f"{key.partition('/')[2]}.postgres.database.azure.com"),
        version=str(content.get("version", "17")),
        sku_name=sku.get("name", "Standard_B1ms"),
        tier=sku.get("tier", "Burstable"),
        state=content.get("state", "Ready"),
        administrator_login=content.get("administrator_login", "scaleout_admin"),
        superuser_url=content.get("superuser_url", ""),
        parameters=content.get("parameters", {}),
        entra_administrators=tuple(content.get("entra_administrators", ())),
        pgbouncer=Front(int(front["port"]), Path(front["certificate"]), Path(front["key"])) if front else None,
    )


def _fault(index: int, content: Json, problems: list[str]) -> Fault:
    where = f"faults[{index}]"
    _reject_unknown(content, set(Fault.__dataclass_fields__), where, problems)
    if content.get("action", "answer") not in {"answer", "drop", "fail_operation"}:
        problems.append(f"{where}: action must be answer, drop or fail_operation")
    try:
        pattern = re.compile(content.get("match", ""), re.IGNORECASE)
    except re.error as e:
        problems.append(f"{where}: match is not a regular expression: {e}")
        pattern = re.compile("$^")
    return Fault(
        **{k: v for k, v in content.items() if k in Fault.__dataclass_fields__ and k != "match"}, match=pattern
    )


def _require_group(key: str, where: str, problems: list[str]) -> None:
    if key.count("/") != 1 or not all(key.split("/")):
        problems.append(f"{where}: the key must be <resource group>/<name>")


def _reject_unknown(content: Json, known: set[str], where: str, problems: list[str]) -> None:
    problems.extend(f"{where}: {name} is not known" for name in sorted(set(content) - known))
