"""Phase 3d: stop, carry the last changes over, verify, switch, answer.

The only phase with a downtime. Before the stop it carries over what has changed since the bulk pass, tries all that
could fail after the stop, has the Job that carries the last changes over stand by, and records the Deployment as it is,
in a Secret beside it (it may hold literal secrets, so it never enters durable history). Each call looks at the world
and takes the next step, so a rerun at any point goes on where the last one ended. Until the switch a deadline runs: a
step that hangs brings the old pod back. Undo carries back what users did since, then the old Deployment serves.
In this folder stands what only this phase needs.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from phases.cut_over.checks import prepare
from phases.cut_over.critical_section import steps
from phases.cut_over.rollback import undo
from phases.cut_over.switch_plan import Plan, plan
from phases.cut_over.way_back_record import SWITCH, record, recorded
from shared.errors import ConfigurationError, NeedsOperator, PermanentError, VerificationFailed
from shared.kubernetes import deployments
from shared.kubernetes.deployments import ANSWERED_AT, STOPPED_AT, SWITCHED_AT
from shared.kubernetes.pods import living
from shared.model.history_size import condensed
from shared.model.migration import Progress
from shared.model.ports import Cluster, Manifest, Ports
from shared.names import Names
from shared.programs import mover_job
from shared.telemetry import Event, announce

__all__ = ["Plan", "apply", "plan", "undo"]

STANDBY_DEADLINE = timedelta(minutes=5)
START_DEADLINE = timedelta(minutes=10)
"""Open WebUI starts in 24–48 s (facts §2); a slow image pull is allowed for."""


def apply(plan: Plan, ports: Ports) -> Progress:
    live = _read(ports.cluster, plan.deployment)
    if SWITCHED_AT not in deployments.annotations(live) and not _is_stopped(live):
        return _stop(plan, live, ports)
    return steps(lambda: _next_step(plan, ports), ports.clock)


def _next_step(plan: Plan, ports: Ports) -> Progress:
    live = _read(ports.cluster, plan.deployment)
    if SWITCHED_AT in deployments.annotations(live):
        return _await_first_answer(plan, live, ports)
    step = _carry_over(plan, ports)
    if not step.finished:
        _require_in_time(plan, live, step.step, ports.clock.now())
        return _critical(step, live)
    return _switch(plan, live, ports)


def _carry_over(plan: Plan, ports: Ports) -> Progress:
    if pods := living(ports.cluster.list("Pod", plan.facts.labels)):
        return Progress(finished=False, step="waiting for the old pod to end", total=len(pods), unit="pods")
    finishing = mover_job.advance(ports.cluster, plan.finish, "carrying the last changes over and verifying")
    if mover_job.waits(finishing):
        mover_job.release(ports.cluster, plan.finish)
    return finishing


def _require_in_time(plan: Plan, live: Manifest, step: str, now: datetime) -> None:
    limit = timedelta(seconds=plan.step_deadline_seconds)
    if now - datetime.fromisoformat(deployments.annotations(live)[STOPPED_AT]) > limit:
        raise PermanentError(
            f"{limit} after the stop this was not finished: {step}; the old pod comes back",
            hint="See the Jobs of this run; options.cut_over_deadline_seconds allows for more.",
        )


def _stop(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    indexes = mover_job.advance(ports.cluster, plan.index, "reading the index settings")
    if not indexes.finished:
        return indexes
    standing_by = mover_job.advance(ports.cluster, plan.finish, "starting what carries the last changes over")
    if standing_by.finished:  # nobody has stopped Open WebUI yet: whatever it compared was moving
        ports.cluster.delete("Job", plan.finish.name)
        return replace(standing_by, finished=False, check_again_in_seconds=0.5)
    caught_up = mover_job.advance(ports.cluster, plan.catch_up, "catching up")
    if not caught_up.finished:
        return caught_up
    if not mover_job.waits(standing_by):
        _require_standby(plan, ports)
        return standing_by
    patch = prepare(plan, live, indexes.result, ports)
    ports.cluster.apply(record(plan, live, patch), force=True)
    stopped = ports.cluster.patch("Deployment", plan.deployment, _stopped(ports.clock.now()))
    announce(Event.CUT_OVER, f"{plan.deployment}: stopped{_rounds(caught_up.result)}", {"mark": "stop"})
    return _critical(Progress(finished=False, step="stopping Open WebUI"), stopped)


def _rounds(caught_up: dict[str, Any]) -> str:
    """How the rows that changed during the bulk pass came over, as `; rows carried before it: 3,000, then 12`."""
    rows = [f"{one['rows']:,}" for one in caught_up.get("rounds") or ()]
    return f"; rows carried before it: {', then '.join(rows)}" if rows else ""


def _require_standby(plan: Plan, ports: Ports) -> None:
    """What cannot even be scheduled beside the serving pod must not be found out after the stop."""
    job = ports.cluster.read("Job", plan.finish.name)
    began = ((job or {}).get("metadata") or {}).get("creationTimestamp")
    if began and ports.clock.now() - datetime.fromisoformat(began) > STANDBY_DEADLINE:
        raise ConfigurationError(
            f"Open WebUI was not stopped, because Job {plan.finish.name} did not start within {STANDBY_DEADLINE}",
            hint=f"kubectl describe pod -l job-name={plan.finish.name}",
        )


def _switch(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    """Everything is verified: the recorded patch, which the API server has already tried, makes the new pods."""
    kept = ports.cluster.read("Secret", Names(plan.deployment, plan.run).record)
    patch = recorded(kept, SWITCH) if kept else None
    if patch is None:
        raise PermanentError("the record of the old Deployment is gone", hint="Was its Secret deleted by hand?")
    patch["metadata"] = {"annotations": {SWITCHED_AT: ports.clock.now().isoformat()}}
    ports.cluster.patch("Deployment", plan.deployment, patch)
    announce(Event.CUT_OVER, f"{plan.deployment}: switched", {"mark": "switch"})
    return _critical(Progress(finished=False, step="starting on the new stores"), live)


def _await_first_answer(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    """Ready means that the kubelet's GET /ready was answered with 200: database, Redis and files are there."""
    if failure := deployments.startup_failure(ports.cluster.list("Pod", plan.facts.labels)):
        raise VerificationFailed(
            f"the new pod does not start: {failure}", hint=f"kubectl logs deploy/{plan.deployment}"
        )
    now = ports.clock.now()
    if not deployments.is_settled(live, 1):
        if now - datetime.fromisoformat(deployments.annotations(live)[SWITCHED_AT]) > START_DEADLINE:
            raise VerificationFailed(f"the new pod was not ready within {START_DEADLINE}")
        return _critical(Progress(finished=False, step="waiting for the first answer"), live)
    answered = {"metadata": {"annotations": {ANSWERED_AT: now.isoformat()}}}
    ports.cluster.patch("Deployment", plan.deployment, answered)
    announce(Event.CUT_OVER, f"{plan.deployment}: first answer", {"mark": "first_answer"})
    finished = mover_job.advance(ports.cluster, plan.finish, "").result
    caught_up = mover_job.advance(ports.cluster, plan.catch_up, "").result
    results = finished | {"caught_up": caught_up, "verification": condensed(finished.get("verification") or {})}
    results |= {"downtime_parts": downtime_parts(deployments.annotations(live), now)}
    done = Progress(finished=True, step="answering from the new stores", result=results)
    return replace(_critical(done, live), answering_since=now.isoformat())


def downtime_parts(marks: Mapping[str, str], answered: datetime) -> dict[str, float]:
    """What the downtime is made of, in seconds. Pure. `marks`: the Deployment's annotations."""
    stopped, switched = (datetime.fromisoformat(marks[name]) for name in (STOPPED_AT, SWITCHED_AT))
    parts = {"stop_and_last_changes": switched - stopped, "start_of_the_new_pod": answered - switched}
    return {name: round(part.total_seconds(), 2) for name, part in parts.items()}


def _critical(progress: Progress, deployment: Manifest) -> Progress:
    """Nothing may pause here: Open WebUI is down since the annotation says."""
    progress = replace(progress, check_again_in_seconds=0.0)
    return replace(progress, interruptible=False, down_since=deployments.annotations(deployment).get(STOPPED_AT, ""))


def _stopped(now: datetime) -> dict[str, Any]:
    return {"metadata": {"annotations": {STOPPED_AT: now.isoformat()}}, "spec": {"replicas": 0}}


def _is_stopped(live: Manifest) -> bool:
    return STOPPED_AT in deployments.annotations(live) and int(live["spec"].get("replicas", 1)) == 0


def _read(cluster: Cluster, name: str) -> Manifest:
    found = cluster.read("Deployment", name)
    if found is None:
        raise NeedsOperator(f"Deployment {name} is gone", hint="Undo puts the recorded one back: POST …/rollback.")
    return found
