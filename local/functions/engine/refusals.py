"""What the engine refuses on an instance as it stands, in the real extension's codes and words.

Source: tests/local_functions/answers.json.
"""

from dataclasses import dataclass

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.store import Instance
from local.functions.management_view import status_name

SUSPENDED, RUNNING = pb.ORCHESTRATION_STATUS_SUSPENDED, pb.ORCHESTRATION_STATUS_RUNNING
MANAGED = frozenset({"terminate", "suspend", "resume", "restart"})
"""Calls whose refusals begin with the name of .NET's exception."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call is refused."""

    code: grpc.StatusCode
    details: str


def refuse_missing(call: str, instance: str) -> Refusal:
    """The instance does not exist."""
    details = f"No instance with ID '{instance}' was found. (Parameter 'instanceId')"
    return Refusal(grpc.StatusCode.NOT_FOUND, f"ArgumentException: {details}" if call in MANAGED else details)


def refuse(call: str, instance: Instance) -> Refusal | None:
    """What stands against this call on an instance that exists."""
    state = status_name(instance.status)
    impossible = {
        "raise an event": instance.ended,
        "terminate": instance.ended,
        "suspend": instance.ended or instance.status == SUSPENDED,
        "resume": instance.ended or instance.status == RUNNING,
        "rewind": instance.status != pb.ORCHESTRATION_STATUS_FAILED,
        "restart": not instance.ended,
        "purge": not instance.ended,
    }
    if not impossible[call]:
        return None
    words = {
        "raise an event": "The orchestration instance with the provided instance id is not running.",
        "rewind": "The rewind operation is only supported on failed orchestration instances.",
        "restart": "Non-terminal instance with this instance ID already exists: "
        f"An Orchestration instance with the status {state} already exists.",
        "purge": "Only orchestrations in a terminal state can be purged, "
        f"but the orchestration with instance ID {instance.id} has status {state}",
    }
    cannot = f"InvalidOperationException: Cannot {call} the orchestration instance {instance.id} "
    details = words.get(call, f"{cannot}because instance is in the {state} state.")
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, details)
