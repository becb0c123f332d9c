"""What a Job should do next, pure: from its spec, its status and its pods to a verdict and the indexes to start.

Source: pkg/controller/job/{job_controller,indexed_job_utils}.go of Kubernetes 1.36; without pod failure policies,
success policies and per-index backoff, which no phase uses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    condition,
    from_timestamp,
    is_terminating,
    phase_of,
    status_of,
)

INDEX = "batch.kubernetes.io/job-completion-index"
COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
_ANNOUNCED_BY = {COMPLETE: "SuccessCriteriaMet", FAILED: "FailureTarget"}
_LONGEST_BACKOFF = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a Job ends: with which condition, and why."""

    type: str
    reason: str
    message: str

    @property
    def announcement(self) -> "Verdict":
        """The condition that states the outcome before the last pod has stopped."""
        return Verdict(_ANNOUNCED_BY[self.type], self.reason, self.message)


SUCCEEDED = Verdict(COMPLETE, "CompletionsReached", "Reached expected number of succeeded pods")
TOO_MANY_FAILURES = Verdict(FAILED, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
TOO_LATE = Verdict(FAILED, "DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True, slots=True)
class Tally:
    """The pods of a Job: those that are at work, and those that have come to an end, now or earlier."""

    active: tuple[Object, ...]
    succeeded: int
    failed: int
    completed_indexes: frozenset[int] = frozenset()


def is_indexed(job: Object) -> bool:
    return bool(job["spec"]["completionMode"] == "Indexed")


def is_over(job: Object) -> bool:
    return any((found := condition(job, type_)) and found["status"] == "True" for type_ in (COMPLETE, FAILED))


def index_of(pod: Object) -> int:
    return int(annotations_of(pod).get(INDEX, "-1"))


def active_pods(pods: Iterable[Object]) -> tuple[Object, ...]:
    """Return the pods that may still do work; one that is being stopped counts as failed once it has ended."""
    return tuple(pod for pod in pods if phase_of(pod) not in ("Succeeded", "Failed") and not is_terminating(pod))


def announced(job: Object) -> Verdict | None:
    """Return the outcome that has been stated already: pods that are stopped for it must not change it."""
    for type_, early in _ANNOUNCED_BY.items():
        if found := condition(job, early):
            return Verdict(type_, found["reason"], found["message"])
    return None


def judge(job: Object, tally: Tally, now: datetime) -> Verdict | None:
    """Return how the Job ends, None while it goes on. Too many failures weigh more than success, as in Kubernetes."""
    spec = job["spec"]
    if stated := announced(job):
        return stated
    if tally.failed > spec["backoffLimit"]:
        return TOO_MANY_FAILURES
    deadline = deadline_of(job)
    if deadline is not None and now >= deadline:
        return TOO_LATE
    wanted = spec.get("completions")
    if wanted is None:  # a work queue: done when one pod has succeeded and the others have stopped
        return SUCCEEDED if tally.succeeded and not tally.active else None
    done = len(tally.completed_indexes) if is_indexed(job) else tally.succeeded
    return SUCCEEDED if done >= wanted else None


def deadline_of(job: Object) -> datetime | None:
    seconds, start = job["spec"].get("activeDeadlineSeconds"), status_of(job).get("startTime")
    return None if seconds is None or start is None else from_timestamp(start) + timedelta(seconds=seconds)


def missing_pods(job: Object, tally: Tally) -> int:
    """Return how many pods to start now; negative: how many to stop."""
    spec = job["spec"]
    wanted = spec["parallelism"]
    if spec.get("completions") is None:
        if tally.succeeded:
            wanted = len(tally.active)
    else:
        done = len(tally.completed_indexes) if is_indexed(job) else tally.succeeded
        wanted = min(wanted, spec["completions"] - done)
    return int(wanted) - len(tally.active)


def next_indexes(job: Object, tally: Tally, count: int) -> list[int]:
    """Return the lowest indexes that nobody works on."""
    taken = tally.completed_indexes | {index_of(pod) for pod in tally.active}
    free = (index for index in range(job["spec"]["completions"]) if index not in taken)
    return [index for index, _ in zip(free, range(count), strict=False)]


def backoff(failures: int, first: timedelta) -> timedelta:
    """Return how long to wait after the latest failure: doubling with each, at most ten minutes."""
    return min(first * 2 ** max(0, failures - 1), _LONGEST_BACKOFF) if failures else timedelta(0)


def latest_end(pods: Sequence[Object]) -> datetime | None:
    """Return when a failed pod's last container ended."""
    ends = [
        from_timestamp(terminated["finishedAt"])
        for pod in pods
        for container in status_of(pod).get("containerStatuses") or []
        if (terminated := container.get("state", {}).get("terminated")) and terminated.get("finishedAt")
    ]
    return max(ends, default=None)


def to_ranges(indexes: Iterable[int]) -> str:
    """Write indexes as status.completedIndexes does: `0-2,5`."""
    ranges: list[list[int]] = []
    for index in sorted(indexes):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def from_ranges(text: str) -> frozenset[int]:
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes |= set(range(int(first), int(last or first) + 1))
    return frozenset(indexes)
