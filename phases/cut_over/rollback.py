"""Undo of the cut-over, minutes or weeks later: what users did since goes to the old side first, then it serves again.

Stop the new pods ▸ carry rows and files back, if the new side was switched on ▸ put the recorded Deployment back ▸ wait
until it answers. Each call looks at the world and takes the next step. At no moment do two stores serve. If what users
did cannot be carried back, the new side, which holds it, is brought back, and a person decides.
"""

import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta

from phases.cut_over.critical_section import steps
from phases.cut_over.switch_plan import Plan
from phases.cut_over.way_back_record import DEPLOYMENT, DOWN_SINCE, recorded
from shared.errors import MigrationError, NeedsOperator, TransientError
from shared.kubernetes import deployments
from shared.kubernetes.deployments import ANSWERED_AT, STOPPED_AT, SWITCHED_AT
from shared.kubernetes.pods import living
from shared.model.migration import Progress
from shared.model.ports import Manifest, Ports
from shared.names import Names
from shared.programs import mover_job
from shared.wire import JsonObject

POD_END_DEADLINE = timedelta(minutes=10)
"""A pod of a dead node never ends by itself; its disk detaches after about 6 minutes (facts §7)."""
KILLED_SURELY = timedelta(seconds=60)
"""After its grace period the kubelet has killed the old pod. What then still shows it is a dead node, whose disk cannot
be attached elsewhere: the old Deployment may come back."""


def undo(plan: Plan, ports: Ports) -> Progress:
    """Take the next steps back."""
    return steps(lambda: _next_step(plan, ports), ports.clock)


def _next_step(plan: Plan, ports: Ports) -> Progress:
    cluster, names = ports.cluster, Names(plan.deployment, plan.run)
    record = cluster.read("Secret", names.record)
    if record is None:
        cluster.delete("Job", plan.finish.name)  # it may stand by
        return Progress(finished=True, step="never stopped")
    before = recorded(record, DEPLOYMENT)
    live = cluster.read("Deployment", plan.deployment) or cluster.replace(deployments.parked(before))
    since = _down_since(plan, record, live, ports)
    if deployments.spec_digest(live) == plan.facts.digest:
        return _await_old_pod(plan, live, since, ports)
    if int(live["spec"].get("replicas", 1)) > 0:
        _stop(plan, live, ports)
        return _down(Progress(finished=False, step="stopping the new pods"), since)
    switched = SWITCHED_AT in deployments.annotations(live)
    pods = living(cluster.list("Pod", plan.facts.labels))
    if pods and (switched or ports.clock.now() - since < deployments.grace_period(before) + KILLED_SURELY):
        return _down(_await_end(plan, len(pods), since, ports), since)
    if switched:
        carried = _carry_back(plan, live, ports)
        if not carried.finished:
            return _down(carried, since)
    cluster.delete("Job", plan.finish.name)
    cluster.replace(before)
    return _down(Progress(finished=False, step="old Deployment back"), since)


def _stop(plan: Plan, live: Manifest, ports: Ports) -> None:
    """Scale to none, and note whether the new side has ever answered: only then can users have written there."""
    now = ports.clock.now().isoformat()
    _note_down_since(plan, now, ports)
    ready = any(deployments.is_ready(pod) for pod in ports.cluster.list("Pod", plan.facts.labels))
    noted = {STOPPED_AT: now} | (
        {ANSWERED_AT: now} if ready and ANSWERED_AT not in deployments.annotations(live) else {}
    )
    ports.cluster.delete("Job", plan.carry_back.name)  # of an earlier attempt: users may have written since
    ports.cluster.patch("Deployment", plan.deployment, {"metadata": {"annotations": noted}, "spec": {"replicas": 0}})


def _await_end(plan: Plan, pods: int, since: datetime, ports: Ports) -> Progress:
    if ports.clock.now() - since > POD_END_DEADLINE:
        raise NeedsOperator(
            f"{pods} pods of Deployment {plan.deployment} do not end, so the old one must not start",
            hint="kubectl get pods; if their node is dead, kubectl delete pod --force, then POST …/rollback again.",
        )
    return Progress(False, "waiting for the new pods to end", total=pods, unit="pods")


def _carry_back(plan: Plan, live: Manifest, ports: Ports) -> Progress:
    try:
        return mover_job.advance(ports.cluster, plan.carry_back, "carrying back what users did since the switch")
    except TransientError:
        raise
    except MigrationError as error:
        ports.cluster.delete("Job", plan.carry_back.name)  # so that another attempt starts a new one
        if ANSWERED_AT not in deployments.annotations(live):
            return Progress(finished=True, step="the new side never answered, so nobody wrote there")
        ports.cluster.patch("Deployment", plan.deployment, {"spec": {"replicas": 1}})
        raise NeedsOperator(
            f"what users did since the switch could not be carried back, so the new side serves again: {error.message}",
            hint=error.hint or "Put it right, then POST …/rollback again: it goes on where it stood.",
        ) from error


def _await_old_pod(plan: Plan, live: Manifest, since: datetime, ports: Ports) -> Progress:
    if not deployments.is_settled(live, plan.facts.replicas):
        if reason := deployments.progress_failure(live):
            raise NeedsOperator(
                f"the old Deployment is back as it was, but its pod does not become ready: {reason}",
                hint=f"kubectl describe deployment {plan.deployment}; its disk and data are as they were.",
            )
        return _down(Progress(finished=False, step="waiting for the old pod"), since)
    now, result = ports.clock.now(), _carried(plan, ports)
    ports.cluster.delete("Job", plan.carry_back.name)
    ports.cluster.delete("Secret", Names(plan.deployment, plan.run).record)
    result["downtime_seconds"] = round((now - since).total_seconds(), 1)
    done = Progress(finished=True, step="serving from the old store", result=result)
    return replace(_down(done, since), answering_since=now.isoformat())


def _carried(plan: Plan, ports: Ports) -> JsonObject:
    """What the Job said, for the report; empty when there was nothing to carry."""
    if ports.cluster.read("Job", plan.carry_back.name) is None:
        return {}
    return {"carried_back": mover_job.advance(ports.cluster, plan.carry_back, "").result}


def _down_since(plan: Plan, record: Manifest, live: Manifest, ports: Ports) -> datetime:
    """When this way back, or the stop before it, ended the service; kept in the record, which outlives each step."""
    if (kept := recorded(record, DOWN_SINCE)) is not None:
        return datetime.fromisoformat(kept)
    stopped = deployments.annotations(live).get(STOPPED_AT) if int(live["spec"].get("replicas", 1)) == 0 else None
    since = stopped or ports.clock.now().isoformat()
    _note_down_since(plan, since, ports)
    return datetime.fromisoformat(since)


def _note_down_since(plan: Plan, since: str, ports: Ports) -> None:
    value = base64.b64encode(json.dumps(since).encode()).decode()
    ports.cluster.patch("Secret", Names(plan.deployment, plan.run).record, {"data": {DOWN_SINCE: value}})


def _down(progress: Progress, since: datetime) -> Progress:
    return replace(progress, interruptible=False, check_again_in_seconds=0.0, down_since=since.isoformat())
