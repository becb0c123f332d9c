"""Azure Resource Manager: the token, the subscription, and the way to the two resource providers that the app calls."""

import re

from local.azure.access import Access
from local.azure.config import Configuration
from local.azure.protocol import Reply, Request, ServiceError
from local.azure.resource_manager import aks, flexible_server
from local.azure.store import Store
from local.azure.tokens import TokenIssuer

HOST = "management.azure.com"
RESOURCE = "https://management.azure.com"
_PATH = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)(?:/resourceGroups/(?P<group>[^/]+))?/providers/(?P<rest>.+)", re.IGNORECASE
)
_CLUSTER = re.compile(r"Microsoft\.ContainerService/managedClusters/([^/]+)(?:/(\w+))?", re.IGNORECASE)
_OPERATION = re.compile(
    r"Microsoft\.DBforPostgreSQL/locations/[^/]+/(azureAsyncOperation|operationResults)/([^/]+)", re.IGNORECASE
)
_SERVER = re.compile(
    r"Microsoft\.DBforPostgreSQL/flexibleServers/([^/]+)(?:/(configurations)(?:/([^/]+))?)?", re.IGNORECASE
)


def answer(
    request: Request, configuration: Configuration, issuer: TokenIssuer, access: Access, store: Store, *, fails: str
) -> Reply:
    """Answer one call. `fails`: the error code that an operation started by this call ends with, empty for none."""
    _require_token(request, configuration, issuer)
    if "api-version" not in request.query:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ServiceError(400, "MissingApiVersionParameter", message)
    path = _PATH.fullmatch(request.path)
    if path is None:
        raise ServiceError(404, "NotFound", f"There is nothing at {request.path}.")
    if path["subscription"].lower() != configuration.subscription_id:
        message = f"The subscription '{path['subscription']}' could not be found."
        raise ServiceError(404, "SubscriptionNotFound", message)
    if found := _OPERATION.fullmatch(path["rest"]):
        access.require(flexible_server.READ_OPERATION, request.path)
        return flexible_server.read_operation(store, found[1], found[2])
    if found := _CLUSTER.fullmatch(path["rest"]):
        return aks.answer(request, configuration, access, f"{path['group']}/{found[1]}", found[2] or "")
    if found := _SERVER.fullmatch(path["rest"]):
        place = flexible_server.Place(f"{path['group']}/{found[1]}", found[2] is not None, found[3] or "")
        return flexible_server.answer(request, configuration, access, store, place, fails=fails)
    raise ServiceError(404, "InvalidResourceType", f"The resource type could not be found: {path['rest']}.")


def _require_token(request: Request, configuration: Configuration, issuer: TokenIssuer) -> None:
    refusal = issuer.refusal(request.bearer, RESOURCE)
    if not refusal:
        return
    login = f"https://login.microsoftonline.com/{configuration.tenant_id}"
    challenge = f'Bearer authorization_uri="{login}", error="invalid_token", error_description="{refusal}"'
    code = "InvalidAuthenticationToken" if request.bearer else "AuthenticationFailed"
    raise ServiceError(401, code, f"Authentication failed: {refusal}.", headers={"WWW-Authenticate": challenge})
