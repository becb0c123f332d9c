"""The durable management API under /runtime/webhooks/durabletask: what `create_check_status_response` points to.

Reading a status costs one row of the engine, whatever the length of the history.

Source: https://learn.microsoft.com/azure/azure-functions/durable/durable-functions-http-api, and HttpApiHandler.cs of
azure-functions-durable-extension where the page is silent.
"""

import json
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.functions.management_view import ENDED, history_view, instance_view, payload, status_values
from local.functions.triggers.durable_client import WEBHOOK, management_payload
from local.functions.web.http import Endpoint, Guarded
from local.functions.web.routes import Route, parse_template

Parameters = Mapping[str, str]

PATIENCE_SECONDS = 20.0
"""How long a call waits for an engine that is being started again, before the answer is 503."""


class BadRequest(Exception):
    """The request cannot be understood; the text says why."""


class ManagementApi:
    """The endpoints, on a stub of the engine."""

    def __init__(self, stub: Any, client_configuration: str, known: Callable[[str], bool]) -> None:
        self._engine = stub
        self._client = client_configuration
        self._knows = known

    def routes(self) -> list[Route[Guarded]]:
        """List the routes; all of them want the system key."""
        instance = f"{WEBHOOK}/instances/{{id}}"
        return [
            _route("POST", f"{WEBHOOK}/orchestrators/{{name}}/{{id?}}", self.start),
            _route("GET", f"{WEBHOOK}/instances", self.list_instances),
            _route("DELETE", f"{WEBHOOK}/instances", self.purge_instances),
            _route("GET", instance, self.read_instance),
            _route("DELETE", instance, self.purge_instance),
            _route("POST", f"{instance}/raiseEvent/{{event}}", self.raise_event),
            _route("POST", f"{instance}/terminate", self.terminate),
            _route("POST", f"{instance}/suspend", self.suspend),
            _route("POST", f"{instance}/resume", self.resume),
            _route("POST", f"{instance}/rewind", self.rewind),
            _route("POST", f"{instance}/restart", self.restart),
            _route("GET", f"{WEBHOOK}/entities/{{name?}}", self.list_entities),
            _route("GET", f"{WEBHOOK}/entities/{{name}}/{{key}}", self.read_entity),
            _route("POST", f"{WEBHOOK}/entities/{{name}}/{{key}}", self.signal_entity),
        ]

    async def start(self, request: Request, parameters: Parameters) -> Response:
        """Start an orchestration and answer with its management URLs."""
        if not self._knows(parameters["name"]):
            raise BadRequest(f"the function '{parameters['name']}' is not an orchestrator function")
        body = await request.body()
        wanted = pb.CreateInstanceRequest(instanceId=parameters.get("id", ""), name=parameters["name"])
        if body:
            wanted.input.value = _json_text(body)
        try:
            started = await self._ask("StartInstance", wanted)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.ALREADY_EXISTS:
                return _problem(409, error.details() or "")
            raise
        return self._accepted(started.instanceId)

    async def read_instance(self, request: Request, parameters: Parameters) -> Response:
        """Show one instance: 202 while it is at work, 200 when it has ended."""
        state = await self._state(parameters["id"], payloads=True)
        if state is None:
            return Response(status_code=404)
        query = request.query_params
        view = instance_view(state, show_input=query.get("showInput", "true").lower() != "false")
        if query.get("showHistory", "").lower() == "true":
            show_output = query.get("showHistoryOutput", "").lower() == "true"
            view["historyEvents"] = history_view(await self._history(parameters["id"]), show_output=show_output)
        if view["runtimeStatus"] not in ENDED:
            return JSONResponse(view, 202, headers={"Location": str(request.url), "Retry-After": "10"})
        wants_500 = query.get("returnInternalServerErrorOnFailure", "").lower() == "true"
        return JSONResponse(view, 500 if wants_500 and view["runtimeStatus"] == "Failed" else 200)

    async def list_instances(self, request: Request, _parameters: Parameters) -> Response:
        """List instances, a page at a time."""
        query = request.query_params
        asked = pb.InstanceQuery(**_filter(query), fetchInputsAndOutputs=True)
        asked.maxInstanceCount = int(query["top"]) if query.get("top", "").isdigit() else 100
        if prefix := query.get("instanceIdPrefix"):
            asked.instanceIdPrefix.value = prefix
        if token := request.headers.get("x-ms-continuation-token"):
            asked.continuationToken.value = token
        answer = await self._ask("QueryInstances", pb.QueryInstancesRequest(query=asked))
        show_input = query.get("showInput", "true").lower() != "false"
        views = [instance_view(state, show_input=show_input) for state in answer.orchestrationState]
        following = answer.continuationToken.value
        return JSONResponse(views, headers={"x-ms-continuation-token": following} if following else {})

    async def purge_instance(self, _request: Request, parameters: Parameters) -> Response:
        """Delete one instance that has ended."""
        asked = pb.PurgeInstancesRequest(instanceId=parameters["id"], recursive=True)
        return _purged(await self._ask("PurgeInstances", asked))

    async def purge_instances(self, request: Request, _parameters: Parameters) -> Response:
        """Delete the instances that ended among those a filter names; it must say from when."""
        if "createdTimeFrom" not in request.query_params:
            raise BadRequest("createdTimeFrom is missing")
        asked = pb.PurgeInstanceFilter(**_filter(request.query_params))
        return _purged(await self._ask("PurgeInstances", pb.PurgeInstancesRequest(purgeInstanceFilter=asked)))

    async def raise_event(self, request: Request, parameters: Parameters) -> Response:
        """Send an external event to an instance at work."""
        refused = await self._refuse_ended(parameters["id"])
        if refused:
            return refused
        if "application/json" not in request.headers.get("content-type", ""):
            raise BadRequest("Only application/json request content is supported")
        data = _json_text(await request.body())
        event = pb.RaiseEventRequest(instanceId=parameters["id"], name=parameters["event"], input={"value": data})
        await self._ask("RaiseEvent", event)
        return Response(status_code=202)

    async def terminate(self, request: Request, parameters: Parameters) -> Response:
        """End an instance at work; the reason becomes its output."""
        reason = {"value": json.dumps(request.query_params.get("reason", ""))}
        asked = pb.TerminateRequest(instanceId=parameters["id"], output=reason, recursive=True)
        return await self._refuse_ended(parameters["id"]) or await _accept(self._ask("TerminateInstance", asked))

    async def suspend(self, request: Request, parameters: Parameters) -> Response:
        """Pause an instance at work."""
        asked = pb.SuspendRequest(instanceId=parameters["id"], reason=_reason(request))
        return await self._refuse_ended(parameters["id"]) or await _accept(self._ask("SuspendInstance", asked))

    async def resume(self, request: Request, parameters: Parameters) -> Response:
        """Let a paused instance go on."""
        asked = pb.ResumeRequest(instanceId=parameters["id"], reason=_reason(request))
        return await self._refuse_ended(parameters["id"]) or await _accept(self._ask("ResumeInstance", asked))

    async def rewind(self, request: Request, parameters: Parameters) -> Response:
        """Set a failed instance going again; 410 when it ended otherwise, 412 when it is at work."""
        state = await self._state(parameters["id"])
        if state is None:
            return Response(status_code=404)
        if state.orchestrationStatus != pb.ORCHESTRATION_STATUS_FAILED:
            return Response(status_code=410 if instance_view(state)["runtimeStatus"] in ENDED else 412)
        asked = pb.RewindInstanceRequest(instanceId=parameters["id"], reason=_reason(request))
        return await _accept(self._ask("RewindInstance", asked))

    async def restart(self, request: Request, parameters: Parameters) -> Response:
        """Run an ended instance again, under a new id unless `restartWithNewInstanceId=false`."""
        renew = request.query_params.get("restartWithNewInstanceId", "true").lower() != "false"
        asked = pb.RestartInstanceRequest(instanceId=parameters["id"], restartWithNewInstanceId=renew)
        try:
            restarted = await self._ask("RestartInstance", asked)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return Response(status_code=404)
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                raise BadRequest(error.details() or "") from error
            raise
        return self._accepted(restarted.instanceId)

    async def list_entities(self, request: Request, parameters: Parameters) -> Response:
        """List entities, all or those of one name."""
        query = pb.EntityQuery(includeState=request.query_params.get("fetchState", "").lower() == "true")
        name = parameters.get("name", "")
        query.instanceIdStartsWith.value = f"@{name.lower()}@" if name else "@"
        answer = await self._ask("QueryEntities", pb.QueryEntitiesRequest(query=query))
        return JSONResponse([_entity_view(entity) for entity in answer.entities])

    async def read_entity(self, _request: Request, parameters: Parameters) -> Response:
        """Show the state of an entity."""
        entity = f"@{parameters['name'].lower()}@{parameters['key']}"
        answer = await self._ask("GetEntity", pb.GetEntityRequest(instanceId=entity, includeState=True))
        if not answer.exists or not answer.entity.HasField("serializedState"):
            return Response(status_code=404)
        return JSONResponse(payload(answer.entity.serializedState))

    async def signal_entity(self, request: Request, parameters: Parameters) -> Response:
        """Send an operation to an entity without waiting for it."""
        entity = f"@{parameters['name'].lower()}@{parameters['key']}"
        signal = pb.SignalEntityRequest(instanceId=entity, name=request.query_params.get("op", ""))
        if body := await request.body():
            signal.input.value = _json_text(body)
        return await _accept(self._ask("SignalEntity", signal))

    async def _ask(self, call: str, request: Any) -> Any:
        """Call the engine; one that is being started again is waited for."""
        return await getattr(self._engine, call)(request, wait_for_ready=True, timeout=PATIENCE_SECONDS)

    async def _state(self, instance: str, *, payloads: bool = False) -> pb.OrchestrationState | None:
        answer = await self._ask(
            "GetInstance", pb.GetInstanceRequest(instanceId=instance, getInputsAndOutputs=payloads)
        )
        return answer.orchestrationState if answer.exists else None

    async def _history(self, instance: str) -> list[pb.HistoryEvent]:
        asked = pb.StreamInstanceHistoryRequest(instanceId=instance)
        chunks = self._engine.StreamInstanceHistory(asked, wait_for_ready=True, timeout=PATIENCE_SECONDS)
        return [event async for chunk in chunks for event in chunk.events]

    async def _refuse_ended(self, instance: str) -> Response | None:
        """Answer 404 for an instance that does not exist and 410 for one that has ended."""
        state = await self._state(instance)
        if state is None:
            return Response(status_code=404)
        return Response(status_code=410) if instance_view(state)["runtimeStatus"] in ENDED else None

    def _accepted(self, instance: str) -> Response:
        urls = management_payload(self._client, instance)
        return JSONResponse(urls, 202, headers={"Location": urls["statusQueryGetUri"], "Retry-After": "10"})


def _route(method: str, template: str, endpoint: Endpoint) -> Route[Guarded]:
    async def answer(request: Request, parameters: Parameters) -> Response:
        try:
            return await endpoint(request, parameters)
        except BadRequest as error:
            return _problem(400, str(error))
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            return Response(status_code=503, headers={"Retry-After": "1"})

    return Route(parse_template(template), frozenset({method}), Guarded("system", answer))


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"Message": message}, status)


async def _accept(call: Coroutine[Any, Any, Any]) -> Response:
    await call
    return Response(status_code=202)


def _purged(answer: pb.PurgeInstancesResponse) -> Response:
    deleted = answer.deletedInstanceCount
    return JSONResponse({"instancesDeleted": deleted}) if deleted else Response(status_code=404)


def _reason(request: Request) -> Any:
    return {"value": request.query_params.get("reason", "")}


def _json_text(body: bytes) -> str:
    """Check that a body is JSON and return it as it is; an empty one is null."""
    try:
        return json.dumps(json.loads(body)) if body else "null"
    except ValueError as error:
        raise BadRequest(f"Invalid JSON content: {error}") from error


def _filter(query: Mapping[str, str]) -> dict[str, Any]:
    """Read the filter both listing and purging take."""
    chosen: dict[str, Any] = {}
    for name in ("createdTimeFrom", "createdTimeTo"):
        if text := query.get(name):
            try:
                at = datetime.fromisoformat(text)
            except ValueError as error:
                raise BadRequest(f"{name} is not a time: {text}") from error
            chosen[name] = at if at.tzinfo else at.astimezone()
    if wanted := query.get("runtimeStatus"):
        known = status_values()
        unknown = [status for status in wanted.split(",") if status.strip().lower() not in known]
        if unknown:
            raise BadRequest(f"runtimeStatus is unknown: {', '.join(unknown)}")
        chosen["runtimeStatus"] = [known[status.strip().lower()] for status in wanted.split(",")]
    return chosen


def _entity_view(entity: pb.EntityMetadata) -> dict[str, Any]:
    _, name, key = entity.instanceId.split("@", 2)
    view = {"entityId": {"name": name, "key": key}, "lastOperationTime": entity.lastModifiedTime.ToJsonString()}
    return view | ({"state": payload(entity.serializedState)} if entity.HasField("serializedState") else {})
