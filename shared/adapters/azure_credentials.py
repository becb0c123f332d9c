"""Who the app is towards Azure: its managed identity in Azure, the developer's login elsewhere. No key, no password."""

import os

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.identity import (
    AzureCliCredential,
    AzureDeveloperCliCredential,
    ChainedTokenCredential,
    ManagedIdentityCredential,
)

from shared.adapters.azure_errors import translated

ARM_SCOPE = "https://management.azure.com/.default"
KEY_VAULT_SCOPE = "https://vault.azure.net/.default"
# The server application of every AKS cluster with Entra integration.
# Source: learn.microsoft.com/azure/aks/kubelogin-authentication
AKS_SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
# The token is the password of an Entra login.
# Source: learn.microsoft.com/azure/postgresql/security/security-entra-configure
POSTGRES_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"

LOGIN_TIMEOUT_SECONDS = 15


def credential(client_id: str | None) -> TokenCredential:
    """The app's credential. `client_id` is the user-assigned identity's; None or empty for the system-assigned one.

    Functions and App Service set IDENTITY_ENDPOINT where a managed identity is assigned. The two logins of a developer
    are named one by one, so that nothing else on his machine is picked up by surprise.
    Source: learn.microsoft.com/azure/app-service/overview-managed-identity
    """
    if os.environ.get("IDENTITY_ENDPOINT"):
        return ManagedIdentityCredential(client_id=client_id or None)
    return ChainedTokenCredential(
        AzureCliCredential(process_timeout=LOGIN_TIMEOUT_SECONDS),
        AzureDeveloperCliCredential(process_timeout=LOGIN_TIMEOUT_SECONDS),
    )


def postgres_token(credential: TokenCredential) -> str:
    """A token for PostgreSQL, valid now; it is sent as the password."""
    try:
        return credential.get_token(POSTGRES_SCOPE).token
    except AzureError as error:
        raise translated(error, "get a token for PostgreSQL", role="an identity") from error
