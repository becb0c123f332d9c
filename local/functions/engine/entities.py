"""Durable entities: operations wait in order, a batch is run at a time, and the answers go back to the callers."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.events import event, failure, seconds, unwrap
from local.functions.engine.instances import InstanceExists, Start, send, start_instance
from local.functions.engine.store import Store


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation for an entity; without a caller it is a signal, and nobody waits for its answer."""

    request: str
    name: str
    input: str | None
    caller: str | None = None
    caller_execution: str | None = None
    position: int = 0


def queue_operation(store: Store, entity: str, operation: Operation, now: float, *, due: float | None = None) -> None:
    """Leave an operation for an entity, which comes into being with its first one."""
    store.rows("INSERT OR IGNORE INTO entity(id, updated) VALUES (?, ?)", entity, now)
    store.rows(
        "INSERT INTO operation(entity, request, name, input, caller, caller_execution, due)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(entity, operation.request, operation.name, operation.input, operation.caller, operation.caller_execution),
        max(now, due or now),
    )


def queue_signal(store: Store, entity: str, signal: Any, now: float) -> None:
    """Queue what a client, an entity or an orchestration sends without waiting; perhaps for later."""
    due = seconds(signal.scheduledTime) if signal.HasField("scheduledTime") else None
    name = signal.operation if hasattr(signal, "operation") else signal.name
    request = getattr(signal, "requestId", "") or uuid.uuid4().hex
    queue_operation(store, entity, Operation(request, name, unwrap(signal, "input")), now, due=due)


def queue_call(store: Store, called: pb.EntityOperationCalledEvent, caller: str, execution: str, now: float) -> None:
    """Queue an operation whose answer an orchestration waits for."""
    operation = Operation(called.requestId, called.operation, unwrap(called, "input"), caller, execution)
    queue_operation(store, called.targetInstanceId.value, operation, now)


def read_batch(store: Store, entity: str, now: float) -> list[Operation]:
    """Read the operations an entity may take now, oldest first."""
    found = store.rows(
        "SELECT o.* FROM operation o JOIN entity e ON e.id = o.entity WHERE o.entity = ? AND o.due <= ?"
        " AND (e.locked_by IS NULL OR o.caller = e.lock_owner) ORDER BY o.due, o.position",
        *(entity, now),
    )
    return [
        Operation(row["request"], row["name"], row["input"], row["caller"], row["caller_execution"], row["position"])
        for row in found
    ]


def complete_batch(
    store: Store, entity: str, batch: Sequence[Operation], result: pb.EntityBatchResult, now: float
) -> None:
    """Record the new state, answer the callers and do what the entity asked for."""
    for operation in batch:
        store.rows("DELETE FROM operation WHERE position = ?", operation.position)
    if result.HasField("failureDetails"):
        for operation in batch:
            _answer(store, operation, pb.OperationResultFailure(failureDetails=result.failureDetails), now)
        return
    state = unwrap(result, "entityState")
    store.rows("UPDATE entity SET state = ?, updated = ? WHERE id = ?", state or None, now, entity)
    for number, operation in enumerate(batch):
        answer = result.results[number] if number < len(result.results) else None
        kind = answer.WhichOneof("resultType") if answer else None
        _answer(store, operation, getattr(answer, kind) if kind else None, now)
    for action in result.actions:
        _act(store, action, now)


def _answer(store: Store, operation: Operation, answer: Any, now: float) -> None:
    caller = store.instance(operation.caller) if operation.caller else None
    if caller is None or (operation.caller_execution and caller.execution != operation.caller_execution):
        return
    if isinstance(answer, pb.OperationResultSuccess):
        completed = pb.EntityOperationCompletedEvent(requestId=operation.request, output=answer.result)
        send(store, caller, now, entityOperationCompleted=completed)
        return
    why = answer.failureDetails if answer else failure("EntityError", f"{operation.name} gave no result")
    failed = pb.EntityOperationFailedEvent(requestId=operation.request, failureDetails=why)
    send(store, caller, now, entityOperationFailed=failed)


def _act(store: Store, action: pb.OperationAction, now: float) -> None:
    if action.HasField("sendSignal"):
        queue_signal(store, action.sendSignal.instanceId, action.sendSignal, now)
    elif action.HasField("startNewOrchestration"):
        asked = action.startNewOrchestration
        starts = seconds(asked.scheduledTime) if asked.HasField("scheduledTime") else now
        start = Start(asked.name, starts, asked.instanceId, unwrap(asked, "version"), unwrap(asked, "input"))
        try:
            start_instance(store, start, now)
        except InstanceExists:
            return  # as in Azure: an entity's fire-and-forget start of a running instance changes nothing


def clean_entities(store: Store, asked: pb.CleanEntityStorageRequest) -> pb.CleanEntityStorageResponse:
    """Remove empty entities and locks whose owner is gone."""
    removed = released = 0
    if asked.removeEmptyEntities:
        removed = len(
            store.rows(
                "DELETE FROM entity WHERE state IS NULL AND locked_by IS NULL"
                " AND id NOT IN (SELECT entity FROM operation) RETURNING id"
            )
        )
    if asked.releaseOrphanedLocks:
        released = len(
            store.rows(
                "UPDATE entity SET locked_by = NULL, lock_owner = NULL WHERE locked_by IS NOT NULL"
                " AND lock_owner NOT IN (SELECT id FROM instance) RETURNING id"
            )
        )
    return pb.CleanEntityStorageResponse(emptyEntitiesRemoved=removed, orphanedLocksReleased=released)


def entity_event(now: float, action: pb.OrchestratorAction) -> pb.HistoryEvent:
    """Confirm in the sender's history that its entity message went out."""
    message = action.sendEntityMessage
    kind = message.WhichOneof("EntityMessageType")
    return event(now, action.id, **{kind: getattr(message, kind)})
