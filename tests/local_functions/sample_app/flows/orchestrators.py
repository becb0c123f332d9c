"""Orchestrators: native two-argument generators."""

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import azure.durable_functions as df
from durabletask import task
from durabletask.entities import EntityInstanceId
from opentelemetry import trace

bp = df.Blueprint()

Steps = Generator[task.Task[Any], Any, Any]


@bp.orchestration_trigger(context_name="context")
def call(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    """Call one activity and say how it went."""
    policy = task.RetryPolicy(
        first_retry_interval=timedelta(milliseconds=100), max_number_of_attempts=spec.get("attempts", 1)
    )
    try:
        result = yield ctx.call_activity(spec["activity"], input=spec["input"], retry_policy=policy)
    except task.TaskFailedError as error:
        return {"error_type": error.details.error_type, "message": error.details.message}
    return {"result": result}


@bp.orchestration_trigger(context_name="context")
def trace_of_all(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    """The trace that is current here, in an activity, and here again after a replay."""
    first = _current_trace()
    found = yield ctx.call_activity("traced", input={})
    return [first, found["traceparent"].split("-")[1], _current_trace()]


def _current_trace() -> str:
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@bp.orchestration_trigger(context_name="context")
def measure(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    """Carry a large result through two more steps."""
    result = yield ctx.call_activity("large", input=spec)
    yield ctx.create_timer(timedelta(milliseconds=10))
    return len(result["text"])


@bp.orchestration_trigger(context_name="context")
def fan_out(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    inputs = [{"file": spec["file"], "seconds": spec["seconds"]} for _ in range(spec["width"])]
    results = yield task.when_all([ctx.call_activity("slow", input=each) for each in inputs])
    return len(results)


@bp.orchestration_trigger(context_name="context")
def approve(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    ctx.set_custom_status({"phase": "waiting"})
    approval = ctx.wait_for_external_event("approval")
    deadline = ctx.create_timer(timedelta(seconds=spec["seconds"]))
    winner = yield task.when_any([approval, deadline])
    ctx.set_custom_status({"phase": "decided"})
    return {"approved": winner is approval and approval.get_result()["by"]}


@bp.orchestration_trigger(context_name="context")
def parent(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    try:
        result = yield ctx.call_sub_orchestrator(spec["child"], input=spec["input"], instance_id=spec.get("child_id"))
    except task.TaskFailedError as error:
        return {"error_type": error.details.error_type, "message": error.details.message}
    return {"child": result}


@bp.orchestration_trigger(context_name="context")
def countdown(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    """Begin anew and leave a second timer behind, which must not fire for the second timer of the next life."""
    yield ctx.create_timer(timedelta(milliseconds=10))
    started = ctx.current_utc_datetime
    second = ctx.create_timer(timedelta(milliseconds=400))
    if spec["left"] == 0:
        yield second
        return {"waited": (ctx.current_utc_datetime - started).total_seconds()}
    ctx.continue_as_new({"left": spec["left"] - 1})
    return None


@bp.orchestration_trigger(context_name="context")
def count(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    counter = EntityInstanceId("Counter", spec["key"])
    for _ in range(spec["times"]):
        total = yield ctx.call_entity(counter, "add", 1)
    try:
        yield ctx.call_entity(counter, "fail")
    except task.TaskFailedError as error:
        return {"total": total, "refused": "refuses" in error.details.message}
    return {"total": total, "refused": False}


@bp.orchestration_trigger(context_name="context")
def count_alone(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    """Read, wait and write while nobody else may."""
    counter = EntityInstanceId("Counter", spec["key"])
    with (yield ctx.lock_entities([counter])):
        before = yield ctx.call_entity(counter, "get")
        yield ctx.create_timer(timedelta(milliseconds=50))
        after = yield ctx.call_entity(counter, "add", 1)
    return {"alone": after == before + 1}


@bp.orchestration_trigger(context_name="context")
def fail_once(ctx: task.OrchestrationContext, spec: dict) -> Steps:
    """Fail until the activity works: for rewind."""
    result = yield ctx.call_activity("flaky", input=spec)
    return result
