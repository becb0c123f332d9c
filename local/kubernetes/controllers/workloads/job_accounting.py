"""Counting a Job's pods exactly once, pure, even if they are deleted meanwhile or the process ends halfway.

Each pod carries a finalizer until its outcome is in the Job's status. Outcomes are written in two steps, as in
Kubernetes: first the counts together with the uids that they include, then, once the finalizers are off, without the
uids. A restart between the two counts nothing twice.
Source: trackJobStatusAndRemoveFinalizers in pkg/controller/job/job_controller.go of Kubernetes 1.36.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from local.kubernetes.controllers.workloads.completion import (
    Tally,
    active_pods,
    from_ranges,
    index_of,
    is_indexed,
    to_ranges,
)
from local.kubernetes.model.objects import (
    Object,
    finalizers_of,
    is_finished,
    is_ready,
    is_terminating,
    phase_of,
    status_of,
    uid_of,
    without_empty,
)

TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True, slots=True)
class Account:
    """What the Job's pods add up to now."""

    tally: Tally
    status: Object
    """The status with the uids of the pods that it counts and that still have their finalizer."""
    ended: tuple[Object, ...]
    """Those pods; once they have been let go, the uids can be dropped."""

    @property
    def settled_status(self) -> Object:
        return {**self.status, "uncountedTerminatedPods": {}}


def account(job: Object, pods: Sequence[Object]) -> Account:
    """Add the pods that have ended since the last time to what the status says."""
    status = dict(status_of(job))
    listed = status.get("uncountedTerminatedPods") or {}
    counted = {name: list(listed.get(name) or ()) for name in ("succeeded", "failed")}
    ended = tuple(pod for pod in pods if TRACKING in finalizers_of(pod) and has_ended(pod))
    indexes = set(from_ranges(status.get("completedIndexes", "")))
    for pod in ended:
        outcome = "succeeded" if phase_of(pod) == "Succeeded" else "failed"
        if uid_of(pod) in (*counted["succeeded"], *counted["failed"]):
            continue
        if is_indexed(job) and outcome == "succeeded":
            if index_of(pod) in indexes:
                continue  # a second pod did the same part
            indexes.add(index_of(pod))
        counted[outcome].append(uid_of(pod))
        status[outcome] = status.get(outcome, 0) + 1
    tally = Tally(active_pods(pods), status.get("succeeded", 0), status.get("failed", 0), frozenset(indexes))
    status |= _current(tally, pods) | {"uncountedTerminatedPods": without_empty(counted)}
    if is_indexed(job):
        status["completedIndexes"] = to_ranges(indexes)
    return Account(tally, status, ended)


def has_ended(pod: Object) -> bool:
    """Say whether a pod's outcome is settled: finished, or deleted before it could run."""
    return is_finished(pod) or (is_terminating(pod) and not pod["metadata"].get("deletionGracePeriodSeconds"))


def tidied(status: Object) -> Object:
    """Leave out zeros, except where Go has a pointer: `ready` and `terminating` are shown as 0."""
    shown = {name: status.get(name, 0) for name in ("ready", "terminating")}
    return {**without_empty(status), **shown, "uncountedTerminatedPods": status.get("uncountedTerminatedPods") or {}}


def _current(tally: Tally, pods: Sequence[Object]) -> Object:
    return {
        "active": len(tally.active),
        "ready": len([pod for pod in tally.active if is_ready(pod)]),
        "terminating": len([pod for pod in pods if is_terminating(pod) and not is_finished(pod)]),
    }
