"""Make the ports of one target from settings and real SDK clients. Nothing connects before it is used."""

from collections.abc import Callable
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


def connector(settings: Settings) -> Callable[[Target], Ports]:
    """A function that makes the ports of a target; one identity serves all of them."""

    @cache
    def identity() -> TokenCredential:
        return credential(settings.identity_client_id or None)

    def connect(target: Target) -> Ports:
        secrets = KeyVaultSecrets(target.key_vault, identity())
        group = target.postgres_resource_group or target.resource_group
        server = FlexibleServer(target.subscription_id, group, target.postgres_server, identity())

        def cluster_client() -> ApiClient:
            clusters = AksClusters(target.subscription_id, identity())
            return api_client(clusters.kubeconfig(target.resource_group, target.cluster), identity())

        def administrator() -> str:
            return target.admin_user or server.read_server().administrator_login

        return Ports(
            cluster=KubernetesCluster(target.namespace, cluster_client),
            databases=PostgresDatabases(
                administrator, lambda: secrets.read(target.admin_password_secret), settings.libpq_options()
            ),
            server=server,
            secrets=secrets,
            clock=SystemClock(),
        )

    return connect
