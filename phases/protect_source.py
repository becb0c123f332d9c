"""Phase 0b: protection before anything is changed: the disk outlives its claim, and its state now is kept.

The source's volume is set to Retain, so that no later mistake can delete the disk. Where the cluster has a
VolumeSnapshotClass for the disk's driver, a VolumeSnapshot is taken and waited for: crash-consistent, as after a power
cut, because Open WebUI serves on. Where there is none, the plan and the report say so.

It is the first to be applied and so the last to be undone. Undo gives the volume its old policy back, and deletes the
snapshot once the old Deployment serves from that very volume again; else it keeps it and says so.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from phases.reading.problems import SNAPSHOT_GROUP, SNAPSHOT_PERMISSIONS
from shared.errors import PermanentError, UnsupportedDeployment
from shared.kubernetes import deployments, manifests
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import Problem, Severity
from shared.names import Names
from shared.wire import JsonObject

READY_DEADLINE = timedelta(minutes=20)
"""A first incremental snapshot of an Azure disk copies what is in use, in the background."""
ERROR_DEADLINE = timedelta(minutes=2)
"""The controller tries again by itself, so an error has to stand for a while."""

DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
"""Source: kubernetes-csi/external-snapshotter, README; one default a driver."""


@dataclass(frozen=True, slots=True)
class Plan:
    run: str
    deployment: str
    replicas: int
    claim: str
    volume: str
    reclaim_policy_before: str
    snapshot_class: str = ""
    """Empty: no snapshot is taken; `unprotected` says why."""
    snapshot_stays: bool = False
    """The class keeps the snapshot when its object is deleted (deletionPolicy Retain)."""
    unprotected: str = ""
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    survey, target = brief.survey, brief.request.target
    if survey.storage is None or survey.deployment is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    volume = ports.cluster.read("PersistentVolume", survey.storage.volume) if survey.storage.volume else None
    found, why_not = find_class(volume, ports.cluster)
    if not brief.request.options.volume_snapshot:
        found, why_not = None, "options.volume_snapshot is false"
    snapshot_class = str(found["metadata"]["name"]) if found else ""
    policy = survey.storage.reclaim_policy
    return Plan(
        run=brief.run,
        deployment=target.deployment,
        replicas=survey.deployment.replicas,
        claim=target.disk_claim,
        volume=survey.storage.volume,
        reclaim_policy_before=policy,
        snapshot_class=snapshot_class,
        snapshot_stays=bool(found) and (found or {}).get("deletionPolicy") == "Retain",
        unprotected=why_not,
        changes=tuple(
            _changes(survey.storage.volume, policy, Names(target.deployment, brief.run).snapshot, snapshot_class)
        ),
        problems=() if snapshot_class else (_without_snapshot(why_not),),
    )


def find_class(volume: Manifest | None, cluster: Cluster) -> tuple[Manifest | None, str]:
    """The VolumeSnapshotClass for this volume's driver: the default one, else the first by name; or why there is none.

    AKS serves the kinds and runs the controller, but comes with no class.
    Source: learn.microsoft.com/azure/aks/azure-disk-csi#create-a-volume-snapshot
    """
    driver = str((((volume or {}).get("spec") or {}).get("csi") or {}).get("driver") or "")
    if not driver:
        return None, "the volume has no CSI driver"
    if not cluster.serves(SNAPSHOT_GROUP):
        return None, f"the cluster serves no {SNAPSHOT_GROUP}"
    missing = [f"{p.verb} {p.kind}" for p in SNAPSHOT_PERMISSIONS if not p.held(cluster)]
    if missing:
        return None, f"the identity may not {', '.join(missing)} (infra/kubernetes/rbac grants it)"
    fitting = [one for one in cluster.list("VolumeSnapshotClass") if one.get("driver") == driver]
    if not fitting:
        return None, f"there is no VolumeSnapshotClass for {driver}"
    return min(fitting, key=lambda one: (not _is_default(one), str(one["metadata"]["name"]))), ""


def apply(plan: Plan, ports: Ports) -> Progress:
    cluster = ports.cluster
    if plan.volume:
        cluster.patch("PersistentVolume", plan.volume, _policy("Retain"))
    result: JsonObject = {"retained_volume": plan.volume}
    if not plan.snapshot_class:
        return Progress(finished=True, step="disk retained", result=result | {"no_snapshot": plan.unprotected})
    name = Names(plan.deployment, plan.run).snapshot
    snapshot = cluster.read("VolumeSnapshot", name)
    if snapshot is None:
        cluster.apply(manifests.volume_snapshot(name, plan.run, plan.claim, plan.snapshot_class))
        return Progress(finished=False, step=f"taking VolumeSnapshot {name}", check_again_in_seconds=0.5)
    status = snapshot.get("status") or {}
    if not status.get("readyToUse"):
        return _wait(name, snapshot, ports.clock.now())
    taken = {
        "name": name,
        "class": plan.snapshot_class,
        "content": str(status.get("boundVolumeSnapshotContentName") or ""),
        "taken_at": str(status.get("creationTime") or ""),
        "size": str(status.get("restoreSize") or ""),
    }
    return Progress(finished=True, step="disk retained, snapshot ready", result=result | {"snapshot": taken})


def undo(plan: Plan, ports: Ports) -> Progress:
    cluster = ports.cluster
    if plan.volume and plan.reclaim_policy_before:
        cluster.patch("PersistentVolume", plan.volume, _policy(plan.reclaim_policy_before))
    name = Names(plan.deployment, plan.run).snapshot
    snapshot = cluster.read("VolumeSnapshot", name) if plan.snapshot_class else None
    if snapshot is None:
        return Progress(finished=True, step="disk as before")
    if (snapshot.get("status") or {}).get("readyToUse") and (why := _not_as_before(plan, cluster)):
        kept = {"snapshot_kept": name, "because": why}
        return Progress(finished=True, step=f"snapshot {name} kept: {why}", result=kept)
    if not snapshot["metadata"].get("deletionTimestamp"):
        cluster.delete("VolumeSnapshot", name)
    if cluster.read("VolumeSnapshot", name) is not None:
        return Progress(finished=False, step=f"waiting for VolumeSnapshot {name} to go", check_again_in_seconds=0.5)
    return _removed(plan)


def _removed(plan: Plan) -> Progress:
    if plan.snapshot_stays:
        note = f"class {plan.snapshot_class} keeps it as a VolumeSnapshotContent (deletionPolicy Retain)"
        return Progress(finished=True, step="disk as before", result={"snapshot_content_kept": note})
    return Progress(finished=True, step="disk as before")


def _not_as_before(plan: Plan, cluster: Cluster) -> str:
    """What speaks against giving the snapshot up; empty when the old side serves again, from the same volume."""
    claim = cluster.read("PersistentVolumeClaim", plan.claim)
    if ((claim or {}).get("spec") or {}).get("volumeName") != plan.volume:
        return f"claim {plan.claim} is not bound to {plan.volume}"
    live = cluster.read("Deployment", plan.deployment)
    if live is None or deployments.volume_of_claim(live, plan.claim) is None:
        return f"Deployment {plan.deployment} does not mount {plan.claim}"
    if not deployments.is_settled(live, plan.replicas):
        return f"Deployment {plan.deployment} is not serving"
    return ""


def _wait(name: str, snapshot: Manifest, now: datetime) -> Progress:
    error = str(((snapshot.get("status") or {}).get("error") or {}).get("message") or "")
    waited = now - datetime.fromisoformat(snapshot["metadata"]["creationTimestamp"])
    if waited > (ERROR_DEADLINE if error else READY_DEADLINE):
        raise PermanentError(
            f"VolumeSnapshot {name} was not ready to use after {waited}{f': {error}' if error else ''}",
            hint=f"kubectl describe volumesnapshot {name}; options.volume_snapshot=false migrates without one.",
        )
    step = f"waiting for VolumeSnapshot {name}{f' ({error})' if error else ''}"
    return Progress(finished=False, step=step, check_again_in_seconds=1.0)


def _policy(policy: str) -> Manifest:
    return {"spec": {"persistentVolumeReclaimPolicy": policy}}


def _is_default(snapshot_class: Manifest) -> bool:
    return (snapshot_class["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"


def _changes(volume: str, policy: str, snapshot: str, snapshot_class: str) -> list[Change]:
    changes = []
    if policy and policy != "Retain":
        detail = f"reclaim policy {policy} → Retain, so that the disk cannot be lost"
        changes.append(Change("change", "PersistentVolume", volume, detail))
    if snapshot_class:
        changes.append(Change("create", "VolumeSnapshot", snapshot, f"of the disk as it is, class {snapshot_class}"))
    return changes


def _without_snapshot(why: str) -> Problem:
    message = f"no VolumeSnapshot of the disk is taken: {why}; the disk itself (Retain) and the archive are the backups"
    hint = "kubectl apply -f infra/kubernetes/01-snapshot-class.yaml, where the cluster has the snapshot controller."
    return Problem("no_snapshot", Severity.NOTE, message, hint)
