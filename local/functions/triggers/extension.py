"""Play the durable extension: stream work from the engine into the app's functions and the answers back.

The engine may be killed at any moment. Then the stream breaks and is opened again, answers are sent until they arrive,
and an activity that is delivered again while it still runs here, or has just been answered, is not started twice.
"""

import asyncio
import base64
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.limits import failure_of_function
from local.functions.faults import Outcome
from local.functions.runtime.worker import Function, InvocationFailed
from local.functions.triggers.invocation import DurableFunctions, Invoker

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.3
"""Between two attempts to reach an engine that is gone: short, because it is being started again."""


def read_limits(host_settings: Mapping[str, Any]) -> pb.GetWorkItemsRequest:
    """Read from host.json how much may run at a time. Defaults: those of a Consumption plan, 10, 5 and 5."""
    task = host_settings.get("extensions", {}).get("durableTask", {})
    return pb.GetWorkItemsRequest(
        maxConcurrentActivityWorkItems=int(task.get("maxConcurrentActivityFunctions", 10)),
        maxConcurrentOrchestrationWorkItems=int(task.get("maxConcurrentOrchestratorFunctions", 5)),
        maxConcurrentEntityWorkItems=int(task.get("maxConcurrentEntityFunctions", 5)),
    )


class DurableExtension:
    """The bridge between the engine and the worker."""

    def __init__(
        self, functions: DurableFunctions, invoker: Invoker, stub: Any, *, limits: pb.GetWorkItemsRequest
    ) -> None:
        self._functions = functions
        self._invoker = invoker
        self._stub = stub
        self._limits = limits
        self._running: set[str] = set()
        self._answered: deque[str] = deque(maxlen=1000)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take work for ever; an engine that is gone is waited for."""
        while True:
            try:
                async for item in self._stub.GetWorkItems(self._limits, wait_for_ready=True):
                    self._start(item)
            except grpc.aio.AioRpcError as error:
                log.warning("the engine is gone (%s); connecting again", error.code().name)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Give what runs a last chance to end and to be reported; the rest is delivered again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _start(self, item: pb.WorkItem) -> None:
        token = item.completionToken
        match item.WhichOneof("request"):
            case "orchestratorRequest":
                work = self._orchestrate(item.orchestratorRequest, token)
                give_back = self._stub.AbandonTaskOrchestratorWorkItem, pb.AbandonOrchestrationTaskRequest
            case "activityRequest":
                work = self._act(item.activityRequest, token)
                give_back = self._stub.AbandonTaskActivityWorkItem, pb.AbandonActivityTaskRequest
            case "entityRequest":
                work = self._operate(item.entityRequest, token)
                give_back = self._stub.AbandonTaskEntityWorkItem, pb.AbandonEntityTaskRequest
            case other:
                log.error("the engine sent work of an unknown kind: %s", other)
                return
        task = asyncio.create_task(self._guard(work, give_back[0], give_back[1](completionToken=token)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None], give_back: Callable[..., Any], request: Any) -> None:
        """Do a piece of work; if this host has a bug, give the work back instead of holding it for ever."""
        try:
            await work
        except Exception:
            log.exception("a piece of work could not be done; it is given back")
            await asyncio.sleep(1)
            await self._send(give_back, request)

    async def _send(self, call: Callable[..., Awaitable[Any]], answer: Any) -> None:
        """Send an answer until it has arrived; raise what the engine says when it refuses it."""
        while True:
            try:
                await call(answer, wait_for_ready=True)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _orchestrate(self, request: pb.OrchestratorRequest, token: str) -> None:
        events = [*request.pastEvents, *request.newEvents]
        name = next(e.executionStarted.name for e in reversed(events) if e.HasField("executionStarted"))
        try:
            function = _find(self._functions.orchestrators, name, "an orchestrator")
            response = pb.OrchestratorResponse.FromString(await self._exchange(function, request))
        except NotFound as error:
            log.error("%s", error)
            response = pb.OrchestratorResponse(instanceId=request.instanceId, actions=[_fail_itself(str(error))])
        except InvocationFailed as error:
            log.error("the orchestrator %s cannot run: %s\n%s", name, error, error.stack_trace)
            response = pb.OrchestratorResponse(instanceId=request.instanceId, actions=[_fail(error)])
        response.completionToken = token
        await self._send(self._stub.CompleteOrchestratorTask, response)

    async def _operate(self, request: pb.EntityBatchRequest, token: str) -> None:
        name = request.instanceId.split("@")[1].lower()
        try:
            function = _find(self._functions.entities, name, "an entity")
            result = pb.EntityBatchResult.FromString(await self._exchange(function, request))
        except NotFound as error:
            log.error("%s", error)
            result = pb.EntityBatchResult(failureDetails=pb.TaskFailureDetails())
        except InvocationFailed as error:
            log.error("the entity %s cannot run: %s\n%s", request.instanceId, error, error.stack_trace)
            result = pb.EntityBatchResult(failureDetails=_details(Outcome(None, error.error_type, error.message)))
        result.completionToken = token
        await self._send(self._stub.CompleteEntityTask, result)

    async def _exchange(self, function: Function, request: Any) -> bytes:
        given = base64.b64encode(request.SerializeToString()).decode()
        return base64.b64decode(await self._invoker.exchange(function, given))

    async def _act(self, request: pb.ActivityRequest, token: str) -> None:
        if token in self._running or token in self._answered:
            log.info("%s runs or ran here already; the second delivery is left", request.name)
            return
        instance = request.orchestrationInstance.instanceId
        self._running.add(token)
        try:
            outcome = await self._run_activity(request)
            answer = pb.ActivityResponse(instanceId=instance, taskId=request.taskId, completionToken=token)
            if outcome is None:
                answer.failureDetails.SetInParent()
            elif outcome.failed:
                answer.failureDetails.CopyFrom(_details(_first_line(outcome)))
            elif outcome.result is not None:
                answer.result.value = outcome.result
            await self._send(self._stub.CompleteActivityTask, answer)
            self._answered.append(token)
        finally:
            self._running.discard(token)

    async def _run_activity(self, request: pb.ActivityRequest) -> Outcome | None:
        """None for an activity that nobody has."""
        try:
            function = _find(self._functions.activities, request.name, "an activity")
        except NotFound as error:
            log.error("%s", error)
            return None
        given = request.input.value if request.HasField("input") else "null"
        return await self._invoker.act(function, request.name, given, request.parentTraceContext.traceParent)


class NotFound(Exception):
    """The app has no such function. What called it is told that it failed, and nothing else."""


def _find(functions: Mapping[str, Function], name: str, kind: str) -> Function:
    if name not in functions:
        known = ", ".join(f"'{each}'" for each in functions)
        raise NotFound(
            f"The function '{name}' doesn't exist, is disabled, or is not {kind} function. "
            f"Additional info: The following are the known {kind.split()[1]} functions: {known}."
        )
    return functions[name]


def _details(outcome: Outcome) -> pb.TaskFailureDetails:
    return pb.TaskFailureDetails(
        errorType=outcome.error_type or "(unknown)",
        errorMessage=outcome.message,
        stackTrace={"value": outcome.stack_trace},
    )


def _first_line(outcome: Outcome) -> Outcome:
    """Of an activity's error the extension reads the first line: OutOfProcMiddleware.cs, TryGetRpcExceptionFields."""
    return dataclasses.replace(outcome, message=outcome.message.partition("\n")[0])


def _fail(error: InvocationFailed) -> pb.OrchestratorAction:
    ending = pb.CompleteOrchestrationAction(
        orchestrationStatus="ORCHESTRATION_STATUS_FAILED",
        failureDetails=_details(Outcome(None, error.error_type, error.message, error.stack_trace)),
    )
    return pb.OrchestratorAction(id=-1, completeOrchestration=ending)


def _fail_itself(why: str) -> pb.OrchestratorAction:
    """End an orchestration in the extension's own words, which a parent is not told."""
    result = {"value": failure_of_function(why, None)}
    ending = pb.CompleteOrchestrationAction(orchestrationStatus="ORCHESTRATION_STATUS_FAILED", result=result)
    return pb.OrchestratorAction(id=-1, completeOrchestration=ending)
