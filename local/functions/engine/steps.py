"""One step of an orchestration: what the worker decided becomes history, and its actions are carried out.

Call inside a transaction: the step is committed with everything it caused, or is delivered again.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.entities import entity_event, queue_call, queue_signal
from local.functions.engine.events import event, failure, open_tasks, seconds, stamp, text, unwrap
from local.functions.engine.instances import (
    Ending,
    InstanceExists,
    Parent,
    Start,
    finish,
    rewind,
    send,
    start_instance,
    started_event,
    terminate,
)
from local.functions.engine.limits import custom_status_failure, unhandled
from local.functions.engine.locks import release_lock, request_lock
from local.functions.engine.store import Instance, Store
from local.functions.trace import child_trace_parent

NO_STATUS = "null"
"""Custom status after the first step of one that set none. Source: tests/local_functions/answers.json."""

CARRIED_OVER = frozenset({"eventRaised", "executionTerminated", "executionSuspended", "executionResumed"})
"""What continue-as-new keeps of the inbox. Answers to tasks of the old execution would be taken for the new one's,
because task ids start again."""


def complete_step(
    store: Store,
    instance: Instance,
    taken: Sequence[pb.HistoryEvent],
    response: pb.OrchestratorResponse,
    now: float,
) -> None:
    """Record the events the worker was given and carry out what it answered."""
    store.append_history(instance.id, *taken)
    store.update_instance(instance.id, updated=now, **_after(instance, taken))
    status = response.customStatus.value or instance.custom_status or NO_STATUS
    if too_large := custom_status_failure(instance.name, status):
        store.update_instance(instance.id, custom_status=instance.custom_status or NO_STATUS)
        finish(store, instance, Ending(pb.ORCHESTRATION_STATUS_FAILED, too_large), now)
        return
    store.update_instance(instance.id, custom_status=status)
    endings = [action for action in response.actions if action.HasField("completeOrchestration")]
    for action in response.actions:
        if not action.HasField("completeOrchestration"):
            _carry_out(store, instance, action, now)
    store.append_history(instance.id, event(now, orchestratorCompleted=pb.OrchestratorCompletedEvent()))
    for ending in endings:
        _end(store, instance, ending.completeOrchestration, now)


def fail_step(store: Store, instance: Instance, taken: Sequence[pb.HistoryEvent], why: str, now: float) -> None:
    """End an orchestration whose step could not be carried out: it would fail the same way for ever."""
    store.append_history(instance.id, *taken)
    details = failure("OrchestrationEngineError", why)
    finish(store, instance, Ending(pb.ORCHESTRATION_STATUS_FAILED, failure=details), now)


def _after(instance: Instance, taken: Sequence[pb.HistoryEvent]) -> dict[str, Any]:
    """Status and output after these events: the reason of a suspension, or of its end, stands as the output."""
    status, output = instance.status, instance.output
    if status == pb.ORCHESTRATION_STATUS_PENDING:
        status = pb.ORCHESTRATION_STATUS_RUNNING
    for item in taken:
        if item.HasField("executionSuspended"):
            status, output = pb.ORCHESTRATION_STATUS_SUSPENDED, unwrap(item.executionSuspended, "input")
        elif item.HasField("executionResumed"):
            status, output = pb.ORCHESTRATION_STATUS_RUNNING, unwrap(item.executionResumed, "input")
    return {"status": status, "output": output}


def _carry_out(store: Store, instance: Instance, action: pb.OrchestratorAction, now: float) -> None:
    match action.WhichOneof("orchestratorActionType"):
        case "scheduleTask":
            _schedule_activity(store, instance, action, now)
        case "createTimer":
            created = pb.TimerCreatedEvent(fireAt=action.createTimer.fireAt)
            store.append_history(instance.id, event(now, action.id, timerCreated=created))
            _arm_timer(store, instance.id, action.id, seconds(action.createTimer.fireAt))
        case "createSubOrchestration":
            _create_child(store, instance, action, now)
        case "sendEvent":
            _send_event(store, instance, action, now)
        case "sendEntityMessage":
            _send_entity_message(store, instance, action, now)
        case "terminateOrchestration":
            asked = action.terminateOrchestration
            target = store.instance(asked.instanceId)
            terminate(store, target, unwrap(asked, "reason"), now, recursive=asked.recurse)
        case "rewindOrchestration":
            _replace_history(store, instance, list(action.rewindOrchestration.newHistory), now)
        case other:
            raise ValueError(f"the engine does not know the action {other!r}")


def _schedule_activity(store: Store, instance: Instance, action: pb.OrchestratorAction, now: float) -> None:
    asked = action.scheduleTask
    scheduled = pb.TaskScheduledEvent(
        name=asked.name,
        version=asked.version if asked.HasField("version") else None,
        input=asked.input if asked.HasField("input") else None,
        tags=dict(asked.tags),
    )
    store.append_history(instance.id, event(now, action.id, taskScheduled=scheduled))
    given = asked.parentTraceContext.traceParent if asked.HasField("parentTraceContext") else ""
    store.add_activity(instance.id, action.id, asked, child_trace_parent(given or instance.trace_parent))


def _arm_timer(store: Store, instance: str, task: int, at: float) -> None:
    fired = pb.TimerFiredEvent(timerId=task, fireAt=stamp(at))
    store.post(instance, event(at, timerFired=fired), at)


def _create_child(store: Store, instance: Instance, action: pb.OrchestratorAction, now: float) -> None:
    asked = action.createSubOrchestration
    version, given = unwrap(asked, "version"), unwrap(asked, "input")
    created = pb.SubOrchestrationInstanceCreatedEvent(
        instanceId=asked.instanceId, name=asked.name, version=text(version), input=text(given)
    )
    store.append_history(instance.id, event(now, action.id, subOrchestrationInstanceCreated=created))
    _start_child(store, instance, action.id, created, now)


def _start_child(
    store: Store, instance: Instance, task: int, created: pb.SubOrchestrationInstanceCreatedEvent, now: float
) -> None:
    version, given = unwrap(created, "version"), unwrap(created, "input")
    start = Start(created.name, now, created.instanceId, version, given, parent=Parent(instance, task))
    try:
        start_instance(store, start, now)
    except InstanceExists as exists:
        why = failure("OrchestrationAlreadyExists", str(exists))
        failed = pb.SubOrchestrationInstanceFailedEvent(taskScheduledId=task, failureDetails=why)
        send(store, instance, now, subOrchestrationInstanceFailed=failed)


def _send_event(store: Store, instance: Instance, action: pb.OrchestratorAction, now: float) -> None:
    asked = action.sendEvent
    data = text(unwrap(asked, "data"))
    sent = pb.EventSentEvent(instanceId=asked.instance.instanceId, name=asked.name, input=data)
    store.append_history(instance.id, event(now, action.id, eventSent=sent))
    raised = pb.EventRaisedEvent(name=asked.name, input=data)
    send(store, store.instance(asked.instance.instanceId), now, eventRaised=raised)


def _send_entity_message(store: Store, instance: Instance, action: pb.OrchestratorAction, now: float) -> None:
    store.append_history(instance.id, entity_event(now, action))
    message = action.sendEntityMessage
    match message.WhichOneof("EntityMessageType"):
        case "entityOperationSignaled":
            signal = message.entityOperationSignaled
            queue_signal(store, signal.targetInstanceId.value, signal, now)
        case "entityOperationCalled" if store.hub.hears_calls_of_entities:
            queue_call(store, message.entityOperationCalled, instance.id, instance.execution, now)
        case "entityLockRequested" if store.hub.hears_calls_of_entities:
            request_lock(store, message.entityLockRequested, now)
        case "entityUnlockSent":
            release_lock(store, message.entityUnlockSent, now)


def _end(store: Store, instance: Instance, ending: pb.CompleteOrchestrationAction, now: float) -> None:
    if ending.orchestrationStatus == pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW:
        _continue_as_new(store, instance, ending, now)
        return
    if ending.HasField("failureDetails"):
        finish(store, instance, _failed(instance, ending.failureDetails), now)
        return
    finish(store, instance, Ending(ending.orchestrationStatus, unwrap(ending, "result")), now)


def _failed(instance: Instance, why: pb.TaskFailureDetails) -> Ending:
    """How a failed one ends. A failure without a type, as that of a function which nobody has, .NET cannot build."""
    if why.errorType and (not why.HasField("innerFailure") or why.innerFailure.errorType):
        return Ending(pb.ORCHESTRATION_STATUS_FAILED, failure=why)
    details = "System.ArgumentException: The value cannot be an empty string. (Parameter 'name')"
    return Ending(pb.ORCHESTRATION_STATUS_FAILED, unhandled(instance.name, details))


def _continue_as_new(store: Store, instance: Instance, ending: pb.CompleteOrchestrationAction, now: float) -> None:
    store.delete_history(instance.id)
    store.delete_pending(instance.id, keep=CARRIED_OVER)
    execution = uuid.uuid4().hex
    version = unwrap(ending, "newVersion") or instance.version
    given = unwrap(ending, "result")
    store.update_instance(instance.id, execution=execution, version=version, input=given, starts=now)
    renewed = store.instance(instance.id)
    if renewed is None:
        raise LookupError(f"the instance {instance.id} vanished")
    parent = store.instance(instance.parent) if instance.parent else None
    answers_to = Parent(parent, instance.parent_task or 0) if parent else None
    store.post(instance.id, started_event(renewed, answers_to, now), now)
    for carried in ending.carryoverEvents:
        store.post(instance.id, carried, 0.0)  # before what arrived since


def _replace_history(store: Store, instance: Instance, history: list[pb.HistoryEvent], now: float) -> None:
    """Take the worker's cleaned history after a rewind and set its open tasks going again."""
    store.delete_history(instance.id)
    store.delete_pending(instance.id)
    store.append_history(instance.id, *history)
    for task, opened in open_tasks(history).items():
        if opened.HasField("taskScheduled"):
            store.add_activity(instance.id, task, opened.taskScheduled, child_trace_parent(instance.trace_parent))
        elif opened.HasField("timerCreated"):
            _arm_timer(store, instance.id, task, seconds(opened.timerCreated.fireAt))
        else:
            _rewind_child(store, instance, task, opened.subOrchestrationInstanceCreated, now)
    store.post(instance.id, event(now, orchestratorStarted=pb.OrchestratorStartedEvent()), now)


def _rewind_child(
    store: Store, instance: Instance, task: int, created: pb.SubOrchestrationInstanceCreatedEvent, now: float
) -> None:
    child = store.instance(created.instanceId)
    if child is None:
        _start_child(store, instance, task, created, now)
        return
    store.update_instance(child.id, parent_execution=instance.execution)
    if child.status == pb.ORCHESTRATION_STATUS_FAILED:
        rewind(store, child, "the parent was rewound", now)
