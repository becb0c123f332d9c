"""The way to the cluster: its kubeconfig through ARM, and a Kubernetes client made of it.

A cluster with Entra integration gives a kubeconfig that calls the program kubelogin, which a function app does not
have: its place takes a token of the app's identity, asked for at every request (the credential caches it). Any other
cluster's kubeconfig carries its own credential.
Source: learn.microsoft.com/azure/aks/kubelogin-authentication; kubernetes-client/python, `Configuration.auth_settings`
sends no token at all unless `api_key` holds one before the first request.
"""

import socket
from typing import Any
from urllib.parse import urlsplit

import urllib3
import yaml
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.mgmt.containerservice import ContainerServiceClient
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from shared.adapters.azure_credentials import AKS_SCOPE
from shared.adapters.azure_errors import CLIENT_OPTIONS, azure_call, translated
from shared.errors import ConfigurationError, MigrationError, PermissionMissing, TransientError

ARM = "https://management.azure.com"
ROLE = "the role Azure Kubernetes Service Cluster User Role (4abbcc35-e782-43d8-92c5-2d3f1bd2253f) on the cluster"
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two bytes of an answer, where a caller sets none."""
RETRIES = urllib3.Retry(connect=3, read=False, status=False, redirect=0, other=0, backoff_factor=0.5)
"""Only what never reached the server is repeated: a write that was cut off may have been done."""


class AksClusters:
    """The AKS clusters of one subscription."""

    def __init__(self, subscription_id: str, credential: TokenCredential, *, endpoint: str = ARM) -> None:
        scopes = [f"{endpoint}/.default"]
        self._client = ContainerServiceClient(
            credential, subscription_id, endpoint, credential_scopes=scopes, **CLIENT_OPTIONS
        )

    def kubeconfig(self, resource_group: str, name: str) -> bytes:
        """The user's kubeconfig: it grants nothing beyond what Kubernetes itself grants this identity."""
        with azure_call(f"read the credentials of AKS cluster {resource_group}/{name}", role=ROLE):
            credentials = self._client.managed_clusters.list_cluster_user_credentials(
                resource_group, name, format="exec"
            )
        found = [k.value for k in credentials.kubeconfigs or () if k.value]
        if not found:
            raise ConfigurationError(
                f"AKS cluster {resource_group}/{name} gave no kubeconfig",
                hint=f"az aks show --resource-group {resource_group} --name {name} --query provisioningState",
            )
        return bytes(found[0])


class _Client(client.ApiClient):
    """An ApiClient with a timeout on every request; the original waits for ever where a caller sets none."""

    def call_api(
        self,
        method: Any,
        url: Any,
        header_params: Any = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Any:
        return super().call_api(method, url, header_params, body, post_params, _request_timeout or TIMEOUT)


def api_client(kubeconfig: bytes, credential: TokenCredential) -> client.ApiClient:
    """A client for the kubeconfig's current context. It connects at its first request."""
    content = yaml.safe_load(kubeconfig)
    if not isinstance(content, dict) or not content.get("clusters"):
        raise ConfigurationError("the kubeconfig names no cluster", hint="az aks get-credentials --file - …")
    entra = _drop_exec_stanzas(content)
    configuration = client.Configuration()
    config.load_kube_config_from_dict(content, client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.retries = RETRIES
    if entra:
        _authenticate(configuration, credential)
    return _Client(configuration)


def read_version(api: client.ApiClient) -> str:
    """The API server's version: proves that it can be reached and takes our credential."""
    host = str(api.configuration.host)
    try:
        return str(client.VersionApi(api).get_code().git_version)
    except ApiException as error:
        raise _refused(host, error) from error
    except urllib3.exceptions.HTTPError as error:
        raise unreachable(host, error) from error


def unreachable(host: str, error: Exception) -> MigrationError:
    """What no connection to the API server means: a private cluster seen from outside, or a passing fault."""
    name = urlsplit(host).hostname or host
    if _is_private(name) and not _resolves(name):
        return ConfigurationError(
            f"the API server {name} is private: its name does not resolve from here",
            hint="Deploy the app into a network that is linked to the cluster's private DNS zone "
            "(parameter networking in infra/main.bicep).",
        )
    return TransientError(
        f"could not reach the API server {host}: {error}",
        hint="Is the cluster running (az aks show --query powerState), and is this app in its authorized ranges?",
    )


def _authenticate(configuration: client.Configuration, credential: TokenCredential) -> None:
    def refresh(settings: client.Configuration) -> None:
        try:
            token = credential.get_token(AKS_SCOPE).token
        except AzureError as error:
            raise translated(error, "get a token for the Kubernetes API", role="an identity") from error
        settings.api_key["BearerToken"] = f"Bearer {token}"

    refresh(configuration)  # without a first token the client would be anonymous and never ask the hook
    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]  # declared as None


def _drop_exec_stanzas(content: dict[str, Any]) -> bool:
    """Remove the call of kubelogin from every user; say whether there was one."""
    users = [entry["user"] for entry in content.get("users") or () if (entry.get("user") or {}).get("exec")]
    for user in users:
        del user["exec"]
    return bool(users)


def _refused(host: str, error: ApiException) -> MigrationError:
    message = f"the API server {host} answered {error.status} {error.reason}"
    if error.status in {401, 403}:
        return PermissionMissing(
            message,
            hint="Is Entra integration on, and does the identity hold the roles of infra/modules/clusterAccess.bicep?",
        )
    if error.status == 429 or (error.status or 500) >= 500:
        return TransientError(message)
    return ConfigurationError(message)


def _is_private(name: str) -> bool:
    """AKS names a private API server `….privatelink.<region>.azmk8s.io`, unless the owner brought a zone of his own."""
    return ".privatelink." in name or ".private." in name


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, 443)
    except OSError:
        return False
    return True
