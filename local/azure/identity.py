"""The managed identity endpoint of App Service and Functions, version 2019-08-01.

Source: learn.microsoft.com/azure/app-service/overview-managed-identity, "REST endpoint reference".
"""

import hmac
import time
import uuid

import yaml

from local.azure import logins
from local.azure.config import Cluster, Configuration
from local.azure.protocol import Json, Reply, Request
from local.azure.tokens import TokenIssuer

PATH = "/msi/token"
API_VERSION = "2019-08-01"
SYSTEM_ASSIGNED_CLIENT_ID = str(uuid.UUID(int=7))
# The server application of every AKS cluster with Entra integration.
# Source: learn.microsoft.com/azure/aks/kubelogin-authentication
AKS_RESOURCE = "6dae42f8-4368-4678-94ff-3960e28e3630"


def answer(request: Request, configuration: Configuration, issuer: TokenIssuer, header: str) -> Reply:
    """Give out a token, or refuse as the platform does: wrong header, missing parameter, identity not assigned."""
    if not hmac.compare_digest(request.headers.get("x-identity-header", ""), header):
        return _refusal(401, "Unauthorized: the X-IDENTITY-HEADER is missing or wrong.")
    resource = request.query.get("resource", "")
    if request.query.get("api-version") != API_VERSION or not resource:
        return _refusal(400, f"The parameters resource and api-version={API_VERSION} are required.")
    if request.query.get("client_id") != configuration.client_id:
        return _refusal(
            400, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
        )
    token, expires = _token(resource, configuration, issuer), int(time.time()) + configuration.token_seconds
    if resource.rstrip("/") == logins.RESOURCE:
        for server in configuration.servers.values():
            if server.entra_administrators and server.superuser_url:
                logins.accept_token(server.superuser_url, server.entra_administrators, token, expires)
    body: Json = {
        "access_token": token,
        "expires_on": str(expires),
        "resource": resource,
        "token_type": "Bearer",
        "client_id": configuration.client_id or SYSTEM_ASSIGNED_CLIENT_ID,
    }
    return Reply(200, body)


def _token(resource: str, configuration: Configuration, issuer: TokenIssuer) -> str:
    """The configured token, the local cluster's own for an Entra cluster, or one of ours."""
    if given := configuration.tokens.get(resource):
        return given
    if resource == AKS_RESOURCE:
        entra = [c for c in configuration.clusters.values() if c.entra]
        if found := next(filter(None, map(_cluster_token, entra)), ""):
            return found
    return issuer.issue(resource, lifetime_seconds=configuration.token_seconds)


def _cluster_token(cluster: Cluster) -> str:
    """The bearer token in the local cluster's kubeconfig: what that API server takes as proof of who one is."""
    if not cluster.kubeconfig.exists():
        return ""
    users = yaml.safe_load(cluster.kubeconfig.read_text()).get("users") or []
    return next((u["user"]["token"] for u in users if u.get("user", {}).get("token")), "")


def _refusal(status: int, message: str) -> Reply:
    return Reply(status, {"statusCode": status, "message": message, "correlationId": str(uuid.uuid4())})
