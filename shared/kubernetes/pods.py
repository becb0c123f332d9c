"""Which pods of a list count. Pure."""

from collections.abc import Sequence

from shared.model.ports import Manifest


def has_ended(pod: Manifest) -> bool:
    """Whether none of its containers runs or will run again: evicted, shut down with its node, completed. Such a pod
    keeps its labels and stays in lists for days.

    Source: recorded answer `pod-failed-evicted` of Kubernetes 1.36.2; Kubernetes, pod lifecycle, phases.
    """
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def living(pods: Sequence[Manifest]) -> list[Manifest]:
    """The pods that run, will run, or are just ending: whoever asks whether somebody is there asks this."""
    return [pod for pod in pods if not has_ended(pod)]


def replicas_of(pods: Sequence[Manifest]) -> list[Manifest]:
    """The living pods that are to stay."""
    return [pod for pod in living(pods) if not pod["metadata"].get("deletionTimestamp")]
