"""PostgreSQL Flexible Server through ARM: the server's facts, and its parameters as long-running operations.

A write answers 202 with `Azure-AsyncOperation` and `Location`; one server changes one thing at a time, and a second
write meanwhile gets ServerIsBusy.
Source: the service's REST reference (Servers, Configurations) and the polling headers as its SDK reads them;
ServerIsBusy's text: github.com/Azure/azure-postgresql/issues/134.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from local.azure.access import Access
from local.azure.config import Configuration, Server
from local.azure.protocol import Json, Reply, Request, ServiceError, resource_not_found
from local.azure.resource_manager.parameters import ServerParameter, catalogue
from local.azure.store import Operation, Store

KIND = "Microsoft.DBforPostgreSQL/flexibleServers"
READ_OPERATION = "Microsoft.DBforPostgreSQL/locations/azureAsyncOperation/read"
_POLL = {"retry-after-ms": "50"}  # the service says tens of seconds


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request points: the server as `resource group/name`, its parameters, one of them."""

    server: str
    parameters: bool = False
    parameter: str = ""

    @property
    def key(self) -> str:
        return self.server.lower()


def answer(
    request: Request, configuration: Configuration, access: Access, store: Store, place: Place, *, fails: str
) -> Reply:
    """Answer one call on a server or its parameters."""
    writes = request.method in {"PUT", "PATCH"} and bool(place.parameter)
    if not writes and request.method != "GET":
        raise ServiceError(405, "MethodNotAllowed", f"{request.method} is not offered here.")
    action = f"{KIND}{'/configurations' if place.parameters else ''}/{'write' if writes else 'read'}"
    access.require(action, request.path)
    server = configuration.servers.get(place.key)
    if server is None:
        raise resource_not_found(KIND, place.server)
    if writes:
        return _write(request, configuration, server, store, place, fails=fails)
    if place.parameter:
        return Reply(200, _read(request.path, server, store, place))
    if place.parameters:
        names = sorted(catalogue(server, store.parameters(place.key)))
        places = [Place(place.server, parameters=True, parameter=name) for name in names]
        return Reply(200, {"value": [_read(f"{request.path}/{p.parameter}", server, store, p) for p in places]})
    return Reply(200, _facts(request.path, place, server))


def read_operation(store: Store, kind: str, operation_id: str) -> Reply:
    """Answer a poll: the status by Azure-AsyncOperation, or the result by Location."""
    operation = store.operation(operation_id)
    if operation is None:
        raise ServiceError(404, "NotFound", f"There is no operation {operation_id}.")
    body: Json = {"name": operation_id, "startTime": _now()}
    if operation.in_progress(time.time()):
        status = 202 if kind.lower() == "operationresults" else 200
        return Reply(status, body | {"status": "InProgress"}, _POLL)
    if operation.error_code:
        error = {"code": operation.error_code, "message": f"Changing {operation.parameter} did not succeed."}
        return Reply(200, body | {"status": "Failed", "endTime": _now(), "error": error})
    return Reply(200, body | {"status": "Succeeded", "endTime": _now()})


def _facts(path: str, place: Place, server: Server) -> Json:
    return {
        "id": path,
        "name": place.server.partition("/")[2],
        "type": KIND,
        "location": "West Europe",
        "sku": {"name": server.sku_name, "tier": server.tier},
        "properties": {
            "fullyQualifiedDomainName": server.fqdn,
            "version": server.version,
            "state": server.state,
            "administratorLogin": server.administrator_login,
            "authConfig": {"activeDirectoryAuth": "Enabled", "passwordAuth": "Enabled"},
            "storage": {"storageSizeGB": 32},
            "network": {"publicNetworkAccess": "Disabled"},
        },
    }


def _known(server: Server, store: Store, place: Place) -> ServerParameter:
    name = place.parameter
    parameter = catalogue(server, store.parameters(place.key)).get(name)
    if parameter is None:
        message = f"The configuration '{name}' does not exist for PostgreSQL server version {server.version}."
        raise ServiceError(404, "ConfigurationNotExists", message)
    return parameter


def _read(path: str, server: Server, store: Store, place: Place) -> Json:
    parameter = _known(server, store, place)
    value = store.parameters(place.key).get(place.parameter, server.parameters.get(place.parameter))
    return {
        "id": path,
        "name": place.parameter,
        "type": f"{KIND}/configurations",
        "properties": {
            "value": parameter.default if value is None else value,
            "defaultValue": parameter.default,
            "allowedValues": parameter.allowed,
            "dataType": parameter.data_type,
            "source": "system-default" if value is None else "user-override",
            "isDynamicConfig": parameter.dynamic,
            "isReadOnly": parameter.read_only,
            "isConfigPendingRestart": place.parameter in store.pending_restart(place.key),
            "description": "",
        },
    }


def _write(
    request: Request, configuration: Configuration, server: Server, store: Store, place: Place, *, fails: str
) -> Reply:
    name = place.server.partition("/")[2]
    parameter = _known(server, store, place)
    if server.state != "Ready":
        raise ServiceError(409, "ServerIsNotReady", f"The server '{name}' is in the state {server.state}.")
    value = str((request.body or {}).get("properties", {}).get("value", ""))
    if parameter.read_only:
        raise ServiceError(400, "InvalidParameterValue", f"The server parameter '{place.parameter}' is read-only.")
    if not parameter.accepts(value):
        allowed = f"Allowed: {parameter.allowed}."
        message = f"The value '{value}' for configuration '{place.parameter}' is not valid. {allowed}"
        raise ServiceError(400, "InvalidParameterValue", message)
    done_at = time.time() + configuration.operation_seconds
    operation = Operation(place.key, place.parameter, value, done_at, restart=not parameter.dynamic, error_code=fails)
    operation_id = str(uuid.uuid4())
    if not store.start(operation_id, operation):
        busy = f"while server '{name}' is busy processing another operation. Try again later."
        raise ServiceError(409, "ServerIsBusy", f"Cannot complete operation {busy}")
    return _accepted(request, configuration, operation_id)


def _accepted(request: Request, configuration: Configuration, operation_id: str) -> Reply:
    base = (
        f"{request.origin}/subscriptions/{configuration.subscription_id}"
        "/providers/Microsoft.DBforPostgreSQL/locations/westeurope"
    )
    version = f"api-version={request.query['api-version']}"
    headers = _POLL | {
        "Azure-AsyncOperation": f"{base}/azureAsyncOperation/{operation_id}?{version}",
        "Location": f"{base}/operationResults/{operation_id}?{version}",
    }
    return Reply(202, {"operation": "UpsertServerManagementOperationV2", "startTime": _now()}, headers)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
