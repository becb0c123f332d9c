"""Small orchestrators, activities and an entity: each shows one thing of the engine. Asked by `engine_cases.py`."""

import logging
from datetime import timedelta
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from durabletask import task
from durabletask.entities import DurableEntity, EntityInstanceId

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
orchestrator = app.orchestration_trigger(context_name="context")
activity = app.activity_trigger(input_name="given")


class MeantError(Exception):
    """An error with a name of its own."""


@orchestrator
def echo(context, given):
    if False:
        yield
    return given


@orchestrator
def fails(context, given):
    if False:
        yield
    raise MeantError("first: second\nthird")


@orchestrator
def waits(context, given):
    context.set_custom_status({"waits": True})
    first = yield context.wait_for_external_event("go")
    context.set_custom_status({"got": first})
    second = yield context.wait_for_external_event("go")
    return [first, second]


@orchestrator
def calls(context, given):
    return (yield context.call_activity(given["activity"], input=given.get("input")))


@orchestrator
def catches(context, given):
    try:
        yield context.call_activity(given["activity"], input=given.get("input"))
    except task.TaskFailedError as error:
        told = error.details
        return {"type": told.error_type, "message": told.message, "stack": bool(told.stack_trace)}


@orchestrator
def retries(context, given):
    policy = task.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)
    return (yield context.call_activity("fails_twice", input=given, retry_policy=policy))


@orchestrator
def big_status(context, given):
    context.set_custom_status({"x": "y" * given})
    yield context.create_timer(timedelta(seconds=1))
    return "done"


@orchestrator
def big_output(context, given):
    if False:
        yield
    return "z" * given


@orchestrator
def sub(context, given):
    try:
        return (yield context.call_sub_orchestrator(given, input={"from": "sub"}))
    except task.TaskFailedError as error:
        return {"type": error.details.error_type, "message": error.details.message}


@orchestrator
def again(context, given):
    if given["left"] == 0:
        first = yield context.wait_for_external_event("late")
        return {"kept": first}
    yield context.create_timer(timedelta(milliseconds=300))
    context.continue_as_new({"left": given["left"] - 1}, save_events=True)


@orchestrator
def changed(context, given):
    """Another activity when it is replayed after the file appeared: as a new version of the code."""
    name = "gives_text" if Path(given).exists() else "gives_object"
    yield context.call_activity(name, input=None)
    yield context.wait_for_external_event("go")
    return (yield context.call_activity(name, input=None))


@orchestrator
def asks_entity(context, given):
    counter = EntityInstanceId("counter", given)
    yield context.call_entity(counter, "add", 2)
    return (yield context.call_entity(counter, "read"))


@orchestrator
def asks_entity_that_fails(context, given):
    try:
        yield context.call_entity(EntityInstanceId("counter", given), "fail")
    except task.TaskFailedError as error:
        return {"type": error.details.error_type, "message": error.details.message}


@orchestrator
def returns_nothing(context, given):
    if False:
        yield


@orchestrator
def fails_of(context, given):
    if False:
        yield
    raise MeantError(given["text"] * given["times"])


@orchestrator
def locks_entity(context, given):
    counter = EntityInstanceId("counter", given)
    with (yield context.lock_entities([counter])):
        yield context.call_entity(counter, "add", 2)
        return (yield context.call_entity(counter, "read"))


@orchestrator
def signals_entity(context, given):
    counter = EntityInstanceId("counter", given)
    context.signal_entity(counter, "add", 5)
    yield context.create_timer(timedelta(seconds=2))
    return "done"


@activity
def gives_text(given):
    return "text"


@activity
def gives_json_text(given):
    return '{"looks": "like an object"}'


@activity
def gives_object(given):
    return {"given": given, "date": "2026-01-02T03:04:05Z", "float": 1.0, "big": 2**60}


@activity
def gives_number(given):
    return 7


@activity
def gives_nothing(given):
    return None


@activity
def gives_list(given):
    return [1, "two", None, {"three": 3}]


@activity
def gives_unicode(given):
    return {"é": "日本 \u2028 \x00 \ud83d\ude00"}


@activity
def gives_much(given):
    return "m" * given


@activity
def fails_meant(given):
    raise MeantError("first: second\nthird")


@activity
def fails_empty(given):
    raise MeantError


@activity
def fails_chain(given):
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise MeantError("outer") from inner


@activity
def fails_unicode(given):
    raise MeantError("é 日本 \x00 — “quoted”")


@activity
def fails_long(given):
    raise MeantError("L" * 70_000)


TRIES: dict[str, int] = {}


@activity
def fails_twice(given):
    TRIES[given] = TRIES.get(given, 0) + 1
    if TRIES[given] < 3:
        raise MeantError(f"try {TRIES[given]}")
    return TRIES[given]


@app.entity_trigger(context_name="context", entity_name="counter")
class Counter(DurableEntity):
    def add(self, n: int) -> None:
        self.set_state((self.get_state(int, 0) or 0) + n)

    def read(self) -> int:
        return self.get_state(int, 0)

    def fail(self) -> None:
        self.set_state(99)
        raise MeantError("entity: said")

    def big(self, n: int) -> None:
        self.set_state("s" * n)


logging.getLogger("azure").setLevel(logging.WARNING)
