"""The database server as Azure manages it: facts, and server parameters such as the allow-list of extensions.

A parameter is a long-running operation. A write is waited for below a minute; when it takes longer, TransientError
makes Durable call again, and the repeated write finds the value there, or the server still busy. One server does one
thing at a time: ServerIsBusy is transient too.
Source: learn.microsoft.com/azure/postgresql/parameters, .../extensions/how-to-allow-extensions.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient, models

from shared.adapters.azure_errors import CLIENT_OPTIONS, azure_call
from shared.errors import ConfigurationError, PermanentError, TransientError
from shared.kubernetes.pgbouncer import ENABLED, PGBOUNCER_PORT
from shared.model.survey import ServerFactsBrief

ARM = "https://management.azure.com"
ALLOW_LIST = "azure.extensions"
ROLE = (
    "Microsoft.DBforPostgreSQL/flexibleServers/{read,configurations/read,configurations/write} on the server "
    "(the custom role of infra/modules/databaseAccess.bicep)"
)
WAIT_SECONDS = 45
POLL_SECONDS = 3


@dataclass(frozen=True, slots=True)
class ServerFacts:
    name: str
    fqdn: str
    version: str
    sku_name: str
    tier: str
    state: str
    """Ready when it takes changes."""
    administrator_login: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    value: str
    default: str
    allowed: str
    """`a,b,c` or `low-high`, as Azure words it."""
    dynamic: bool
    """Takes effect without a restart."""
    read_only: bool
    pending_restart: bool = False


class FlexibleServer:
    """One PostgreSQL Flexible Server. Implements `shared.model.ports.DatabaseServer`."""

    def __init__(
        self,
        subscription_id: str,
        resource_group: str,
        name: str,
        credential: TokenCredential,
        *,
        endpoint: str = ARM,
        pgbouncer_port: int = PGBOUNCER_PORT,
    ) -> None:
        self._pgbouncer_port = pgbouncer_port
        self.resource_group = resource_group
        self.name = name
        scopes = [f"{endpoint}/.default"]
        self._client = PostgreSQLManagementClient(
            credential,
            subscription_id,
            endpoint,
            credential_scopes=scopes,
            polling_interval=POLL_SECONDS,
            **CLIENT_OPTIONS,
        )

    def read(self) -> ServerFactsBrief:
        """Name, version, SKU, allow-list, and whether PgBouncer is on where the tier has it."""
        facts = self.read_server()
        allowed = _items(self.read_parameter(ALLOW_LIST).value)
        return ServerFactsBrief(
            facts.name,
            facts.version,
            facts.sku_name,
            facts.tier,
            tuple(i.upper() for i in allowed),
            pgbouncer=self.read_setting(ENABLED).lower() if facts.tier != "Burstable" else "",
            pgbouncer_port=self._pgbouncer_port,
        )

    def write_allow_list(self, extensions: Sequence[str]) -> None:
        """Set the allow-list to exactly these extensions and wait until it holds."""
        self.write_parameter(ALLOW_LIST, ",".join(extensions))

    def read_setting(self, name: str) -> str:
        return self.read_parameter(name).value

    def write_setting(self, name: str, value: str) -> bool:
        """Set it and wait until it holds; whether it acts without a restart."""
        return not self.write_parameter(name, value).pending_restart

    def read_server(self) -> ServerFacts:
        with azure_call(f"read PostgreSQL server {self._place}", role=ROLE):
            server = self._client.servers.get(self.resource_group, self.name)
        return ServerFacts(
            name=server.name or self.name,
            fqdn=server.fully_qualified_domain_name or "",
            version=_text(server.version),
            sku_name=server.sku.name if server.sku else "",
            tier=_text(server.sku.tier) if server.sku else "",
            state=_text(server.state),
            administrator_login=server.administrator_login or "",
        )

    def read_parameter(self, name: str) -> Parameter:
        with azure_call(f"read parameter {name} of PostgreSQL server {self._place}", role=ROLE):
            return _parameter(self._client.configurations.get(self.resource_group, self.name, name))

    def list_parameters(self, names: Iterable[str]) -> dict[str, Parameter]:
        """These parameters by name, with one listing. Raises ConfigurationError naming those that the server lacks."""
        wanted = set(names)
        with azure_call(f"list the parameters of PostgreSQL server {self._place}", role=ROLE):
            listed = list(self._client.configurations.list_by_server(self.resource_group, self.name))
        found = {c.name: _parameter(c) for c in listed if c.name in wanted}
        if missing := sorted(wanted - set(found)):
            raise ConfigurationError(
                f"PostgreSQL server {self._place} has no parameter {', '.join(missing)}",
                hint="PgBouncer's parameters exist only on General Purpose and Memory Optimized tiers.",
            )
        return found

    def write_parameter(self, name: str, value: str) -> Parameter:
        """Set one parameter and return it as the server has it then; `pending_restart` says that it does not act yet.

        Writes nothing when the value is there already. Raises TransientError while the server is busy or the change
        takes long, PermanentError when the value did not come to hold.
        """
        before = self.read_parameter(name)
        if _same(before.value, value):
            return before
        if before.read_only:
            raise ConfigurationError(f"parameter {name} of PostgreSQL server {self._place} is read-only")
        self._update(name, value)
        after = self.read_parameter(name)
        if not _same(after.value, value):
            raise PermanentError(
                f"parameter {name} of PostgreSQL server {self._place} is {after.value!r} after writing {value!r}",
                hint="Something else changes it too (a policy, a deployment); look at the server's activity log.",
            )
        return after

    def _update(self, name: str, value: str) -> None:
        change = models.ConfigurationForUpdate(
            properties=models.ConfigurationProperties(value=value, source="user-override")
        )
        deadline = time.monotonic() + WAIT_SECONDS
        with azure_call(f"set parameter {name} of PostgreSQL server {self._place} to {value!r}", role=ROLE):
            poller = self._client.configurations.begin_update(self.resource_group, self.name, name, change)
            try:
                poller.wait(WAIT_SECONDS)
            except HttpResponseError as error:
                if error.status_code != 403:
                    raise
                self._watch(name, value, deadline)
        if not poller.done():
            raise TransientError(f"setting {name} on PostgreSQL server {self._place} takes over {WAIT_SECONDS} s")

    def _watch(self, name: str, value: str, deadline: float) -> None:
        """Wait for the value itself: a grant on the server alone need not cover the status of its operations."""
        while not _same(self.read_parameter(name).value, value):
            if time.monotonic() > deadline:
                raise TransientError(f"setting {name} on PostgreSQL server {self._place} takes over {WAIT_SECONDS} s")
            time.sleep(POLL_SECONDS)

    @property
    def _place(self) -> str:
        return f"{self.resource_group}/{self.name}"


def _parameter(found: models.Configuration) -> Parameter:
    return Parameter(
        name=found.name or "",
        value=found.value or "",
        default=found.default_value or "",
        allowed=found.allowed_values or "",
        dynamic=bool(found.is_dynamic_config),
        read_only=bool(found.is_read_only),
        pending_restart=bool(found.is_config_pending_restart),
    )


def _text(value: str | None) -> str:
    """The service's own word; the SDK's enumerations are strings that print as their Python names."""
    return str(getattr(value, "value", value) or "")


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _same(left: str, right: str) -> bool:
    """Whether two values are one to the server: lists have no order and names no case."""
    return sorted(i.lower() for i in _items(left)) == sorted(i.lower() for i in _items(right))
