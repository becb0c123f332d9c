"""Make the ports of one target from settings and real SDK clients. Nothing connects before it is used."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from azure.core.credentials import TokenCredential
from kubernetes.client import ApiClient

from shared.adapters.aks import AksClusters, api_client
from shared.adapters.azure_credentials import credential
from shared.adapters.cluster import KubernetesCluster
from shared.adapters.flexible_server import FlexibleServer
from shared.adapters.key_vault import KeyVaultSecrets
from shared.adapters.postgres import PostgresDatabases
from shared.model import Target
from shared.ports import Ports
from shared.settings import Settings


class SystemClock:
    """`shared.ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clients:
    """The SDK clients of one target."""

    cluster: KubernetesCluster
    server: FlexibleServer
    secrets: KeyVaultSecrets
    administrator: Callable[[], str]
    """The login of the server's administrator."""
    password: Callable[[], str]


def client_maker(settings: Settings) -> Callable[[Target], Clients]:
    """A function that makes the clients of a target; one identity serves all of them."""

    @cache
    def identity() -> TokenCredential:
        return credential(settings.identity_client_id or None)

    def make(target: Target) -> Clients:
        secrets = KeyVaultSecrets(target.key_vault, identity())
        group = target.postgres_resource_group or target.resource_group
        server = FlexibleServer(target.subscription_id, group, target.postgres_server, identity())

        def cluster_client() -> ApiClient:
            clusters = AksClusters(target.subscription_id, identity())
            return api_client(clusters.kubeconfig(target.resource_group, target.cluster), identity())

        def administrator() -> str:
            return target.admin_user or server.read_server().administrator_login

        return Clients(
            cluster=KubernetesCluster(target.namespace, cluster_client),
            server=server,
            secrets=secrets,
            administrator=administrator,
            password=lambda: secrets.read(target.admin_password_secret),
        )

    return make


def connector(settings: Settings) -> Callable[[Target], Ports]:
    """A function that makes the ports of a target."""
    make = client_maker(settings)

    def connect(target: Target) -> Ports:
        clients = make(target)
        return Ports(
            cluster=clients.cluster,
            databases=PostgresDatabases(clients.administrator, clients.password, settings.libpq_options()),
            server=clients.server,
            secrets=clients.secrets,
            clock=SystemClock(),
        )

    return connect
