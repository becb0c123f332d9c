"""Jobs: pods that run to an end, tried again until the backoff limit, in parts when the Job is indexed.

What comes next is decided in `completion`, what has been done is counted in `job_accounting`; here it is carried out.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER, create_pod, owned_by, owner_keys
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.controllers.workloads import completion
from local.kubernetes.controllers.workloads.completion import Tally, Verdict
from local.kubernetes.controllers.workloads.job_accounting import TRACKING, account, has_ended, tidied
from local.kubernetes.model.kinds import JOBS, PODS
from local.kubernetes.model.objects import (
    Object,
    condition,
    copy_of,
    finalizers_of,
    from_timestamp,
    is_finished,
    is_terminating,
    name_of,
    phase_of,
    status_of,
    to_timestamp,
    with_condition,
)
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Event, Key


class JobController:
    def __init__(self, registry: Registry, first_backoff: timedelta) -> None:
        self._registry = registry
        self._first_backoff = first_backoff
        self._events = Recorder(registry, "job-controller")

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is JOBS:
            yield event.key
        elif event.resource is PODS:
            yield from owner_keys(event, JOBS)

    def reconcile(self, key: Key) -> timedelta | None:
        job = self._registry.store.get(key)
        if job is None or is_terminating(job):
            self._release_pods_of(key)
            return None
        pods = owned_by(self._registry, job, PODS)
        tally = self._count(key, job, pods)
        job = self._registry.get(key)
        if completion.is_over(job):
            self._stop(tally.active)
            return self._expire(key, job)
        if job["spec"].get("suspend"):
            self._suspend(key, job, tally)
            return None
        verdict = completion.judge(job, tally, self._registry.clock())
        if verdict is not None:
            return self._conclude(key, verdict, tally, pods)
        return self._go_on(key, job, tally, pods)

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _count(self, key: Key, job: Object, pods: Sequence[Object]) -> Tally:
        """Bring the counts up to date, and let the pods go that they include."""
        found = account(job, pods)
        self._write_status(key, found.status)
        for pod in found.ended:
            self._registry.drop_finalizer(key_of(PODS, pod), TRACKING, MANAGER)
        self._write_status(key, found.settled_status)
        return found.tally

    def _release_pods_of(self, key: Key) -> None:
        """Let the pods of a deleted Job go: nobody counts them any more."""
        for pod in self._registry.store.all_of(PODS, key.namespace):
            if TRACKING in finalizers_of(pod) and pod["metadata"].get("labels", {}).get("job-name") == key.name:
                job = self._registry.store.get(key)
                if job is None or is_terminating(pod) or has_ended(pod):
                    self._registry.drop_finalizer(key_of(PODS, pod), TRACKING, MANAGER)

    def _write_status(self, key: Key, status: Object) -> None:
        self._registry.set_status(key, tidied(status), MANAGER)

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self, key: Key, job: Object, tally: Tally, pods: Sequence[Object]) -> timedelta | None:
        job = self._note_start(key, job)
        now = self._registry.clock()
        waits = []
        deadline = completion.deadline_of(job)
        if deadline is not None:
            waits.append(deadline - now)
        missing = completion.missing_pods(job, tally)
        pause = self._pause(tally, pods)
        if missing > 0 and pause > timedelta(0):
            waits.append(pause)
        elif missing > 0:
            self._start(job, tally, missing)
        elif missing < 0:
            self._stop(tally.active[missing:])
        return min(waits, default=None)

    def _pause(self, tally: Tally, pods: Sequence[Object]) -> timedelta:
        """Return how much longer to wait after the latest failure."""
        failed = [pod for pod in pods if phase_of(pod) == "Failed"]
        ended = completion.latest_end(failed)
        if ended is None:
            return timedelta(0)
        return ended + completion.backoff(tally.failed, self._first_backoff) - self._registry.clock()

    def _note_start(self, key: Key, job: Object) -> Object:
        status = dict(status_of(job))
        suspended = condition(job, completion.SUSPENDED)
        if "startTime" in status and not (suspended and suspended["status"] == "True"):
            return job
        status["startTime"] = self._registry.now()
        if suspended:
            resumed = self._condition(Verdict(completion.SUSPENDED, "JobResumed", "Job resumed"), "False")
            status["conditions"] = with_condition(status["conditions"], resumed)
        return self._registry.set_status(key, status, MANAGER) or job

    def _start(self, job: Object, tally: Tally, count: int) -> None:
        indexes = completion.next_indexes(job, tally, count) if completion.is_indexed(job) else [None] * count
        for index in indexes:
            if index is None:
                create_pod(self._registry, job, prefix=f"{name_of(job)}-", finalizers=(TRACKING,))
            else:
                mark = {completion.INDEX: str(index)}
                create_pod(
                    self._registry,
                    job,
                    prefix=f"{name_of(job)}-{index}-",
                    annotations=mark,
                    labels=mark,
                    finalizers=(TRACKING,),
                    spec=indexed_spec(job, index),
                )

    def _stop(self, pods: Iterable[Object]) -> None:
        for pod in pods:
            if not is_terminating(pod):
                self._registry.delete(key_of(PODS, pod))

    def _suspend(self, key: Key, job: Object, tally: Tally) -> None:
        self._stop(tally.active)
        status = dict(status_of(job))
        status.pop("startTime", None)
        suspended = self._condition(Verdict(completion.SUSPENDED, "JobSuspended", "Job suspended"))
        current = condition(job, completion.SUSPENDED)
        if current is None or current["status"] != "True":
            status["conditions"] = with_condition(status.get("conditions") or [], suspended)
            self._write_status(key, status)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude(self, key: Key, verdict: Verdict, tally: Tally, pods: Sequence[Object]) -> timedelta | None:
        """Announce the outcome, stop what still runs, and state the end once it has stopped."""
        job = self._registry.get(key)
        status = copy_of(dict(status_of(job)))
        conditions = status.get("conditions") or []
        conditions = self._with(conditions, verdict.announcement)
        self._stop(tally.active)
        still_running = [pod for pod in pods if self._is_running(pod)]
        if not still_running:
            conditions = self._with(conditions, verdict)
            status |= {"active": 0, "ready": 0}
            if verdict.type == completion.COMPLETE:
                status["completionTime"] = self._registry.now()
                self._events.normal(job, "Completed", "Job completed")
            else:
                self._events.warning(job, verdict.reason, verdict.message)
        self._write_status(key, {**status, "conditions": conditions})
        return None

    def _is_running(self, pod: Object) -> bool:
        current = self._registry.store.get(key_of(PODS, pod))
        return current is not None and not is_finished(current) and bool(current["spec"].get("nodeName"))

    def _with(self, conditions: list[Object], verdict: Verdict) -> list[Object]:
        if any(found["type"] == verdict.type and found["status"] == "True" for found in conditions):
            return conditions
        return with_condition(conditions, self._condition(verdict))

    def _condition(self, verdict: Verdict, status: str = "True") -> Object:
        now = to_timestamp(self._registry.clock())
        return {
            "type": verdict.type,
            "status": status,
            "reason": verdict.reason,
            "message": verdict.message,
            "lastProbeTime": now,
            "lastTransitionTime": now,
        }

    def _expire(self, key: Key, job: Object) -> timedelta | None:
        """Delete a finished Job when its time to live is over."""
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return None
        end = next(found for type_ in (completion.COMPLETE, completion.FAILED) if (found := condition(job, type_)))
        left = from_timestamp(end["lastTransitionTime"]) + timedelta(seconds=seconds) - self._registry.clock()
        if left > timedelta(0):
            return left
        self._registry.delete(key, Deletion("Foreground"))
        return None


def indexed_spec(job: Object, index: int) -> Object:
    """Return the template's pod spec with a host name and a variable that tell the pod its index."""
    spec: Object = copy_of(job["spec"]["template"]["spec"])
    spec["hostname"] = f"{name_of(job)}-{index}"
    reference = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{completion.INDEX}']"}}
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": reference})
    return spec
