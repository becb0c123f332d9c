"""Deletion, pure: how an object looks while it is being deleted, and what stands between it and its end.

An object goes at once unless a finalizer holds it, it is a namespace with something in it, or a pod that is given time
to stop. Then it is marked with a deletion timestamp and waits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from local.kubernetes.model.kinds import JOBS, NAMESPACES, PODS, Resource
from local.kubernetes.model.objects import Object, copy_of, finalizers_of, is_finished, is_terminating, to_timestamp
from local.kubernetes.model.status_errors import precondition_failed
from local.kubernetes.registry.store import Key

FOREGROUND_FINALIZER = "foregroundDeletion"
ORPHAN_FINALIZER = "orphan"
_PROPAGATION_FINALIZERS = {"Foreground": FOREGROUND_FINALIZER, "Orphan": ORPHAN_FINALIZER}


@dataclass(frozen=True, slots=True)
class Deletion:
    """The options of a DELETE."""

    propagation: str | None = None
    grace_seconds: int | None = None
    required_uid: str | None = None
    required_version: str | None = None
    dry_run: bool = False


def mark(resource: Resource, obj: Object, options: Deletion, now: datetime) -> Object:
    """Return the object as it looks while it is being deleted; a second request can only shorten the grace period."""
    marked = copy_of(obj)
    metadata = marked["metadata"]
    grace = _grace_seconds(obj, options) if resource is PODS else 0
    if not is_terminating(obj) or grace < metadata.get("deletionGracePeriodSeconds", 0):
        metadata["deletionTimestamp"] = to_timestamp(now + timedelta(seconds=grace))
        if resource is not NAMESPACES:
            metadata["deletionGracePeriodSeconds"] = grace
    if resource.counts_generations and not is_terminating(obj):
        metadata["generation"] = metadata.get("generation", 0) + 1
    if resource is NAMESPACES:
        marked["status"] = {**marked.get("status", {}), "phase": "Terminating"}
    finalizers = _finalizers_for(finalizers_of(obj), _propagation(resource, options))
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    return marked


def is_held(obj: Object) -> bool:
    """Say whether something stands between an object that is being deleted and its end."""
    content = obj["spec"].get("finalizers") if obj["kind"] == NAMESPACES.kind else None
    return bool(finalizers_of(obj) or content or obj["metadata"].get("deletionGracePeriodSeconds"))


def check_preconditions(key: Key, obj: Object, options: Deletion) -> None:
    metadata = obj["metadata"]
    for label, wanted, found in (
        ("UID", options.required_uid, metadata["uid"]),
        ("ResourceVersion", options.required_version, metadata["resourceVersion"]),
    ):
        if wanted is not None and wanted != found:
            raise precondition_failed(
                key.resource,
                key.name,
                f"the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). "
                "The object might have been deleted and then recreated",
            )


def _propagation(resource: Resource, options: Deletion) -> str | None:
    """Return what is to happen to the dependents.

    A Job's pods survive it unless the request says otherwise. Source: jobStrategy.DefaultGarbageCollectionPolicy, kept
    so for batch/v1.
    """
    return options.propagation or ("Orphan" if resource is JOBS else None)


def _grace_seconds(pod: Object, options: Deletion) -> int:
    """Return how long a pod may take: nothing is waited for where nothing runs."""
    if not pod["spec"].get("nodeName") or is_finished(pod):
        return 0
    if options.grace_seconds is not None:
        return options.grace_seconds
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30))


def _finalizers_for(finalizers: list[str], propagation: str | None) -> list[str]:
    """Return the finalizers with the one that stands for how dependents are treated."""
    if propagation is None:
        return finalizers
    kept = [name for name in finalizers if name not in (FOREGROUND_FINALIZER, ORPHAN_FINALIZER)]
    wanted = _PROPAGATION_FINALIZERS.get(propagation)
    return [*kept, wanted] if wanted else kept
