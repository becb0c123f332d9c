"""One step at the activity boundary: the only place that sorts exceptions and crosses the wire.

A payload is `{"target": …, "value": …, "run": …}`: which Open WebUI, the brief or plan that the step works from, and
the Durable instance that asks, which everything that is told of the step names. Only TransientError escapes, so only it
is retried by Durable; everything else comes back as an `Outcome`.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol, get_type_hints

from shared.errors import MigrationError, NeedsOperator, TransientError
from shared.model.migration import Outcome, Target
from shared.model.ports import Ports
from shared.telemetry import activity as told_activity
from shared.telemetry import conclude
from shared.wire import JsonObject, from_wire, to_wire

log = logging.getLogger(__name__)

type Step = Callable[[Any, Ports], Any]
type Connect = Callable[[Target], Ports]


class TraceContext(Protocol):
    """W3C Trace Context of an invocation."""

    trace_parent: str


class Context(Protocol):
    """What the worker gives to a parameter `context`: it wants the annotation's name to be just this."""

    trace_context: TraceContext


def as_activity(name: str, step: Step, connect: Connect) -> Callable[[JsonObject], JsonObject]:
    """Wrap a phase's function as the activity `name`."""
    kind = next(iter(get_type_hints(step).values()))

    def activity(payload: dict, context: Context = None) -> dict:  # type: ignore  # the worker accepts only bare types
        trace_parent = context.trace_context.trace_parent if context else ""
        outcome: JsonObject = to_wire(execute(name, step, kind, payload, connect, trace_parent))
        return outcome

    activity.__name__ = name
    return activity


def execute(
    name: str, step: Step, kind: type, payload: JsonObject, connect: Connect, trace_parent: str = ""
) -> Outcome:
    """Run one step once, inside a span below `trace_parent`."""
    with told_activity(name, trace_parent, run=str(payload.get("run", "")), phase=phase_of(name)) as span:
        try:
            outcome = _attempt(name, step, kind, payload, connect)
        except TransientError as error:
            conclude(span, "retry", reason=error.message)
            raise
        conclude(span, outcome.state, step=str((outcome.result or {}).get("step") or ""), reason=outcome.message)
        return outcome


def phase_of(activity: str) -> str:
    return activity.removeprefix("plan_").removeprefix("undo_")


def _attempt(name: str, step: Step, kind: type, payload: JsonObject, connect: Connect) -> Outcome:
    try:
        ports = connect(from_wire(payload["target"], Target))
        result = step(from_wire(payload["value"], kind), ports)
        return Outcome(name, "done", result=to_wire(result))
    except TransientError as error:
        log.warning("%s: %s", name, error.message)
        raise
    except MigrationError as error:
        log.warning("%s failed: %s", name, error.message)
        return Outcome(name, "failed", error.message, error.hint, isinstance(error, NeedsOperator), error.result)
    except Exception as error:
        log.exception("bug in %s", name)
        hint = "This is a bug: the app's log holds the traceback."
        return Outcome(name, "failed", f"bug: {type(error).__name__}: {error}", hint)
