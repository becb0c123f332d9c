"""What the app tells the portal: events, spans and metrics, through the interfaces that do nothing until configured.

The catalogue below is the contract with the workbook and the alerts (`infra/monitoring`): a test sends every event
through the real exporter and finds each field that they ask for. `shared.adapters.azure_monitor` configures the
exporter; without it an event is a line in the log. No field ever holds a secret: events carry names, figures and our
own sentences only.
Source: learn.microsoft.com/azure/azure-monitor/app/opentelemetry-add-modify, a log record with the attribute
`microsoft.custom_event.name` becomes a custom event (table AppEvents).
"""

import enum
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

EVENT_NAME = "microsoft.custom_event.name"
log = logging.getLogger("scaleout.events")
log.setLevel(logging.INFO)  # whatever the host's level is, an event is never dropped

type Field = str | int | float | bool | None
type Fields = Mapping[str, Field]


class Event(enum.StrEnum):
    """The custom events."""

    RUN_STARTED = "run_started"
    RUN_ENDED = "run_ended"
    PHASE_STARTED = "phase_started"
    PHASE_FINISHED = "phase_finished"
    PHASE_FAILED = "phase_failed"
    PHASE_UNDONE = "phase_undone"
    CUT_OVER = "cut_over"
    BUDGET_EXCEEDED = "budget_exceeded"
    OPERATOR_NEEDED = "operator_needed"
    GUARD_VERDICT = "guard_verdict"


CATALOGUE: Mapping[Event, tuple[str, tuple[str, ...]]] = {
    Event.RUN_STARTED: ("a run began", ("run", "deployment", "kind", "mode")),
    Event.RUN_ENDED: (
        "a run ended; `failed`: a migration that did not come to its end",
        (
            *("run", "deployment", "kind", "mode", "state", "failed", "reason", "seconds", "downtime_seconds"),
            *("rows_moved", "rows_verified", "replicas_ready"),
        ),
    ),
    Event.PHASE_STARTED: ("before the first apply", ("run", "deployment", "phase")),
    Event.PHASE_FINISHED: ("it is done", ("run", "deployment", "phase", "seconds", "rows", "rows_per_second")),
    Event.PHASE_FAILED: (
        "plan, apply or undo failed",
        ("run", "deployment", "phase", "activity", "reason", "hint", "seconds"),
    ),
    Event.PHASE_UNDONE: ("its undo is done", ("run", "deployment", "phase")),
    Event.CUT_OVER: ("`mark`: stop, switch, first_answer", ("run", "phase", "activity", "mark")),
    Event.BUDGET_EXCEEDED: (
        "more connections are wanted than the server has, in a plan or in service",
        ("deployment", "source", "used", "limit", "reason"),
    ),
    Event.OPERATOR_NEEDED: ("a person must decide", ("deployment", "source", "reason")),
    Event.GUARD_VERDICT: (
        "the health guard judged one reading",
        ("deployment", "action", "rule", "reason", "acts", "conclusive"),
    ),
}
"""Event → what it means, and the fields that it always has."""

_tracer = trace.get_tracer("scaleout")
_meter = metrics.get_meter("scaleout")
_METRICS = {
    "scaleout.rows": _meter.create_gauge("scaleout.rows", "rows", "moved so far in the current step"),
    "scaleout.rows_per_second": _meter.create_gauge("scaleout.rows_per_second", "rows/s", "rate of the current step"),
    "scaleout.downtime_seconds": _meter.create_gauge("scaleout.downtime_seconds", "s", "no replica answered, so far"),
    "scaleout.replicas_ready": _meter.create_gauge("scaleout.replicas_ready", "replicas", "ready to serve"),
    "scaleout.connections_used": _meter.create_gauge("scaleout.connections_used", "connections", "client sessions"),
    "scaleout.connections_limit": _meter.create_gauge("scaleout.connections_limit", "connections", "for users"),
}
METRICS = tuple(_METRICS)

_bound: ContextVar[Mapping[str, str]] = ContextVar("scaleout_bound", default={})  # noqa: B039 - never mutated


def announce(event: Event, sentence: str, fields: Fields, *, level: int = logging.INFO) -> None:
    """Send one event; `sentence` is its line in the log. Fields that are None are left out."""
    shown = {name: _plain(value) for name, value in fields.items() if value is not None}
    log.log(level, "%s", sentence, extra={EVENT_NAME: event.value, **bound_fields(), **shown})


def measure(metric: str, value: float | None, **fields: str) -> None:
    """Set one gauge; None is not measured."""
    if value is not None:
        _METRICS[metric].set(value, {**bound_fields(), **fields})


@contextmanager
def activity(name: str, trace_parent: str, **fields: str) -> Iterator[trace.Span]:
    """A span around one activity; everything that is sent inside carries its name and these fields.

    `trace_parent` is the host's: the worker attaches it to async functions only, and an activity runs on its threads.
    Source: azure-functions-runtime 1.3, utils/executor.py.
    """
    parent = TraceContextTextMapPropagator().extract({"traceparent": trace_parent})
    with bound(activity=name, **fields), _tracer.start_as_current_span(name, parent) as span:
        yield span


def conclude(span: trace.Span, outcome: str, *, step: str = "", reason: str = "") -> None:
    """Say on the activity's span how it ended: done, failed, or retry."""
    span.set_attributes({"outcome": outcome, "step": step})
    if outcome != "done":
        span.set_status(trace.StatusCode.ERROR, reason)


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Let every event, span, metric and log line inside carry these fields."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bound_fields() -> Mapping[str, str]:
    return _bound.get()


def _plain(value: str | int | float | bool) -> str | int | float:
    """Queries compare text: a truth value is `true` or `false`."""
    return str(value).lower() if isinstance(value, bool) else value
