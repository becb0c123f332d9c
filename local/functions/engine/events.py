"""Build history events: what happened to an orchestration, with the time it happened."""

from collections.abc import Iterable
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb


def text(value: str | None) -> dict[str, str] | None:
    """Wrap an optional string for a protobuf field; None stays absent."""
    return None if value is None else {"value": value}


def unwrap(message: Any, field: str) -> str | None:
    """Read an optional wrapped string; absent is None."""
    return str(getattr(message, field).value) if message.HasField(field) else None


def stamp(at: float) -> dict[str, int]:
    """Write seconds since the epoch for a protobuf timestamp field."""
    whole = int(at // 1)
    return {"seconds": whole, "nanos": int((at - whole) * 1e9)}


def seconds(moment: Any) -> float:
    """Read a protobuf timestamp as seconds since the epoch."""
    return int(moment.seconds) + int(moment.nanos) / 1e9


def event(at: float, event_id: int = -1, **body: Any) -> pb.HistoryEvent:
    """Build one history event; `body` is its one-of, by field name."""
    return pb.HistoryEvent(eventId=event_id, timestamp=stamp(at), **body)


def kind(of: pb.HistoryEvent) -> str:
    """Name the event's type, as its protobuf field."""
    return of.WhichOneof("eventType") or ""


def failure(error_type: str, message: str) -> pb.TaskFailureDetails:
    """Describe a failure; the message is never empty, so nothing downstream takes it for a success."""
    return pb.TaskFailureDetails(errorType=error_type, errorMessage=message or error_type)


def open_tasks(history: Iterable[pb.HistoryEvent]) -> dict[int, pb.HistoryEvent]:
    """List what was scheduled and has not ended, by event id: activities, timers and sub-orchestrations.

    A retried task is scheduled again under its old id, so the last word counts.
    """
    pending: dict[int, pb.HistoryEvent] = {}
    for item in history:
        match kind(item):
            case "taskScheduled" | "timerCreated" | "subOrchestrationInstanceCreated":
                pending[item.eventId] = item
            case "timerFired":
                pending.pop(item.timerFired.timerId, None)
            case (
                "taskCompleted" | "taskFailed" | "subOrchestrationInstanceCompleted" | "subOrchestrationInstanceFailed"
            ):
                pending.pop(getattr(item, kind(item)).taskScheduledId, None)
    return pending
