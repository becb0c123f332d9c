"""What a run tells the portal while it goes on: events and metrics, never on replay.

The orchestrator is replayed from its history again and again; only what is new is told. An episode that dies before its
end is told again, so an event may come twice, and never not at all.
"""

import logging
from datetime import datetime

from durabletask import task

from phases.run.timeline import Timeline
from shared.model.migration import MigrationRequest, Outcome, Progress, RunState
from shared.sizing.connection_budget import ConnectionBudget
from shared.telemetry import Event, Field, Fields, announce, measure
from shared.wire import JsonObject

FIGURES = ("downtime_seconds", "rows_moved", "rows_verified", "replicas_ready")
"""Of the report."""


class Chronicle:
    """Tells of one run. `kind`: migrate or roll_back."""

    def __init__(self, ctx: task.OrchestrationContext, request: MigrationRequest, kind: str) -> None:
        self._ctx = ctx
        self._mode, self._kind = request.mode.value, kind
        self._deployment = request.target.key

    def started(self) -> None:
        self._tell(Event.RUN_STARTED, {"kind": self._kind, "mode": self._mode})

    def budget(self, budget: ConnectionBudget | None) -> None:
        """Only a budget that does not suffice is worth telling."""
        if budget and not budget.sufficient:
            needed: dict[str, Field] = {
                "used": budget.connections_at_peak,
                "limit": budget.for_users,
                "reason": budget.reason,
            }
            self._tell(Event.BUDGET_EXCEEDED, {"source": "plan", **needed}, logging.WARNING)

    def phase_started(self, phase: str) -> None:
        self._tell(Event.PHASE_STARTED, {"phase": phase})

    def phase_finished(self, phase: str, seconds: float, result: JsonObject) -> None:
        rows = int(result.get("rows") or 0)
        rate = round(rows / seconds, 1) if seconds else 0.0
        figures = {"seconds": round(seconds, 1), "rows": rows, "rows_per_second": rate}
        self._tell(Event.PHASE_FINISHED, {"phase": phase, **figures})

    def phase_failed(self, phase: str, activity: str, failure: Outcome, seconds: float = 0.0) -> None:
        why: dict[str, Field] = {"reason": failure.message, "hint": failure.hint, "seconds": round(seconds, 1)}
        self._tell(Event.PHASE_FAILED, {"phase": phase, "activity": activity, **why}, logging.WARNING)

    def phase_undone(self, phase: str) -> None:
        self._tell(Event.PHASE_UNDONE, {"phase": phase})

    def progress(self, phase: str, progress: Progress, timeline: Timeline, now: datetime) -> None:
        """Set the gauges that this look at a phase gives figures for."""
        if self._ctx.is_replaying:
            return
        about = {"run": str(self._ctx.instance_id), "deployment": self._deployment, "phase": phase}
        if progress.unit == "rows":
            measure("scaleout.rows", progress.done, **about)
            measure("scaleout.rows_per_second", timeline.rate(progress, now), **about)
        if progress.unit == "replicas":
            measure("scaleout.replicas_ready", progress.done, **about)
        if downtime := timeline.downtime_until(now):
            measure("scaleout.downtime_seconds", round(downtime, 1), **about)

    def ended(self, state: RunState, report: JsonObject, seconds: float) -> None:
        setbacks = (f"{one['phase']}: {one['message']}" for one in report["setbacks"])
        reason = "; ".join(filter(None, (str((report["failure"] or {}).get("message") or ""), *setbacks)))
        failed = state is RunState.HALTED or (self._kind == "migrate" and state is RunState.ROLLED_BACK)
        fields = {"kind": self._kind, "mode": self._mode, "state": state.value, "failed": failed, "reason": reason}
        fields |= {"seconds": round(seconds, 1)} | {name: report[name] for name in FIGURES}
        self._tell(Event.RUN_ENDED, fields)
        if state is RunState.HALTED:
            undo = str((report["undo_failure"] or {}).get("message") or reason)
            self._tell(Event.OPERATOR_NEEDED, {"source": "run", "reason": undo}, logging.ERROR)

    def _tell(self, event: Event, fields: Fields, level: int = logging.INFO) -> None:
        if self._ctx.is_replaying:
            return
        run = str(self._ctx.instance_id)
        shown = " ".join(str(fields[name]) for name in ("phase", "state", "reason") if fields.get(name))
        about = {"run": run, "deployment": self._deployment}
        announce(event, f"{run}: {event} {shown}".rstrip(), {**about, **fields}, level=level)
