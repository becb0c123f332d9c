"""AKS through ARM: the cluster's facts, and its credentials for users and administrators.

A cluster with Entra integration gives a kubeconfig whose user is an exec stanza for kubelogin, not a credential; with
local accounts disabled the administrator's is refused.
Source: learn.microsoft.com/azure/aks/manage-local-accounts-managed-azure-ad and .../kubelogin-authentication.
"""

import base64

import yaml

from local.azure.access import Access
from local.azure.config import Cluster, Configuration
from local.azure.identity import AKS_RESOURCE
from local.azure.protocol import Json, Reply, Request, ServiceError, resource_not_found

KIND = "Microsoft.ContainerService/managedClusters"
_KUBELOGIN_CLIENT = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"


def answer(request: Request, configuration: Configuration, access: Access, key: str, action: str) -> Reply:
    """Answer `GET …/managedClusters/<name>` and `POST …/listCluster{User,Admin}Credential`."""
    cluster = configuration.clusters.get(key.lower())
    if request.method == "GET" and not action:
        access.require(f"{KIND}/read", request.path)
        if cluster is None:
            raise resource_not_found(KIND, key)
        return Reply(200, _facts(request.path, key, cluster, configuration.tenant_id))
    kinds = {"listclusterusercredential": "User", "listclusteradmincredential": "Admin"}
    kind = kinds.get(action.lower())
    if request.method != "POST" or kind is None:
        raise ServiceError(405, "MethodNotAllowed", f"{request.method} {action} is not offered here.")
    access.require(f"{KIND}/listCluster{kind}Credential/action", request.path.rpartition("/")[0])
    if cluster is None:
        raise resource_not_found(KIND, key)
    return Reply(200, _credentials(key, cluster, kind, configuration.tenant_id))


def _facts(path: str, key: str, cluster: Cluster, tenant_id: str) -> Json:
    properties: Json = {
        "provisioningState": "Succeeded",
        "powerState": {"code": "Running"},
        "kubernetesVersion": "1.36",
        "disableLocalAccounts": cluster.local_accounts_disabled,
        "apiServerAccessProfile": {"enablePrivateCluster": bool(cluster.private_fqdn)},
    }
    if cluster.private_fqdn:
        properties["privateFQDN"] = cluster.private_fqdn
    if cluster.entra:
        properties["aadProfile"] = {"managed": True, "enableAzureRBAC": True, "tenantID": tenant_id}
    name = key.partition("/")[2]
    return {
        "id": path,
        "name": name,
        "type": "Microsoft.ContainerService/ManagedClusters",
        "location": "westeurope",
        "properties": properties,
    }


def _credentials(key: str, cluster: Cluster, kind: str, tenant_id: str) -> Json:
    if kind == "Admin" and cluster.local_accounts_disabled:
        message = "Getting static credential is not allowed because this cluster is set to disable local accounts."
        raise ServiceError(400, "BadRequest", message)
    if not cluster.kubeconfig.exists():
        message = f"The local cluster has not written {cluster.kubeconfig} yet."
        raise ServiceError(503, "ServiceUnavailable", message)
    kubeconfig = cluster.kubeconfig.read_text()
    if cluster.entra and kind == "User":
        kubeconfig = with_exec_stanza(kubeconfig, key, tenant_id)
    if cluster.private_fqdn:
        kubeconfig = _behind(kubeconfig, cluster.private_fqdn)
    value = base64.b64encode(kubeconfig.encode()).decode()
    return {"kubeconfigs": [{"name": f"cluster{kind}", "value": value}]}


def with_exec_stanza(kubeconfig: str, key: str, tenant_id: str) -> str:
    """The kubeconfig as AKS gives it for an Entra cluster: kubelogin in the place of every credential."""
    content = yaml.safe_load(kubeconfig)
    stanza = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "kubelogin",
        "args": [
            *("get-token", "--environment", "AzurePublicCloud", "--login", "devicecode"),
            *("--server-id", AKS_RESOURCE, "--client-id", _KUBELOGIN_CLIENT, "--tenant-id", tenant_id),
        ],
        "env": None,
        "provideClusterInfo": False,
    }
    user = f"clusterUser_{key.replace('/', '_')}"
    content["users"] = [{"name": user, "user": {"exec": stanza}}]
    for context in content["contexts"]:
        context["context"]["user"] = user
    return yaml.safe_dump(content)


def _behind(kubeconfig: str, private_fqdn: str) -> str:
    content = yaml.safe_load(kubeconfig)
    for cluster in content["clusters"]:
        cluster["cluster"]["server"] = f"https://{private_fqdn}:443"
    return yaml.safe_dump(content)
