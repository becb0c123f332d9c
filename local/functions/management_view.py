"""What the durable management API shows: instances and histories as JSON.

Source: https://learn.microsoft.com/azure/azure-functions/durable/durable-functions-http-api
"""

import json
from collections.abc import Sequence
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

ENDED = frozenset({"Completed", "Failed", "Terminated", "Canceled"})


def status_name(status: int) -> str:
    """Name a status as the API does: `ContinuedAsNew`."""
    name = pb.OrchestrationStatus.Name(pb.OrchestrationStatus.ValueType(status)).removeprefix("ORCHESTRATION_STATUS_")
    return "".join(word.capitalize() for word in name.split("_"))


def status_values() -> dict[str, int]:
    """Map the API's status names, in lower case, to the protocol's values."""
    return {status_name(value).lower(): value for _, value in pb.OrchestrationStatus.items()}


def moment(timestamp: Any) -> str:
    """Write a protobuf timestamp as the API does."""
    return str(timestamp.ToJsonString())


def payload(wrapped: Any) -> Any:
    """Decode a serialized value; one that is not JSON is shown as it is."""
    try:
        return json.loads(wrapped.value) if wrapped.value else None
    except ValueError:
        return wrapped.value


def instance_view(state: pb.OrchestrationState, *, show_input: bool = True) -> dict[str, Any]:
    """Show one instance. The output of a failed one says why it failed."""
    output = payload(state.output)
    return {
        "name": state.name,
        "instanceId": state.instanceId,
        "runtimeStatus": status_name(state.orchestrationStatus),
        "input": payload(state.input) if show_input else None,
        "customStatus": payload(state.customStatus),
        "output": output,
        "createdTime": moment(state.createdTimestamp),
        "lastUpdatedTime": moment(state.lastUpdatedTimestamp),
    }


def history_view(events: Sequence[pb.HistoryEvent], *, show_output: bool) -> list[dict[str, Any]]:
    """Show a history. What was scheduled is folded into what came of it, as in Azure."""
    scheduled = {event.eventId: event for event in events if event.eventId >= 0}
    shown = []
    for event in events:
        kind = event.WhichOneof("eventType") or ""
        if kind in ("orchestratorStarted", "orchestratorCompleted", "taskScheduled", "subOrchestrationInstanceCreated"):
            continue
        body = getattr(event, kind)
        view = {"EventType": kind[:1].upper() + kind[1:], "Timestamp": moment(event.timestamp)}
        shown.append(view | _details(kind, body, scheduled, show_output=show_output))
    return shown


def _details(kind: str, body: Any, scheduled: dict[int, pb.HistoryEvent], *, show_output: bool) -> dict[str, Any]:
    details: dict[str, Any] = {}
    match kind:
        case "executionStarted":
            details = {"FunctionName": body.name}
        case "executionCompleted":
            details = {"OrchestrationStatus": status_name(body.orchestrationStatus)}
            details |= {"Result": payload(body.result)} if show_output else {}
        case "taskCompleted" | "taskFailed":
            details = _ended(body, scheduled, "taskScheduled", show_output=show_output)
        case "subOrchestrationInstanceCompleted" | "subOrchestrationInstanceFailed":
            details = _ended(body, scheduled, "subOrchestrationInstanceCreated", show_output=show_output)
        case "timerCreated" | "timerFired":
            details = {"FireAt": moment(body.fireAt)}
        case "eventRaised":
            details = {"Name": body.name, "Input": payload(body.input)}
    return details


def _ended(body: Any, scheduled: dict[int, pb.HistoryEvent], kind: str, *, show_output: bool) -> dict[str, Any]:
    began = scheduled.get(body.taskScheduledId)
    details: dict[str, Any] = {}
    if began is not None and began.HasField(kind):
        details = {"FunctionName": getattr(began, kind).name, "ScheduledTime": moment(began.timestamp)}
    if hasattr(body, "failureDetails"):
        why = body.failureDetails
        return details | {"Reason": why.errorMessage, "ErrorType": why.errorType}
    return details | ({"Result": payload(body.result)} if show_output else {})
