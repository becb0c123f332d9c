"""Phase 3d: stop, carry the last changes over, verify, switch, answer.

The only phase with a downtime. Before the stop it carries over what has changed since the bulk pass, tries all that
could fail after the stop, and records the Deployment as it is, in a Secret beside it (it may hold literal secrets, so
it never enters durable history). Each call looks at the world and takes the next step, so a rerun at any point goes on
where the last one ended. Until the switch a deadline runs: a step that hangs brings the old pod back. Undo carries back
what users did since, then the old Deployment serves.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from phases.before_the_stop import SWITCH, prepare, record, recorded
from phases.switch_plan import Plan, plan
from phases.way_back import undo
from shared import deployments, mover
from shared.condensing import condensed
from shared.deployments import ANSWERED_AT, STOPPED_AT, SWITCHED_AT
from shared.errors import NeedsOperator, PermanentError, VerificationFailed
from shared.model import Progress
from shared.names import Names
from shared.ports import Cluster, Manifest, Ports
from shared.telemetry import Event, announce

__all__ = ["Plan", "apply", "plan", "undo"]

START_DEADLINE = timedelta(minutes=10)
"""Open WebUI starts in 24–48 s (facts §2); a slow image pull is allowed for."""


def apply(plan: Plan, ports: Ports) -> Progress:
    live = _read(ports.cluster, plan.deployment)
    if SWITCHED_AT in deployments.annotations(live):
        return _await_first_answer(plan, live, ports)
    if not _is_stopped(live):
        return _stop(plan, live, ports)
    step = _next_step(plan, ports)
    if not step.finished:
        _require_in_time(plan, live, step.step, ports.clock.now())
        return _critical(step, live)
    return _switch(plan, live, ports)


def _next_step(plan: Plan, ports: Ports) -> Progress:
    if pods := ports.cluster.list("Pod", plan.facts.labels):
        return Progress(
            False, "waiting for the old pod to end", total=len(pods), unit="pods", check_again_in_seconds=0.2
        )
    finishing = mover.advance(ports.cluster, plan.finish, "carrying the last changes over and verifying")
    return replace(finishing, check_again_in_seconds=0.2)


def _require_in_time(plan: Plan, live: Manifest, step: str, now: datetime) -> None:
    limit = timedelta(seconds=plan.step_deadline_seconds)
    if now - datetime.fromisoformat(deployments.annotations(live)[STOPPED_AT]) > limit:
        raise PermanentError(
            f"{limit} after the stop this was not finished: {step}; the old pod comes back",
            hint="See the Jobs of this run; options.cut_over_deadline_seconds allows for more.",
        )


def _stop(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    indexes = mover.advance(ports.cluster, plan.index, "reading the index settings")
    if not indexes.finished:
        return indexes
    caught_up = mover.advance(ports.cluster, plan.catch_up, "catching up")
    if not caught_up.finished:
        return caught_up
    patch = prepare(plan, live, indexes.result, ports)
    ports.cluster.apply(record(plan, live, patch), force=True)
    stopped = ports.cluster.patch("Deployment", plan.deployment, _stopped(ports.clock.now()))
    announce(Event.CUT_OVER, f"{plan.deployment}: stopped", {"mark": "stop"})
    return _critical(Progress(finished=False, step="stopping Open WebUI", check_again_in_seconds=0.2), stopped)


def _switch(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    """Everything is verified: the recorded patch, which the API server has already tried, makes the new pods."""
    kept = ports.cluster.read("Secret", Names(plan.deployment, plan.run).record)
    patch = recorded(kept, SWITCH) if kept else None
    if patch is None:
        raise PermanentError("the record of the old Deployment is gone", hint="Was its Secret deleted by hand?")
    patch["metadata"] = {"annotations": {SWITCHED_AT: ports.clock.now().isoformat()}}
    ports.cluster.patch("Deployment", plan.deployment, patch)
    announce(Event.CUT_OVER, f"{plan.deployment}: switched", {"mark": "switch"})
    return _critical(Progress(finished=False, step="starting on the new stores", check_again_in_seconds=0.3), live)


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
        waiting = Progress(finished=False, step="waiting for the first answer", check_again_in_seconds=0.2)
        return _critical(waiting, live)
    answered = {"metadata": {"annotations": {ANSWERED_AT: now.isoformat()}}}
    ports.cluster.patch("Deployment", plan.deployment, answered)
    announce(Event.CUT_OVER, f"{plan.deployment}: first answer", {"mark": "first_answer"})
    finished = mover.advance(ports.cluster, plan.finish, "").result
    caught_up = mover.advance(ports.cluster, plan.catch_up, "").result
    results = finished | {"caught_up": caught_up, "verification": condensed(finished.get("verification") or {})}
    done = Progress(finished=True, step="answering from the new stores", result=results)
    return replace(_critical(done, live), answering_since=now.isoformat())


def _critical(progress: Progress, deployment: Manifest) -> Progress:
    """Nothing may pause here: Open WebUI is down since the annotation says."""
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
