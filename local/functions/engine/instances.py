"""What happens to one orchestration between its steps: start, events, suspend, resume, terminate, end, purge.

Every function works inside a transaction of the caller. Times are seconds since the epoch; `now` is an argument.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.events import event, failure, text
from local.functions.engine.limits import check_failure
from local.functions.engine.locks import release_all_locks
from local.functions.engine.store import Instance, Store
from local.functions.trace import new_trace_parent


class InstanceExists(Exception):
    """An instance with this id is still at work."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The orchestration, and the task in it, that a sub-orchestration answers to."""

    instance: Instance
    task: int


@dataclass(frozen=True, slots=True)
class Start:
    """A request to start an orchestration; `starts` in the future delays it."""

    name: str
    starts: float
    id: str = ""
    version: str | None = None
    input: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    trace_parent: str = ""
    parent: Parent | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an orchestration ended: a terminal status, and its output or its failure (for the parent, if it has one)."""

    status: pb.OrchestrationStatus
    output: str | None = None
    failure: pb.TaskFailureDetails | None = None

    @property
    def text(self) -> str | None:
        """What is shown as its output: of a failed one plain text, as Azure Storage keeps it. RowTooLarge."""
        if self.failure is None:
            return self.output
        text = f"{self.failure.errorType}: {self.failure.errorMessage}"
        check_failure(text)
        return text


def start_instance(store: Store, start: Start, now: float, *, replaceable: frozenset[int] | None = None) -> Instance:
    """Create an instance; one with the same id that has ended (or is in `replaceable`) is replaced.

    Raises InstanceExists. Source: durableTask/overridableExistingInstanceStates in host.json, default NonRunningStates.
    """
    existing = store.instance(start.id) if start.id else None
    if existing:
        may_replace = existing.status in replaceable if replaceable else existing.ended
        if not may_replace:
            raise InstanceExists(f"An Orchestration instance with the ID {start.id} already exists.")
        store.delete_instance(existing.id)
    created = _new_row(start, now)
    store.add_instance(created)
    store.post(created.id, started_event(created, start.parent, now), start.starts)
    return created


def _new_row(start: Start, now: float) -> Instance:
    parent = start.parent
    return Instance(
        id=start.id or uuid.uuid4().hex,
        execution=uuid.uuid4().hex,
        name=start.name,
        version=start.version,
        status=pb.ORCHESTRATION_STATUS_PENDING,
        input=start.input,
        output=None,
        custom_status=None,
        tags=json.dumps(dict(start.tags)),
        trace_parent=start.trace_parent or (parent.instance.trace_parent if parent else new_trace_parent()),
        created=now,
        updated=now,
        completed=None,
        starts=start.starts,
        parent=parent.instance.id if parent else None,
        parent_execution=parent.instance.execution if parent else None,
        parent_task=parent.task if parent else None,
    )


def started_event(instance: Instance, parent: Parent | None, now: float) -> pb.HistoryEvent:
    """Build the event every execution begins with.

    Its trace is what the worker makes current around the orchestrator, as Durable's extension hands it over.
    Source: Azure/azure-functions-durable-extension, ProtobufUtils.cs; durabletask, worker.py.
    """
    return event(
        now,
        executionStarted=pb.ExecutionStartedEvent(
            name=instance.name,
            version=text(instance.version),
            input=text(instance.input),
            orchestrationInstance=_reference(instance.id, instance.execution),
            parentInstance=pb.ParentInstanceInfo(
                taskScheduledId=parent.task,
                name=text(parent.instance.name),
                orchestrationInstance=_reference(parent.instance.id, parent.instance.execution),
            )
            if parent
            else None,
            parentTraceContext=pb.TraceContext(traceParent=instance.trace_parent),
            tags=json.loads(instance.tags),
        ),
    )


def _reference(instance: str, execution: str) -> pb.OrchestrationInstance:
    return pb.OrchestrationInstance(instanceId=instance, executionId=text(execution))


def send(store: Store, instance: Instance | None, now: float, **body: Any) -> None:
    """Leave an event for an instance; one that has ended, or never was, gets nothing."""
    if instance is None or instance.ended:
        return
    store.post(instance.id, event(now, **body), now)
    store.update_instance(instance.id, updated=now)


def terminate(store: Store, instance: Instance | None, output: str | None, now: float, *, recursive: bool) -> None:
    """Ask an instance (and its children) to end; one that never ran ends at once."""
    if instance is None or instance.ended:
        return
    if recursive:
        for child in store.rows("SELECT id FROM instance WHERE parent = ?", instance.id):
            terminate(store, store.instance(child["id"]), output, now, recursive=True)
    if instance.starts > now:
        finish(store, instance, Ending(pb.ORCHESTRATION_STATUS_TERMINATED, output), now)
        return
    terminated = pb.ExecutionTerminatedEvent(input=text(output), recurse=recursive)
    send(store, instance, now, executionTerminated=terminated)


def finish(store: Store, instance: Instance, ending: Ending, now: float) -> None:
    """End an instance: record it, drop what waits for it, free its locks and tell its parent. RowTooLarge."""
    output = ending.text
    completed = pb.ExecutionCompletedEvent(
        orchestrationStatus=pb.OrchestrationStatus.Name(ending.status),
        result=text(output),
        failureDetails=ending.failure,
    )
    store.append_history(instance.id, event(now, executionCompleted=completed))
    store.update_instance(
        instance.id,
        status=ending.status,
        output=output,
        completed=now,
        updated=now,
    )
    store.delete_pending(instance.id)
    release_all_locks(store, instance.id, now)
    _tell_parent(store, instance, ending, now)


def _tell_parent(store: Store, child: Instance, ending: Ending, now: float) -> None:
    parent = store.instance(child.parent) if child.parent else None
    if parent is None or parent.execution != child.parent_execution:
        return
    if ending.status == pb.ORCHESTRATION_STATUS_COMPLETED:
        result = text(ending.output)
        done = pb.SubOrchestrationInstanceCompletedEvent(taskScheduledId=child.parent_task, result=result)
        send(store, parent, now, subOrchestrationInstanceCompleted=done)
        return
    why = ending.failure or pb.TaskFailureDetails()  # of one that the extension itself failed nothing is told
    if ending.status == pb.ORCHESTRATION_STATUS_TERMINATED:
        why = failure("Terminated", f"the sub-orchestration {child.id} was terminated")
    failed = pb.SubOrchestrationInstanceFailedEvent(taskScheduledId=child.parent_task, failureDetails=why)
    send(store, parent, now, subOrchestrationInstanceFailed=failed)


def rewind(store: Store, instance: Instance, reason: str | None, now: float) -> None:
    """Ask a failed instance to forget its failures; the worker answers with the cleaned history."""
    store.update_instance(instance.id, status=pb.ORCHESTRATION_STATUS_RUNNING, output=None, completed=None, updated=now)
    rewound = pb.ExecutionRewoundEvent(reason=text(reason))
    store.post(instance.id, event(now, executionRewound=rewound), now)


def purge(store: Store, instance: Instance | None, *, recursive: bool) -> int:
    """Delete an instance that has ended (and its children) and return how many were deleted."""
    if instance is None or not instance.ended:
        return 0
    deleted = 1
    if recursive:
        for child in store.rows("SELECT id FROM instance WHERE parent = ?", instance.id):
            deleted += purge(store, store.instance(child["id"]), recursive=True)
    store.delete_instance(instance.id)
    return deleted
