"""What travels between the HTTP server and the services: a request, a reply, and an error in Azure's shape."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as the service behind `host` sees it."""

    method: str
    host: str  # lower case, without the port
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: Json | None = None

    @property
    def origin(self) -> str:
        return f"https://{self.host}"

    @property
    def bearer(self) -> str:
        """The token of the Authorization header, or nothing."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        return json.dumps(self.body).encode()

    def all_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json; charset=utf-8", "x-ms-request-id": str(uuid.uuid4()), **self.headers}


class ServiceError(Exception):
    """An error as Azure Resource Manager and Key Vault give it: a status, and a body with code and message.

    Source: the common API details for Azure Resource Manager (error response content).
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, inner_code: str = ""
    ) -> None:
        super().__init__(message)
        error: Json = {"code": code, "message": message}
        if inner_code:
            error["innererror"] = {"code": inner_code}
        self.reply = Reply(status, {"error": error}, headers or {})


class ConnectionDropped(Exception):
    """A fault asks for the connection to be cut without an answer."""


def resource_not_found(kind: str, key: str) -> ServiceError:
    group, _, name = key.partition("/")
    message = (
        f"The Resource '{kind}/{name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ServiceError(404, "ResourceNotFound", message)
