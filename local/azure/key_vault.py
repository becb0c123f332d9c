"""Key Vault's secrets: the bearer challenge, reading a secret or one of its versions, and each way to be refused.

Source: learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses; a disabled secret (403,
inner code SecretDisabled): github.com/Azure/azure-sdk-for-js/issues/24756; a missing role: ForbiddenByRbac.
"""

import hashlib
import re

from local.azure.access import Access
from local.azure.config import Configuration, Secret
from local.azure.protocol import Json, Reply, Request, ServiceError
from local.azure.tokens import TokenIssuer

DOMAIN = ".vault.azure.net"
RESOURCE = "https://vault.azure.net"
READ_ACTION = "Microsoft.KeyVault/vaults/secrets/getSecret/action"
_CREATED = 1_760_000_000
_PATH = re.compile(r"/secrets/(?P<name>[^/]+)(?:/(?P<version>[^/]*))?")


def answer(request: Request, configuration: Configuration, issuer: TokenIssuer, access: Access) -> Reply:
    """Read one secret, as `GET https://<vault>.vault.azure.net/secrets/<name>[/<version>]`."""
    _require_token(request, configuration, issuer)
    if "api-version" not in request.query:
        raise ServiceError(400, "BadParameter", "api-version must be specified")
    vault = request.host.removesuffix(DOMAIN)
    path = _PATH.fullmatch(request.path)
    if path is None or request.method != "GET":
        raise ServiceError(405, "MethodNotAllowed", f"{request.method} {request.path} is not offered here.")
    if access.denies(READ_ACTION) or access.denies(f"{READ_ACTION} {path['name']}"):  # roles are given to one or all
        raise ServiceError(403, "Forbidden", _not_authorized(vault), inner_code="ForbiddenByRbac")
    secret = configuration.vaults.get(vault, {}).get(path["name"].lower())
    return _read(request.host, path["name"].lower(), path["version"] or "", secret)


def _read(host: str, name: str, version: str, secret: Secret | None) -> Reply:
    versions = {_version(name, i): value for i, value in enumerate(secret.values)} if secret else {}
    if secret is None or (version and version not in versions):
        raise ServiceError(
            404,
            "SecretNotFound",
            f"A secret with (name/id) {name}{'/' + version if version else ''} was not found in this key vault. "
            "If you recently deleted this secret you may be able to recover it using the correct recovery command.",
        )
    if not secret.enabled:
        message = "Operation get is not allowed on a disabled secret."
        raise ServiceError(403, "Forbidden", message, inner_code="SecretDisabled")
    chosen = version or list(versions)[-1]
    body: Json = {
        "value": versions[chosen],
        "id": f"https://{host}/secrets/{name}/{chosen}",
        "attributes": {
            "enabled": True,
            "created": _CREATED,
            "updated": _CREATED,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        },
    }
    return Reply(200, body)


def _version(name: str, index: int) -> str:
    """A stable id of 32 hexadecimal digits, as the service's are."""
    return hashlib.md5(f"{name}/{index}".encode(), usedforsecurity=False).hexdigest()


def _require_token(request: Request, configuration: Configuration, issuer: TokenIssuer) -> None:
    if not (refusal := issuer.refusal(request.bearer, RESOURCE)):
        return
    login = f"https://login.microsoftonline.com/{configuration.tenant_id}"
    challenge = f'Bearer authorization="{login}", resource="{RESOURCE}"'
    raise ServiceError(401, "Unauthorized", f"AKV10000: {refusal}.", headers={"WWW-Authenticate": challenge})


def _not_authorized(vault: str) -> str:
    return (
        "Caller is not authorized to perform action on resource.\r\n"
        f"Action: '{READ_ACTION}'\r\nAssignment: (not found)\r\nVault: {vault};location=westeurope"
    )
