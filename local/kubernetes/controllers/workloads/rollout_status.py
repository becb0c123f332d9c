"""How a rollout stands, pure: a Deployment's status from its ReplicaSets.

Source: pkg/controller/deployment/{sync,progress}.go of Kubernetes 1.36.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.kubernetes.controllers.workloads.rolling_update import Limits
from local.kubernetes.model.objects import (
    Object,
    condition,
    from_timestamp,
    name_of,
    status_of,
    to_timestamp,
    with_condition,
    without_empty,
)

CREATED, FOUND = "NewReplicaSetCreated", "FoundNewReplicaSet"
UPDATED, COMPLETE, TIMED_OUT = "ReplicaSetUpdated", "NewReplicaSetAvailable", "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Counts:
    """The pods of all ReplicaSets; `updated` are those of the newest."""

    desired: int
    replicas: int
    updated: int
    ready: int
    available: int
    terminating: int

    @classmethod
    def of(cls, replica_sets: Sequence[Object], new: Object | None) -> "Counts":
        def total(field: str) -> int:
            return sum(status_of(replica_set).get(field, 0) for replica_set in replica_sets)

        return cls(
            desired=sum(replica_set["spec"]["replicas"] for replica_set in replica_sets),
            replicas=total("replicas"),
            updated=status_of(new).get("replicas", 0) if new else 0,
            ready=total("readyReplicas"),
            available=total("availableReplicas"),
            terminating=total("terminatingReplicas"),
        )


def limits_of(deployment: Object) -> Limits:
    """Return the rollout's limits; under Recreate nothing may surge and nothing be missing."""
    spec = deployment["spec"]
    rolling = spec["strategy"].get("rollingUpdate")
    if spec["strategy"]["type"] != "RollingUpdate" or not rolling:
        return Limits(0, 0)
    return Limits.resolve(rolling["maxSurge"], rolling["maxUnavailable"], spec["replicas"])


def rollout_status(deployment: Object, replica_sets: Sequence[Object], new: Object | None, now: datetime) -> Object:
    """Return the status that the Deployment should have now."""
    counts = Counts.of(replica_sets, new)
    conditions = list(status_of(deployment).get("conditions") or [])
    conditions = _with_availability(conditions, deployment, counts, now)
    progress = _progress(deployment, counts, new, now)
    if progress is not None:
        conditions = with_condition(conditions, progress)
    status = without_empty(
        {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": counts.replicas,
            "updatedReplicas": counts.updated,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
            "unavailableReplicas": max(0, counts.desired - counts.available),
        }
    )
    return {**status, "terminatingReplicas": counts.terminating, "conditions": conditions}


def progressing(reason: str, message: str, now: datetime, *, status: str = "True") -> Object:
    time = to_timestamp(now)
    return {
        "type": "Progressing",
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": time,
        "lastTransitionTime": time,
    }


def time_until_deadline(deployment: Object, now: datetime) -> timedelta | None:
    """Return when to look whether the rollout is late; None when it has come to an end."""
    current = condition(deployment, "Progressing")
    if current is None or current["reason"] in (COMPLETE, TIMED_OUT):
        return None
    return _deadline(deployment, current) - now + timedelta(seconds=1)  # timestamps are cut to seconds


def _deadline(deployment: Object, current: Object) -> datetime:
    seconds = deployment["spec"]["progressDeadlineSeconds"]
    return from_timestamp(current["lastUpdateTime"]) + timedelta(seconds=seconds)


def _with_availability(conditions: list[Object], deployment: Object, counts: Counts, now: datetime) -> list[Object]:
    wanted = deployment["spec"]["replicas"]
    enough = counts.available >= wanted - (limits_of(deployment).unavailable if wanted else 0)
    status, reason, verb = (
        ("True", "MinimumReplicasAvailable", "has")
        if enough
        else ("False", "MinimumReplicasUnavailable", "does not have")
    )
    current = next((found for found in conditions if found["type"] == "Available"), None)
    if current and current["status"] == status:
        return conditions
    time = to_timestamp(now)
    available = {
        "type": "Available",
        "status": status,
        "reason": reason,
        "message": f"Deployment {verb} minimum availability.",
        "lastUpdateTime": time,
        "lastTransitionTime": time,
    }
    return with_condition(conditions, available)


def _progress(deployment: Object, counts: Counts, new: Object | None, now: datetime) -> Object | None:
    """Return the new Progressing condition, None when it stays as it is."""
    before = status_of(deployment)
    current = condition(deployment, "Progressing")
    if current and current["reason"] == COMPLETE and counts.replicas == counts.updated:
        return None
    subject = f'ReplicaSet "{name_of(new)}"' if new else f'Deployment "{name_of(deployment)}"'
    if _is_complete(deployment, counts):
        return progressing(COMPLETE, f"{subject} has successfully progressed.", now)
    if _has_progressed(before, counts):
        return progressing(UPDATED, f"{subject} is progressing.", now)
    if current and current["reason"] not in (COMPLETE, TIMED_OUT) and now > _deadline(deployment, current):
        return progressing(TIMED_OUT, f"{subject} has timed out progressing.", now, status="False")
    return None


def _is_complete(deployment: Object, counts: Counts) -> bool:
    """Say whether all wanted pods, and only they, are of the newest ReplicaSet and available."""
    wanted: int = deployment["spec"]["replicas"]
    return counts.updated == counts.replicas == counts.available == wanted


def _has_progressed(before: Mapping[str, int], counts: Counts) -> bool:
    old_ones = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    return (
        counts.updated > before.get("updatedReplicas", 0)
        or counts.replicas - counts.updated < old_ones
        or counts.ready > before.get("readyReplicas", 0)
        or counts.available > before.get("availableReplicas", 0)
    )
