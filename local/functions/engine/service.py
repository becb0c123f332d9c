"""The gRPC face of the engine: one method a call, one transaction a change.

Names are the protocol's, so they are not ours to choose.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Never

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal import orchestrator_service_pb2_grpc as stubs

from local.functions.engine import entities, instances, limits, queries, steps
from local.functions.engine.bell import Bell
from local.functions.engine.events import seconds, text, unwrap
from local.functions.engine.refusals import Refusal, refuse, refuse_missing
from local.functions.engine.store import Instance, Store
from local.functions.engine.work import ENTITY, ORCHESTRATION, WorkQueue

log = logging.getLogger(__name__)

LONGEST_NAP = 60.0
"""Seconds between two looks at the clock when no timer is nearer: a suspended laptop wakes up within it."""


class EngineService(stubs.TaskHubSidecarServiceServicer):
    """The sidecar protocol on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue = WorkQueue(store)
        self._bell = Bell()

    @contextlib.contextmanager
    def _change(self) -> Iterator[float]:
        """Commit what is written inside, then wake whoever waits."""
        with self._store.transaction():
            yield time.time()
        self._bell.ring()

    async def _instance(self, wanted: str, call: str, context: Any) -> Instance:
        """Find an instance on which this call is possible now."""
        found = self._store.instance(wanted)
        if found is None:
            return await _refuse(context, refuse_missing(call, wanted))
        if refusal := refuse(call, found):
            return await _refuse(context, refusal)
        return found

    # The worker's side

    async def GetWorkItems(self, request: pb.GetWorkItemsRequest, context: Any) -> None:
        """Stream work to a worker until it goes; then take back what it has not finished."""
        stream = self._queue.open_stream(request)
        log.info("worker %s connected", stream.number)
        try:
            while True:
                now = time.time()
                if item := self._queue.next_item(stream, now):
                    await context.write(item)
                    continue
                due = self._store.next_due(now)
                await self._bell.wait(min(LONGEST_NAP, max(0.0, due - now)) if due else LONGEST_NAP)
        finally:
            self._queue.close_stream(stream)
            self._bell.ring()
            log.info("worker %s is gone; its work is free again", stream.number)

    async def CompleteOrchestratorTask(self, request: pb.OrchestratorResponse, context: Any) -> pb.CompleteTaskResponse:
        """Take the outcome of a step, unless it is stale."""
        lease = self._queue.find(request.completionToken)
        instance = self._store.instance(request.instanceId)
        if lease is None or lease.kind != ORCHESTRATION or lease.key != request.instanceId:
            log.info("a stale step of %s is ignored", request.instanceId)
            return pb.CompleteTaskResponse()
        self._queue.end(lease)
        if instance is None or instance.ended:
            return pb.CompleteTaskResponse()
        try:
            with self._change() as now:
                self._store.remove_messages(lease.positions)
                steps.complete_step(self._store, instance, lease.taken, request, now)
        except limits.RowTooLarge as error:
            log.error("the step of %s is delivered again, for ever: %s", instance.id, error)
            with self._change() as now:
                self._store.postpone(lease.positions, now + limits.REDELIVERED_AFTER_SECONDS)
        except Exception as error:
            log.exception("the step of %s could not be carried out", instance.id)
            with self._change() as now:
                steps.fail_step(self._store, instance, lease.taken, f"{type(error).__name__}: {error}", now)
        return pb.CompleteTaskResponse()

    async def CompleteActivityTask(self, request: pb.ActivityResponse, context: Any) -> pb.CompleteTaskResponse:
        """Take the outcome of an activity once; late and duplicate ones are ignored.

        The token is the scheduled activity's own, so an outcome is still good after the engine was restarted.
        """
        if lease := self._queue.find(request.completionToken):
            self._queue.end(lease)
        with self._change() as now:
            scheduled = self._store.row(
                "DELETE FROM activity WHERE token = ? AND instance = ? AND task = ? RETURNING task",
                *(request.completionToken, request.instanceId, request.taskId),
            )
            if scheduled is not None:
                instances.send(self._store, self._store.instance(request.instanceId), now, **_activity_outcome(request))
        return pb.CompleteTaskResponse()

    async def CompleteEntityTask(self, request: pb.EntityBatchResult, context: Any) -> pb.CompleteTaskResponse:
        """Take the outcome of a batch of operations, unless it is stale."""
        lease = self._queue.find(request.completionToken)
        if lease is None or lease.kind != ENTITY:
            return pb.CompleteTaskResponse()
        self._queue.end(lease)
        with self._change() as now:
            entities.complete_batch(self._store, lease.key, lease.batch, request, now)
        return pb.CompleteTaskResponse()

    async def AbandonTaskActivityWorkItem(
        self, request: pb.AbandonActivityTaskRequest, context: Any
    ) -> pb.AbandonActivityTaskResponse:
        """Give an activity back."""
        self._abandon(request.completionToken)
        return pb.AbandonActivityTaskResponse()

    async def AbandonTaskOrchestratorWorkItem(
        self, request: pb.AbandonOrchestrationTaskRequest, context: Any
    ) -> pb.AbandonOrchestrationTaskResponse:
        """Give a step back."""
        self._abandon(request.completionToken)
        return pb.AbandonOrchestrationTaskResponse()

    async def AbandonTaskEntityWorkItem(
        self, request: pb.AbandonEntityTaskRequest, context: Any
    ) -> pb.AbandonEntityTaskResponse:
        """Give a batch back."""
        self._abandon(request.completionToken)
        return pb.AbandonEntityTaskResponse()

    def _abandon(self, token: str) -> None:
        if lease := self._queue.find(token):
            self._queue.end(lease)
            self._bell.ring()

    # The client's side

    async def Hello(self, request: Any, context: Any) -> Any:
        """Answer that the engine is there, with the empty message that was sent."""
        return request

    async def StartInstance(self, request: pb.CreateInstanceRequest, context: Any) -> pb.CreateInstanceResponse:
        """Start an orchestration; ALREADY_EXISTS while one with the same id is at work."""
        now = time.time()
        start = instances.Start(
            name=request.name,
            starts=seconds(request.scheduledStartTimestamp) if request.HasField("scheduledStartTimestamp") else now,
            id=request.instanceId,
            version=unwrap(request, "version"),
            input=unwrap(request, "input"),
            tags=dict(request.tags),
            trace_parent=request.parentTraceContext.traceParent if request.HasField("parentTraceContext") else "",
        )
        replaceable = frozenset(int(status) for status in request.orchestrationIdReusePolicy.replaceableStatus)
        try:
            with self._change() as now:
                started = instances.start_instance(self._store, start, now, replaceable=replaceable)
        except instances.InstanceExists as exists:
            await _refuse(context, Refusal(grpc.StatusCode.ALREADY_EXISTS, str(exists)))
        return pb.CreateInstanceResponse(instanceId=started.id)

    async def GetInstance(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:
        """Describe an instance without touching its history."""
        entity = queries.entity_as_instance(self._store, request.instanceId)
        if entity is not None:
            return pb.GetInstanceResponse(exists=True, orchestrationState=entity)
        return self._describe(self._store.instance(request.instanceId), payloads=request.getInputsAndOutputs)

    async def WaitForInstanceStart(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:
        """Wait until an instance has taken its first step."""
        return await self._wait(request, context, lambda i: i.status != pb.ORCHESTRATION_STATUS_PENDING)

    async def WaitForInstanceCompletion(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:
        """Wait until an instance has ended."""
        return await self._wait(request, context, lambda i: i.ended)

    async def _wait(
        self, request: pb.GetInstanceRequest, context: Any, reached: Callable[[Instance], bool]
    ) -> pb.GetInstanceResponse:
        while (found := self._store.instance(request.instanceId)) and not reached(found):
            await self._bell.wait(context.time_remaining())
        return self._describe(found, payloads=request.getInputsAndOutputs)

    def _describe(self, found: Instance | None, *, payloads: bool) -> pb.GetInstanceResponse:
        if found is None:
            return pb.GetInstanceResponse(exists=False)
        state = queries.instance_state(found, given=payloads, told=payloads)
        return pb.GetInstanceResponse(exists=True, orchestrationState=state)

    async def RaiseEvent(self, request: pb.RaiseEventRequest, context: Any) -> pb.RaiseEventResponse:
        """Leave an external event for an orchestration."""
        instance = await self._instance(request.instanceId, "raise an event", context)
        raised = pb.EventRaisedEvent(name=request.name, input=text(unwrap(request, "input")))
        with self._change() as now:
            instances.send(self._store, instance, now, eventRaised=raised)
        return pb.RaiseEventResponse()

    async def TerminateInstance(self, request: pb.TerminateRequest, context: Any) -> pb.TerminateResponse:
        """Ask an orchestration to end."""
        instance = await self._instance(request.instanceId, "terminate", context)
        with self._change() as now:
            instances.terminate(self._store, instance, unwrap(request, "output"), now, recursive=request.recursive)
        return pb.TerminateResponse()

    async def SuspendInstance(self, request: pb.SuspendRequest, context: Any) -> pb.SuspendResponse:
        """Ask an orchestration to pause."""
        instance = await self._instance(request.instanceId, "suspend", context)
        suspended = pb.ExecutionSuspendedEvent(input=text(unwrap(request, "reason")))
        with self._change() as now:
            instances.send(self._store, instance, now, executionSuspended=suspended)
        return pb.SuspendResponse()

    async def ResumeInstance(self, request: pb.ResumeRequest, context: Any) -> pb.ResumeResponse:
        """Ask an orchestration to go on."""
        instance = await self._instance(request.instanceId, "resume", context)
        resumed = pb.ExecutionResumedEvent(input=text(unwrap(request, "reason")))
        with self._change() as now:
            instances.send(self._store, instance, now, executionResumed=resumed)
        return pb.ResumeResponse()

    async def RewindInstance(self, request: pb.RewindInstanceRequest, context: Any) -> pb.RewindInstanceResponse:
        """Set a failed orchestration going again from its last success."""
        instance = await self._instance(request.instanceId, "rewind", context)
        with self._change() as now:
            instances.rewind(self._store, instance, unwrap(request, "reason"), now)
        return pb.RewindInstanceResponse()

    async def RestartInstance(self, request: pb.RestartInstanceRequest, context: Any) -> pb.RestartInstanceResponse:
        """Start an ended orchestration again with its input, under its own or a new id."""
        instance = await self._instance(request.instanceId, "restart", context)
        wanted = uuid.uuid4().hex if request.restartWithNewInstanceId else instance.id
        with self._change() as now:
            start = instances.Start(instance.name, now, wanted, instance.version, instance.input)
            instances.start_instance(self._store, start, now)
        return pb.RestartInstanceResponse(instanceId=wanted)

    async def PurgeInstances(self, request: pb.PurgeInstancesRequest, context: Any) -> pb.PurgeInstancesResponse:
        """Delete ended orchestrations; of a missing one nothing is said."""
        if request.HasField("purgeInstanceFilter"):
            chosen = queries.list_ended(self._store, request.purgeInstanceFilter)
        else:
            found = self._store.instance(request.instanceId)
            if found and (refusal := refuse("purge", found)):
                await _refuse(context, refusal)
            chosen = [found] if found else []
        with self._change():
            deleted = sum(instances.purge(self._store, each, recursive=request.recursive) for each in chosen)
        return pb.PurgeInstancesResponse(deletedInstanceCount=deleted)

    async def QueryInstances(self, request: pb.QueryInstancesRequest, context: Any) -> pb.QueryInstancesResponse:
        """List instances."""
        return queries.query_instances(self._store, request.query)

    async def ListInstanceIds(self, request: pb.ListInstanceIdsRequest, context: Any) -> pb.ListInstanceIdsResponse:
        """List the ids of ended instances."""
        return queries.list_ids(self._store, request)

    async def StreamInstanceHistory(
        self, request: pb.StreamInstanceHistoryRequest, context: Any
    ) -> AsyncIterator[pb.HistoryChunk]:
        """Stream a history, one event a message: events may be large."""
        if self._store.instance(request.instanceId) is None:
            await _refuse(context, refuse_missing("read the history", request.instanceId))
        for each in self._store.history(request.instanceId):
            yield pb.HistoryChunk(events=[each])

    async def SignalEntity(self, request: pb.SignalEntityRequest, context: Any) -> pb.SignalEntityResponse:
        """Leave an operation for an entity."""
        with self._change() as now:
            entities.queue_signal(self._store, request.instanceId, request, now)
        return pb.SignalEntityResponse()

    async def GetEntity(self, request: pb.GetEntityRequest, context: Any) -> pb.GetEntityResponse:
        """Describe an entity."""
        return queries.read_entity(self._store, request.instanceId, state=request.includeState)

    async def QueryEntities(self, request: pb.QueryEntitiesRequest, context: Any) -> pb.QueryEntitiesResponse:
        """List entities."""
        return queries.query_entities(self._store, request.query)

    async def CleanEntityStorage(
        self, request: pb.CleanEntityStorageRequest, context: Any
    ) -> pb.CleanEntityStorageResponse:
        """Remove empty entities and orphaned locks."""
        with self._change():
            return entities.clean_entities(self._store, request)

    async def CreateTaskHub(self, request: pb.CreateTaskHubRequest, context: Any) -> pb.CreateTaskHubResponse:
        """The file is the hub, and it is there."""
        return pb.CreateTaskHubResponse()


def _activity_outcome(request: pb.ActivityResponse) -> dict[str, Any]:
    """Say how an activity ended. Failure details mean failure, with or without a message in them."""
    if not request.HasField("failureDetails"):
        result = text(unwrap(request, "result"))
        return {"taskCompleted": pb.TaskCompletedEvent(taskScheduledId=request.taskId, result=result)}
    failed = pb.TaskFailedEvent(taskScheduledId=request.taskId, failureDetails=request.failureDetails)
    return {"taskFailed": failed}


async def _refuse(context: Any, refusal: Refusal) -> Never:
    await context.abort(refusal.code, refusal.details)
    raise AssertionError("abort raises")
