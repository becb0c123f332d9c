"""Azure SDK errors in the project's terms: what a retry may mend, what a person must, and which role is missing.

The SDK repeats only what failed to connect or was cut off; an answer such as 429 or 503 comes back at once as
TransientError, because Durable Functions already retries activities and waits between them.
Source: azure-core RetryPolicy (`retry_status=0` ends its own repeats of answers, also those with Retry-After).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from shared.errors import ConfigurationError, MigrationError, PermanentError, PermissionMissing, TransientError

CLIENT_OPTIONS: dict[str, Any] = {
    "retry_total": 3,
    "retry_connect": 2,
    "retry_read": 2,
    "retry_status": 0,
    "retry_backoff_factor": 0.4,
    "connection_timeout": 10,  # seconds
    "read_timeout": 30,  # seconds
}
"""For every SDK client: an activity stays well under a minute."""

BUSY_CODES = frozenset(
    {"ServerIsBusy", "ServerBusy", "ServerIsNotReady", "OperationInProgress", "AnotherOperationInProgress"}
)
TRANSIENT_STATUSES = frozenset({408, 425, 429})
NO_SUCH_HOST = ("Name or service not known", "nodename nor servname provided", "Tunnel connection failed: 403")
"""What DNS says of a name that does not exist (not of a resolver that is away), and a proxy of one that it bars.

Source: POSIX getaddrinfo, EAI_NONAME as against EAI_AGAIN."""
SIGN_IN_HINT = (
    "In Azure: assign the managed identity to the function app and set AZURE_CLIENT_ID to its client id. "
    "Elsewhere: run `az login`."
)


@contextmanager
def azure_call(what: str, *, role: str) -> Iterator[None]:
    """Translate the SDK's errors. `what` reads after "could not"; `role` is what a refusal asks for."""
    try:
        yield
    except AzureError as error:
        raise translated(error, what, role=role) from error


def translated(error: AzureError, what: str, *, role: str) -> MigrationError:
    """The error of ours that says the same."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return _answered(error, what, role)
    if isinstance(error, ClientAuthenticationError):
        return ConfigurationError(f"could not {what}: no access token: {_first_line(error)}", hint=SIGN_IN_HINT)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        hint = "If a proxy inspects TLS here, add its authority to the file in REQUESTS_CA_BUNDLE."
        return ConfigurationError(f"could not {what}: the server's certificate is not trusted", hint=hint)
    if isinstance(error, (ServiceRequestError, ServiceResponseError)):
        hint = "Check the name, DNS, and that the app's network reaches it (private endpoint, firewall, proxy)."
        if any(sign in str(error) for sign in NO_SUCH_HOST):
            return ConfigurationError(f"could not {what}: there is no such host: {_first_line(error)}", hint=hint)
        return TransientError(f"could not {what}: no connection: {_first_line(error)}", hint=hint)
    return PermanentError(f"could not {what}: {_first_line(error)}")


def error_code(error: HttpResponseError) -> str:
    """The service's code, such as AuthorizationFailed; the inner code where there is one."""
    code = str(getattr(error.error, "code", "") or "")
    inner = getattr(error.error, "innererror", None) or {}
    return str(inner.get("code") or code) if isinstance(inner, dict) else code


def _answered(error: HttpResponseError, what: str, role: str) -> MigrationError:
    status = error.status_code or 0
    code = error_code(error)
    message = f"could not {what}: HTTP {status} {code}: {_first_line(error)}".rstrip(": ")
    if status in TRANSIENT_STATUSES or status >= 500 or code in BUSY_CODES:
        return TransientError(message + _retry_after(error))
    if status == 403:
        return PermissionMissing(
            message, hint=f"Grant the app's identity {role}; a new grant takes some minutes to work."
        )
    if status == 401:
        return PermissionMissing(message, hint=f"The service does not take this identity's token. {SIGN_IN_HINT}")
    if status == 404:
        return ConfigurationError(
            message, hint="Check the name, the resource group and the subscription of the target."
        )
    return PermanentError(message)


def _retry_after(error: HttpResponseError) -> str:
    seconds = getattr(error.response, "headers", {}).get("Retry-After")
    return f" (the service asks to wait {seconds} s)" if seconds else ""


def _first_line(error: AzureError) -> str:
    """The service's sentence, without the code, the target and the details that the SDK adds on further lines."""
    detail = getattr(getattr(error, "error", None), "message", None)
    return str(detail or error.message or error).strip().splitlines()[0]
