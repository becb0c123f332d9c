"""Secrets from Key Vault, by name, at the moment they are needed. Values are returned, and never logged."""

from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import SecretClient

from shared.adapters.azure_errors import CLIENT_OPTIONS, azure_call, error_code
from shared.errors import ConfigurationError

ROLE = "the role Key Vault Secrets User (4633458b-17de-408a-b874-0445c86b69e6) on the vault"


class KeyVaultSecrets:
    """One vault. Implements `shared.model.ports.Secrets`."""

    def __init__(self, vault_url: str, credential: TokenCredential) -> None:
        self.vault_url = vault_url
        self._client = SecretClient(vault_url, credential, **CLIENT_OPTIONS)

    def read(self, name: str, version: str | None = None) -> str:
        """The secret's value, current or of one version.

        Raises ConfigurationError when it is missing or disabled, PermissionMissing when the identity may not read it.
        """
        with azure_call(f"read secret {name} from {self.vault_url}", role=ROLE):
            try:
                value = self._client.get_secret(name, version).value
            except ResourceNotFoundError as error:
                raise self._missing(name, version) from error
            except HttpResponseError as error:
                if error_code(error) == "SecretDisabled":
                    raise self._disabled(name) from error
                raise
        if value is None:
            raise self._missing(name, version)
        return value

    @property
    def _vault(self) -> str:
        return (urlsplit(self.vault_url).hostname or "").partition(".")[0]

    def _missing(self, name: str, version: str | None) -> ConfigurationError:
        which = f"secret {name}" + (f" has no version {version}" if version else " does not exist")
        hint = f"az keyvault secret set --vault-name {self._vault} --name {name} --file <file with the value>"
        return ConfigurationError(f"{which} in {self.vault_url}", hint=hint)

    def _disabled(self, name: str) -> ConfigurationError:
        hint = f"az keyvault secret set-attributes --vault-name {self._vault} --name {name} --enabled true"
        return ConfigurationError(f"secret {name} in {self.vault_url} is disabled", hint=hint)
