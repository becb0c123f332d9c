"""The orchestrators: plan everything, apply each phase in order, undo in reverse.

Deterministic generators: time comes from the context, effects happen in activities. An operator speaks to a run
through four external events, `approval`, `stop` (abort or roll back), `pause` and `resume`; they are heeded between
activities, and a pause is not heeded while Open WebUI is down.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from durabletask import task
from durabletask.entities import EntityInstanceId

from phases.run.catalogue import PHASES, Phase
from phases.run.events import Chronicle
from phases.run.saga import next_step, stands, undo_steps
from phases.run.timeline import Timeline
from shared.model.migration import Brief, MigrationRequest, Mode, Outcome, PhaseState, Progress, RunState
from shared.model.survey import Survey
from shared.report.run_report import blocking_problems, build_report
from shared.wire import JsonObject, from_wire, to_wire

RETRY = task.RetryPolicy(
    first_retry_interval=timedelta(seconds=2),
    max_number_of_attempts=5,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(seconds=30),
)
LONGEST_WAIT_SECONDS = 15.0
"""Between two looks at a long phase: keeps durable history short (facts §6) and the status fresh."""

RUN_ENTITY = "run"
type Steps[T] = Generator[task.Task[Any], Any, T]


def migrate(ctx: task.OrchestrationContext, order: JsonObject) -> Steps[JsonObject]:
    """Run one migration. `order`: `{"run": name, "request": MigrationRequest}`; returns the report."""
    return (yield from run_migration(ctx, order, PHASES))


def chosen(phases: Sequence[Phase], request: MigrationRequest) -> Sequence[Phase]:
    """The catalogue, or with mode `phases` what was asked for, after the preflight."""
    if request.mode is not Mode.PHASES:
        return phases
    return [phase for phase in phases if phase.name == "preflight" or phase.name in request.phases]


def roll_back(ctx: task.OrchestrationContext, order: JsonObject) -> Steps[JsonObject]:
    """Take a finished migration back. `order` also holds the recorded `plans` and the phases that were `started`."""
    return (yield from run_rollback(ctx, order, PHASES))


def run_migration(ctx: task.OrchestrationContext, order: JsonObject, phases: Sequence[Phase]) -> Steps[JsonObject]:
    """`migrate` over any catalogue."""
    run = Run(ctx, order, phases, "migrate")
    failure = yield from run.plan_all()
    if failure or blocking_problems(run.plans):
        return run.finish(RunState.REFUSED, failure)
    if run.request.mode is Mode.PLAN:
        return run.finish(RunState.PLANNED, None)
    failure = yield from run.apply_all()
    if failure is None:
        return run.finish(RunState.APPLIED if run.request.mode is Mode.PHASES else RunState.MIGRATED, None)
    return (yield from run.undo_all(failure))


def run_rollback(ctx: task.OrchestrationContext, order: JsonObject, phases: Sequence[Phase]) -> Steps[JsonObject]:
    """`roll_back` over any catalogue."""
    run = Run(ctx, order, phases, "roll_back")
    run.plans, run.started = dict(order["plans"]), list(order["started"])
    for name in run.started:
        run.timeline.set(name, PhaseState.DONE)
    asked = Outcome("roll_back", "failed", str(order.get("reason") or "rollback was asked for"))
    return (yield from run.undo_all(asked, asked_for=True))


class Run:
    """One run's state, rebuilt by every replay."""

    def __init__(self, ctx: task.OrchestrationContext, order: JsonObject, phases: Sequence[Phase], kind: str) -> None:
        self.ctx = ctx
        self.name: str = order["run"]
        self.request = from_wire(order["request"], MigrationRequest)
        self.phases = phases = chosen(phases, self.request)
        self.plans: dict[str, JsonObject] = {}
        self.results: dict[str, JsonObject] = {}
        self.started: list[str] = []
        self.setbacks: list[Outcome] = []
        self.timeline = Timeline([phase.name for phase in phases], self._now())
        self.chronicle = Chronicle(ctx, self.request, kind)
        self.chronicle.started()
        self._stop = ctx.wait_for_external_event("stop")
        self._pause = ctx.wait_for_external_event("pause")

    def plan_all(self) -> Steps[Outcome | None]:
        """Read the world for every phase before any of them changes it."""
        survey = Survey()
        first = self.phases[0].name
        self.timeline.begin(first, self._now())
        for phase in self.phases:
            self._show(phase.name, Progress(finished=False, step="planning"))
            brief = to_wire(Brief(self.name, self.request, survey))
            outcome = yield from self._call(f"plan_{phase.name}", brief)
            if outcome.failed or outcome.result is None:
                self.timeline.set(phase.name, PhaseState.FAILED)
                self.chronicle.phase_failed(phase.name, f"plan_{phase.name}", outcome)
                return outcome
            self.plans[phase.name] = outcome.result
            self.timeline.set(phase.name, PhaseState.PLANNED)
            if phase.name == "preflight":
                survey = from_wire(outcome.result, Survey)
                self.chronicle.budget(survey.budget)
                if survey.blocked:
                    break
        self.timeline.end(first, PhaseState.DONE, self._now())
        self._record()
        return None

    def apply_all(self) -> Steps[Outcome | None]:
        """Apply the phases in order; the first failure ends it, unless the migration stays without that phase."""
        for phase in self.phases:
            if phase.applies and (failure := (yield from self._take(phase))):
                return failure
        return None

    def undo_all(self, failure: Outcome, *, asked_for: bool = False) -> Steps[JsonObject]:
        """Undo what was started, latest first; a failed undo halts with the healthy side serving.

        By itself a run never goes back behind an irreversible phase. When it was asked for, that phase's own undo says
        whether there is still a way back: it may have been stopped before it did anything.
        """
        undoes = frozenset(phase.name for phase in self.phases if phase.undoes)
        irreversible = frozenset(
            phase.name for phase in self.phases if not phase.reversible and not (asked_for and phase.undoes)
        )
        steps = undo_steps(self.started, self.plans, undoes, irreversible)
        if steps is None or failure.needs_operator:
            return self.finish(RunState.HALTED, failure)
        phases = {phase.name: phase for phase in self.phases}
        for name, _ in steps:
            if (yield from self._undo(phases[name])):
                return self.finish(RunState.HALTED, failure)
            if not self._skipped(name):
                self.timeline.set(name, PhaseState.UNDONE)
            self._record()
        return self.finish(RunState.ROLLED_BACK, failure)

    def finish(self, state: RunState, failure: Outcome | None) -> JsonObject:
        """Build the report, show the last status and record both."""
        self._show("", Progress(finished=True, step=state.value))
        report = build_report(
            self.name,
            self.request,
            state,
            plans=self.plans,
            results=self.results,
            failure=failure,
            timeline=self.timeline,
            setbacks=self.setbacks,
        )
        self._record(report)
        self.chronicle.ended(state, report, (self._now() - self.timeline.started_at).total_seconds())
        return report

    def _take(self, phase: Phase) -> Steps[Outcome | None]:
        """Apply one phase; None when it is done or left out, or when the migration stays although it failed."""
        try:
            failure = yield from self._apply(phase)
        except Exception as bug:  # ours: Open WebUI must not stay down because the orchestrator has a bug
            failure = Outcome(phase.name, "failed", f"bug: {type(bug).__name__}: {bug}", "The orchestrator has a bug.")
        if failure is None or phase.name not in self.started:
            return failure
        additions = frozenset(one.name for one in self.phases if one.addition)
        alone, asked = self.request.mode is Mode.PHASES, self._stop.is_complete
        stays = not failure.needs_operator and stands(phase.name, additions, alone=alone, asked_to_stop=asked)
        if stays:
            failure = replace(failure, hint=f"{failure.hint} {next_step(phase.name)}".strip())
        self.timeline.end(phase.name, PhaseState.FAILED, self._now())
        self.chronicle.phase_failed(phase.name, phase.name, failure, self.timeline.phases[phase.name].seconds)
        self._record()
        return (yield from self._set_aside(phase, failure)) if stays else failure

    def _apply(self, phase: Phase) -> Steps[Outcome | None]:
        """Pass the phase's gate, and call it until it says that it is finished."""
        if not phase.reversible and (why := self._why_left_out(phase)):
            self._leave_out(phase, why)
            return None
        if refusal := (yield from self._gate(phase)):
            if phase.reversible or self._stop.is_complete:
                return refusal
            self._leave_out(phase, refusal.message)
            return None
        self.started.append(phase.name)  # before the first apply: a half-applied phase is undone too
        self.timeline.begin(phase.name, self._now())
        self.chronicle.phase_started(phase.name)
        if failure := (yield from self._repeat(phase, phase.name)):
            return failure
        state = PhaseState.SKIPPED if self._skipped(phase.name) else PhaseState.DONE
        self.timeline.end(phase.name, state, self._now())
        self.chronicle.phase_finished(phase.name, self.timeline.phases[phase.name].seconds, self.results[phase.name])
        self._record()
        return None

    def _set_aside(self, phase: Phase, failure: Outcome) -> Steps[Outcome | None]:
        """Undo this phase alone and go on; where even that fails a person decides, and what serves still stays."""
        if phase.undoes and (yield from self._undo(phase)):
            return replace(failure, needs_operator=True)
        self.setbacks.append(failure)
        self._record()
        return None

    def _undo(self, phase: Phase) -> Steps[Outcome | None]:
        """Undo one phase; what went wrong is kept for the report."""
        activity = f"undo_{phase.name}"
        if undoing := (yield from self._repeat(phase, activity, undo=True)):
            self.results["undo_failure"] = to_wire(undoing)
            self.chronicle.phase_failed(phase.name, activity, undoing)
            return undoing
        self.chronicle.phase_undone(phase.name)
        return None

    def _why_left_out(self, phase: Phase) -> str:
        """What keeps a phase without a way back from being begun; empty: nothing."""
        if self.plans[phase.name].get("left_out"):
            return "not asked for"
        failed = ", ".join(one.phase for one in self.setbacks)
        return f"{failed} failed before it" if failed else ""

    def _leave_out(self, phase: Phase, why: str) -> None:
        """A phase without a way back that nobody wants or approves is no failure: what was done before it stands."""
        self.results[phase.name] = {"skipped": True, "because": why}
        self.timeline.set(phase.name, PhaseState.SKIPPED)

    def _skipped(self, phase: str) -> bool:
        return bool((self.results.get(phase) or {}).get("skipped"))

    def _repeat(self, phase: Phase, activity: str, *, undo: bool = False) -> Steps[Outcome | None]:
        """Call one activity until it is finished; None when it is, else how it failed."""
        wait = asked = 0.0
        while True:
            outcome = yield from self._call(activity, self.plans[phase.name])
            if outcome.failed or outcome.result is None:
                self.results[activity] = outcome.result or {}
                return outcome
            progress = from_wire(outcome.result, Progress)
            self.timeline.observe(progress, self._now())
            self._show(phase.name, progress if not undo else _undoing(progress))
            self.chronicle.progress(phase.name, progress, self.timeline, self._now())
            if progress.finished:
                self.results[activity] = progress.result
                return None
            if not undo and (stopped := (yield from self._heed_operator(phase, progress))):
                return stopped
            # while Open WebUI is down nothing waits long; a phase that asks for less than before is at something new
            waits_longer = progress.interruptible and progress.check_again_in_seconds >= asked
            patience, asked = wait * 1.15 if waits_longer else 0.0, progress.check_again_in_seconds
            wait = min(max(progress.check_again_in_seconds, patience), LONGEST_WAIT_SECONDS)
            if wait:
                yield from self._sleep(wait, wakes_on_stop=not undo)

    def _heed_operator(self, phase: Phase, progress: Progress) -> Steps[Outcome | None]:
        if self._stop.is_complete:
            return self._stopped(phase)
        if self._pause.is_complete and progress.interruptible:
            self._show(phase.name, Progress(finished=False, step="paused"))
            resume = self.ctx.wait_for_external_event("resume")
            yield task.when_any([resume, self._stop])
            self._pause = self.ctx.wait_for_external_event("pause")
            if self._stop.is_complete:
                return self._stopped(phase)
        return None

    def _gate(self, phase: Phase) -> Steps[Outcome | None]:
        """Wait for the approval that the phase's plan asks for; None when the way is free."""
        if (stopped := (yield from self._heed_operator(phase, Progress(finished=False)))) is not None:
            return stopped
        plan = self.plans[phase.name]
        if not plan.get("awaits"):
            return None
        self._show(phase.name, Progress(finished=False, step=f"waiting for {plan['awaits']}"))
        deadline = self.ctx.create_timer(timedelta(seconds=plan["deadline_seconds"]))
        named = str(plan.get("approval_names") or "")
        while True:
            approval = self.ctx.wait_for_external_event(plan["awaits"])
            yield task.when_any([approval, deadline, self._stop])
            if not approval.is_complete or _names(approval.get_result() or {}, named):
                break
        if not deadline.is_complete:
            deadline.cancel()
        if self._stop.is_complete:
            return self._stopped(phase)
        if not approval.is_complete:
            return Outcome(
                phase.name, "failed", "nobody approved before the deadline", "Start again when you are ready."
            )
        if (approval.get_result() or {}).get("approved") is not True:
            return Outcome(phase.name, "failed", "the approval was refused")
        return None

    def _stopped(self, phase: Phase) -> Outcome:
        asked = self._stop.get_result() or {}
        return Outcome(phase.name, "failed", str(asked.get("reason") or "stopped by an operator"))

    def _call(self, activity: str, value: JsonObject) -> Steps[Outcome]:
        payload = {"target": to_wire(self.request.target), "value": value, "run": self.ctx.instance_id}
        try:
            return from_wire((yield self.ctx.call_activity(activity, input=payload, retry_policy=RETRY)), Outcome)
        except task.TaskFailedError as error:
            hint = "It was retried and kept failing; see the app's log."
            return Outcome(activity, "failed", error.details.message, hint)

    def _sleep(self, seconds: float, *, wakes_on_stop: bool) -> Steps[None]:
        timer = self.ctx.create_timer(timedelta(seconds=seconds))
        if not wakes_on_stop or self._stop.is_complete:
            yield timer
            return
        yield task.when_any([timer, self._stop])
        if not timer.is_complete:
            timer.cancel()

    def _now(self) -> datetime:
        now = self.ctx.current_utc_datetime  # Durable gives it without a zone
        return now if now.tzinfo else now.replace(tzinfo=UTC)

    def _show(self, phase: str, progress: Progress) -> None:
        self.ctx.set_custom_status(self.timeline.status(phase, progress, self._now()))

    def _record(self, report: JsonObject | None = None) -> None:
        """Keep plans and results with the run, so that it can be shown now and taken back days later."""
        record = {"run": self.name, "request": to_wire(self.request), "plans": self.plans, "results": self.results}
        record |= {"started": self.started, "report": report}
        self.ctx.signal_entity(EntityInstanceId(RUN_ENTITY, self.ctx.instance_id), "record", record)


def _names(answer: JsonObject, wanted: str) -> bool:
    """Whether this answer decides: a refusal always does, an approval when it names what it must."""
    return not wanted or answer.get("approved") is not True or answer.get("disk") == wanted


def _undoing(progress: Progress) -> Progress:
    return replace(progress, step=f"undoing: {progress.step}")
