"""Make the ports of one target from settings and real SDK clients. Nothing connects before it is used."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache

from azure.core.credentials import TokenCredential
from kubernetes.client import ApiClient

from shared.adapters.aks import AksClusters, api_client
from shared.adapters.azure_credentials import credential, postgres_token
from shared.adapters.cluster import KubernetesCluster
from shared.adapters.database_host import admitted
from shared.adapters.flexible_server import FlexibleServer
from shared.adapters.key_vault import KeyVaultSecrets
from shared.adapters.postgres import PostgresDatabases
from shared.model.migration import Target
from shared.model.ports import Ports
from shared.model.settings import Settings
from shared.model.survey import DatabaseAddress

KUBECONFIG_SECONDS = 300
"""How long one is used again: ARM allows few reads an hour, and a rotated credential must not be missed for long."""


SERVER_NAME_SECONDS = 3600
"""A server keeps its name."""


class SystemClock:
    """`shared.model.ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Clients:
    """The SDK clients of one target."""

    cluster: KubernetesCluster
    server: FlexibleServer
    secrets: KeyVaultSecrets
    administrator: Callable[[], str]
    """The login: the server's administrator, or with Entra the identity."""
    password: Callable[[], str]
    """The administrator's secret, or with Entra a token, which is good for one connection."""
    admit: Callable[[DatabaseAddress], DatabaseAddress]
    """Where that login may go for this address; ConfigurationError when it is another server's."""


def client_maker(settings: Settings) -> Callable[[Target], Clients]:
    """A function that makes the clients of a target; one identity serves all of them."""

    @cache
    def identity() -> TokenCredential:
        return credential(settings.identity_client_id or None)

    @lru_cache(maxsize=64)
    def kubeconfig(target: Target, period: int) -> bytes:
        clusters = AksClusters(target.subscription_id, identity())
        return clusters.kubeconfig(target.resource_group, target.cluster)

    @lru_cache(maxsize=64)
    def own_name(target: Target, period: int) -> str:
        return database_server(target).read_server().fqdn

    def database_server(target: Target) -> FlexibleServer:
        group = target.postgres_resource_group or target.resource_group
        return FlexibleServer(
            target.subscription_id, group, target.postgres_server, identity(), pgbouncer_port=settings.pgbouncer_port
        )

    def make(target: Target) -> Clients:
        secrets = KeyVaultSecrets(target.key_vault, identity())
        server = database_server(target)

        def cluster_client() -> ApiClient:
            period = int(time.monotonic() // KUBECONFIG_SECONDS)
            return api_client(kubeconfig(target, period), identity())

        def admit(address: DatabaseAddress) -> DatabaseAddress:
            name = own_name(target, int(time.monotonic() // SERVER_NAME_SECONDS))
            return replace(address, host=admitted(address.host, target.postgres_server, name))

        def administrator() -> str:
            if settings.postgres_auth == "entra":
                return settings.postgres_entra_user
            return target.admin_user or server.read_server().administrator_login

        def password() -> str:
            if settings.postgres_auth == "entra":
                return postgres_token(identity())
            return secrets.read(target.admin_password_secret)

        return Clients(
            cluster=KubernetesCluster(target.namespace, cluster_client),
            server=server,
            secrets=secrets,
            administrator=administrator,
            password=password,
            admit=admit,
        )

    return make


def connector(settings: Settings) -> Callable[[Target], Ports]:
    """A function that makes the ports of a target."""
    make = client_maker(settings)

    def connect(target: Target) -> Ports:
        clients = make(target)
        return Ports(
            cluster=clients.cluster,
            databases=PostgresDatabases(
                clients.administrator, clients.password, settings.libpq_options(), clients.admit
            ),
            server=clients.server,
            secrets=clients.secrets,
            clock=SystemClock(),
        )

    return connect
