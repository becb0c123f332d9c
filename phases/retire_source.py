"""Phase 10: the old disk goes. Opt-in, last, after an approval that names it; there is no way back from it.

Asked for with the migration (`options.retire_source`) or alone, days later (mode `phases`). Only when nothing mounts
the disk and Open WebUI serves from the share, the claim is deleted, and the disk with it where its volume was made to
be deleted with its claim; a volume that the user himself set to Retain is left to him. Each call looks at what is left,
so a rerun goes on. When nobody approves in time, or somebody refuses, everything stays. A snapshot that a run took of
the disk is kept and named: it costs little, and is then the only whole copy; to delete it is the operator's.
"""

from dataclasses import dataclass

from phases.reading.problems import SNAPSHOT_GROUP
from shared.errors import ConfigurationError, NeedsOperator, UnsupportedDeployment
from shared.kubernetes import claims, deployments, manifests
from shared.kubernetes.pods import has_ended
from shared.model.migration import NOT_ASKED_FOR, Brief, Change, Progress
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import Problem, Severity

NAME = "retire_source"
POLICY = {"policy": ("f:spec", "f:persistentVolumeReclaimPolicy")}


@dataclass(frozen=True, slots=True)
class Plan:
    deployment: str = ""
    claim: str = ""
    volume: str = ""
    disk: str = ""
    """Azure's id of the disk; empty when the volume has none."""
    files_claim: str = ""
    deletes_disk: bool = False
    snapshots: tuple[str, ...] = ()
    """VolumeSnapshots of the disk that migrations took; they stay."""
    left_out: bool = True
    """Nobody asked for it. A phase without a way back that is left out does not stand in the way of others'."""
    awaits: str = ""
    approval_names: str = ""
    """What the approval must say under `disk`."""
    deadline_seconds: int = 0
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    if not brief.request.wants(NAME):
        return Plan()
    target = brief.request.target
    claim = ports.cluster.read("PersistentVolumeClaim", target.disk_claim)
    name = str((claim or {}).get("spec", {}).get("volumeName") or "")
    volume = ports.cluster.read("PersistentVolume", name) if name else None
    if volume is None:
        raise UnsupportedDeployment(
            f"claim {target.disk_claim} is gone or bound to nothing: there is no disk to retire"
        )
    disk = str((volume["spec"].get("csi") or {}).get("volumeHandle") or "")
    deletes = deletes_disk(volume)
    snapshots = list_snapshots(target.disk_claim, ports.cluster)
    return Plan(
        deployment=target.deployment,
        claim=target.disk_claim,
        volume=name,
        disk=disk,
        files_claim=target.files_claim,
        deletes_disk=deletes,
        snapshots=snapshots,
        left_out=False,
        awaits="approval",
        approval_names=name,
        deadline_seconds=brief.request.options.retire_deadline_seconds,
        changes=(*_changes(target.disk_claim, name, disk, deletes), *map(_kept, snapshots)),
        problems=(_no_way_back(name),),
    )


def deletes_disk(volume: Manifest) -> bool:
    """Whether the disk was made to go with its claim: its policy is Delete, or was until a migration said Retain."""
    if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        return True
    return deployments.field_owners(volume, POLICY).get("policy") == "scaleout"


def list_snapshots(claim: str, cluster: Cluster) -> tuple[str, ...]:
    """Our VolumeSnapshots of this claim; none where the cluster has none or we may not look."""
    if not cluster.serves(SNAPSHOT_GROUP) or not cluster.may("list", "volumesnapshots", group=SNAPSHOT_GROUP):
        return ()
    found = cluster.list("VolumeSnapshot", manifests.MANAGED_BY)
    of_claim = [one for one in found if (one["spec"].get("source") or {}).get("persistentVolumeClaimName") == claim]
    return tuple(sorted(str(one["metadata"]["name"]) for one in of_claim))


def apply(plan: Plan, ports: Ports) -> Progress:
    if plan.left_out:
        return NOT_ASKED_FOR
    cluster = ports.cluster
    claim, volume = cluster.read("PersistentVolumeClaim", plan.claim), cluster.read("PersistentVolume", plan.volume)
    if claim is not None and not claim["metadata"].get("deletionTimestamp"):
        _require_unused(plan, claim, cluster)
        for job in claims.our_jobs(cluster.list("Pod"), plan.claim):
            cluster.delete("Job", job)
        if plan.deletes_disk:
            cluster.patch("PersistentVolume", plan.volume, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
        cluster.delete("PersistentVolumeClaim", plan.claim)
    elif claim is None and (volume is None or not plan.deletes_disk):
        result = {"claim": plan.claim, "volume": plan.volume, "disk": plan.disk, "disk_deleted": volume is None}
        result |= {"snapshots_kept": list(plan.snapshots)}
        return Progress(
            finished=True, step="the old disk is retired" if volume is None else "claim deleted", result=result
        )
    return Progress(finished=False, step=_waiting(plan, claim, cluster), check_again_in_seconds=1.0)


def _waiting(plan: Plan, claim: Manifest | None, cluster: Cluster) -> str:
    """What is still there, and which ended pods hold it."""
    if claim is None:
        return f"waiting for {plan.volume} to go"
    held = claims.ended_holders(cluster.list("Pod"), plan.claim)
    by = f": {claims.advice(held, cluster.namespace)}" if held else ""
    return f"waiting for {plan.claim} to go{by}"


def undo(plan: Plan, ports: Ports) -> Progress:
    """Say whether there is still a way back: only while the claim is there, bound to the disk and not on its way out.

    Asked by a rollback alone: a run whose deletion was refused halts, and its migration stands.
    """
    if plan.left_out:
        return NOT_ASKED_FOR
    claim = ports.cluster.read("PersistentVolumeClaim", plan.claim)
    going = claim is None or bool(claim["metadata"].get("deletionTimestamp"))
    if claim is None or going or claim["spec"].get("volumeName") != plan.volume:
        raise NeedsOperator(
            f"the old disk {plan.volume} was given up, so there is no way back to it",
            hint="docs/operate.md, how to restore: from a VolumeSnapshot or from the archive on the share.",
        )
    if plan.deletes_disk:  # an attempt may have set it to Delete
        retained = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
        ports.cluster.patch("PersistentVolume", plan.volume, retained)
    return Progress(finished=True, step="the old disk is still there")


def _require_unused(plan: Plan, claim: Manifest, cluster: Cluster) -> None:
    """Open WebUI serves from the share, and nobody mounts the disk; ConfigurationError lists what stands against it."""
    problems = []
    live = cluster.read("Deployment", plan.deployment)
    if live is None or deployments.volume_of_claim(live, plan.files_claim) is None:
        problems.append(f"Deployment {plan.deployment} does not use {plan.files_claim}")
    elif not int((live.get("status") or {}).get("availableReplicas") or 0):
        problems.append(f"Deployment {plan.deployment} has no available replica")
    if claim["spec"].get("volumeName") != plan.volume:
        problems.append(f"claim {plan.claim} is bound to another volume than the approved {plan.volume}")
    pods = cluster.list("Pod")
    users = [one["metadata"]["name"] for one in pods if claims.mounts(one, plan.claim) and not has_ended(one)]
    templates = [(one["metadata"]["name"], one["spec"]["template"]) for one in cluster.list("Deployment")]
    users += [name for name, template in templates if claims.mounts(template, plan.claim)]
    if users:
        problems.append(f"{plan.claim} is still mounted by {', '.join(sorted(users))}")
    held = claims.ended_holders(pods, plan.claim)
    if held:
        problems.append(f"{plan.claim} is held by pods that have ended: {', '.join(held)}")
    if problems:
        hint = f"{claims.advice(held, cluster.namespace)}; then ask again." if held else "Put it right and ask again."
        raise ConfigurationError(f"the disk was not deleted: {'; '.join(problems)}", hint=hint)


def _changes(claim: str, volume: str, disk: str, deletes: bool) -> list[Change]:
    changes = [
        Change("delete", "PersistentVolumeClaim", claim, "irreversible"),
        Change("delete", "Job", f"finished Jobs of this app that mount {claim}", "their pods would hold the claim"),
    ]
    if deletes:
        changes.append(Change("delete", "PersistentVolume", volume, f"with its disk {disk}".strip()))
    else:
        changes.append(Change("keep", "PersistentVolume", volume, "its reclaim policy was Retain before the migration"))
    return changes


def _kept(snapshot: str) -> Change:
    return Change("keep", "VolumeSnapshot", snapshot, f"kubectl delete volumesnapshot {snapshot}, once nobody needs it")


def _no_way_back(volume: str) -> Problem:
    message = f"after this phase a rollback is no longer possible; the approval must name the disk: {volume}"
    hint = f'POST …/approve with {{"approved": true, "disk": "{volume}"}}, after the soak.'
    return Problem("irreversible", Severity.WARNING, message, hint)
