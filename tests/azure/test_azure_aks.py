"""The way to the cluster: credentials through ARM, and the Kubernetes client made of them."""

import pytest
import yaml
from azure.core.exceptions import HttpResponseError
from fix_azure import SUBSCRIPTION, LocalAzure, Target
from fix_kubernetes_api import KubernetesApi

from shared.adapters.aks import AksClusters, api_client, read_version, unreachable
from shared.adapters.azure_credentials import credential
from shared.errors import ConfigurationError, PermissionMissing, TransientError

EXEC = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin", "args": ["get-token"]}}


@pytest.fixture
def clusters(azure: LocalAzure) -> AksClusters:
    return AksClusters(SUBSCRIPTION, credential(None))


def test_a_kubeconfig_is_read(target: Target) -> None:
    kubeconfig = AksClusters(target.subscription, target.credential).kubeconfig(target.group, target.cluster)
    assert yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]["server"].startswith("https://")


def test_a_missing_cluster_is_a_configuration_error(target: Target) -> None:
    with pytest.raises(ConfigurationError, match=r"AKS cluster .*/no-such-cluster: HTTP 404 ResourceNotFound"):
        AksClusters(target.subscription, target.credential).kubeconfig(target.group, "no-such-cluster")


def test_names_are_not_case_sensitive(clusters: AksClusters) -> None:
    assert clusters.kubeconfig("RG-WebUI", "AKS-WebUI")


def test_another_subscription_is_not_found(azure: LocalAzure) -> None:
    other = AksClusters("00000000-0000-0000-0000-000000000009", credential(None))
    with pytest.raises(ConfigurationError, match="SubscriptionNotFound"):
        other.kubeconfig("rg-webui", "aks-webui")


def test_a_refusal_names_the_role(azure: LocalAzure, clusters: AksClusters) -> None:
    azure.configure(denied=["Microsoft.ContainerService/managedClusters/listClusterUserCredential/*"])
    with pytest.raises(PermissionMissing, match="AuthorizationFailed") as raised:
        clusters.kubeconfig("rg-webui", "aks-webui")
    assert "Azure Kubernetes Service Cluster User Role" in raised.value.hint


def test_reading_credentials_changes_nothing(azure: LocalAzure, clusters: AksClusters) -> None:
    clusters.kubeconfig("rg-webui", "aks-webui")
    assert [c["method"] for c in azure.calls()] == ["GET", "POST"]
    assert azure.calls(changing=True) == []


def test_with_local_accounts_disabled_there_is_no_administrator(azure: LocalAzure, clusters: AksClusters) -> None:
    cluster = {"kubeconfig": "kubeconfig", "entra": True, "local_accounts_disabled": True}
    azure.configure(clusters={"rg-webui/aks-webui": cluster})
    managed = clusters._client.managed_clusters
    assert managed.get("rg-webui", "aks-webui").disable_local_accounts is True
    with pytest.raises(HttpResponseError, match="disable local accounts"):
        managed.list_cluster_admin_credentials("rg-webui", "aks-webui")


def test_an_entra_clusters_kubeconfig_calls_kubelogin(azure: LocalAzure, clusters: AksClusters) -> None:
    azure.configure(clusters={"rg-webui/aks-webui": {"kubeconfig": "kubeconfig", "entra": True}})
    [user] = yaml.safe_load(clusters.kubeconfig("rg-webui", "aks-webui"))["users"]
    assert user["user"]["exec"]["command"] == "kubelogin"
    assert "token" not in user["user"]


def test_an_entra_cluster_gets_the_identitys_token(azure: LocalAzure, kubernetes_api: KubernetesApi) -> None:
    azure.configure(identity={"tokens": {"6dae42f8-4368-4678-94ff-3960e28e3630": "entra-token"}})
    kubernetes_api.accepted = {"entra-token"}
    api = api_client(kubernetes_api.kubeconfig(EXEC), credential(None))
    assert read_version(api) == "v1.36.0"
    assert kubernetes_api.seen == ["Bearer entra-token"]


def test_a_new_token_is_used_as_soon_as_the_credential_has_one(kubernetes_api: KubernetesApi) -> None:
    class Rotating:
        count = 0

        def get_token(self, *scopes: str, **_: object) -> object:
            self.count += 1
            return type("Token", (), {"token": f"token-{self.count}"})

    api = api_client(kubernetes_api.kubeconfig(EXEC), Rotating())  # type: ignore[arg-type]
    kubernetes_api.accepted = {f"token-{n}" for n in range(9)}
    read_version(api)
    read_version(api)
    first, second = kubernetes_api.seen
    assert first != second


def test_a_cluster_without_entra_gets_its_own_token(azure: LocalAzure, kubernetes_api: KubernetesApi) -> None:
    kubernetes_api.accepted = {"own-token"}
    api = api_client(kubernetes_api.kubeconfig({"token": "own-token"}), credential(None))
    assert read_version(api) == "v1.36.0"
    assert azure.calls() == []  # neither a token was asked for, nor went loopback through the proxy


def test_a_refused_token_is_a_missing_permission(kubernetes_api: KubernetesApi) -> None:
    api = api_client(kubernetes_api.kubeconfig({"token": "wrong"}), credential(None))
    with pytest.raises(PermissionMissing, match="answered 401"):
        read_version(api)


def test_no_answer_is_transient(kubernetes_api: KubernetesApi) -> None:
    kubeconfig = kubernetes_api.kubeconfig({"token": "own-token"}).replace(b"127.0.0.1:", b"127.0.0.2:")
    api = api_client(kubeconfig, credential(None))
    api.configuration.retries = None
    with pytest.raises(TransientError, match="could not reach the API server"):
        read_version(api)


def test_a_private_cluster_seen_from_outside_is_said_to_be_private() -> None:
    host = "https://aks-abc.0123.privatelink.westeurope.azmk8s.invalid:443"
    error = unreachable(host, OSError("name resolution failed"))
    assert isinstance(error, ConfigurationError)
    assert "is private" in error.message


def test_a_kubeconfig_without_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no cluster"):
        api_client(b"{}", credential(None))


def test_every_request_has_a_timeout(kubernetes_api: KubernetesApi) -> None:
    api = api_client(kubernetes_api.kubeconfig({"token": "t"}), credential(None))
    timeouts = []
    send = api.rest_client.pool_manager.request
    api.rest_client.pool_manager.request = lambda *a, **k: (timeouts.append(k["timeout"]), send(*a, **k))[1]
    with pytest.raises(PermissionMissing):
        read_version(api)
    assert [(t.connect_timeout, t.read_timeout) for t in timeouts] == [(10.0, 60.0)]
