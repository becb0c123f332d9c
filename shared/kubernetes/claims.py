"""Whether a claim is on its way out, and what keeps it. Pure: manifests in, names out.

A claim that was deleted stays, Terminating, as long as any pod that was given a node names it: one that has ended too,
of a finished Job or evicted, and those stay for days. Source: Kubernetes 1.36,
pkg/controller/volume/pvcprotection/pvc_protection_controller.go, `podUsesPVCForDeletion`; the contract test
`test_a_pod_that_has_ended_holds_its_claim_as_long_as_it_is_there`.
"""

from collections.abc import Sequence

from shared.kubernetes import manifests
from shared.kubernetes.pods import has_ended
from shared.model.ports import Manifest


def is_going(claim: Manifest) -> bool:
    """Whether somebody deleted it: then it goes, and a disk with it, when the last pod that names it goes."""
    return bool(claim["metadata"].get("deletionTimestamp"))


def mounts(pod: Manifest, claim: str) -> bool:
    """Whether a pod, or a pod template, has this claim among its volumes."""
    volumes = pod["spec"].get("volumes") or []
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim for volume in volumes)


def our_jobs(pods: Sequence[Manifest], claim: str) -> list[str]:
    """Names of our Jobs whose ended pods hold the claim: deleting a Job deletes them."""
    holders = [pod for pod in pods if has_ended(pod) and mounts(pod, claim) and manifests.is_ours(pod)]
    return sorted({job for pod in holders if (job := _job_of(pod))})


def ended_holders(pods: Sequence[Manifest], claim: str) -> list[str]:
    """Names of ended pods that hold the claim and are of no Job of ours: nobody but a person deletes them."""
    holders = [pod for pod in pods if has_ended(pod) and mounts(pod, claim)]
    return sorted(pod["metadata"]["name"] for pod in holders if not (manifests.is_ours(pod) and _job_of(pod)))


def advice(names: Sequence[str], namespace: str) -> str:
    """How a person lets go of a claim; nothing is lost with an ended pod but its log."""
    return f"kubectl delete pod -n {namespace} {' '.join(names)}"


def _job_of(pod: Manifest) -> str:
    return str((pod["metadata"].get("labels") or {}).get("job-name") or "")
