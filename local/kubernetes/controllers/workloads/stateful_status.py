"""How a StatefulSet stands, pure: its status from its pods.

Source: pkg/controller/statefulset/stateful_set_control.go of Kubernetes 1.36, computeReplicaStatus, and
stateful_set_utils.go, completeRollingUpdate.
"""

from collections.abc import Sequence

from local.kubernetes.controllers.workloads.stateful_steps import Replica, Wish
from local.kubernetes.model.objects import Object, without_empty


def status_now(wish: Wish, pods: Sequence[Replica], *, generation: int, collisions: int) -> Object:
    """Return the status; once all pods are of the template's revision and ready, that revision is the current one.

    With `OnDelete` it never becomes the current one.
    """
    ready = [pod for pod in pods if pod.phase == "Running" and pod.ready]
    staying = [pod for pod in pods if not pod.terminating]
    current = len([pod for pod in staying if pod.revision == wish.current])
    updated = len([pod for pod in staying if pod.revision == wish.update])
    is_complete = wish.replaces and updated == len(ready) == len(pods) == wish.replicas
    counts = without_empty(
        {
            "observedGeneration": generation,
            "readyReplicas": len(ready),
            "currentReplicas": updated if is_complete else current,
            "updatedReplicas": updated,
            "currentRevision": wish.update if is_complete else wish.current,
            "updateRevision": wish.update,
        }
    )
    return {
        **counts,
        "replicas": len(pods),
        "availableReplicas": len([pod for pod in ready if pod.available]),
        "collisionCount": collisions,
    }
