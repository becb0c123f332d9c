"""Phase 3b: uploads and cache to the share, online, by checksum, resumable.

The cut-over copies what changed meanwhile. Undo removes exactly what was copied and is unchanged since.
"""

from dataclasses import dataclass

from shared.errors import UnsupportedDeployment
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Ports
from shared.programs import mover_job


@dataclass(frozen=True, slots=True)
class Plan:
    job: mover_job.MoverJob
    removal: mover_job.MoverJob
    creates_claim: bool
    """The whole claim goes when provision_storage is undone, so nothing needs to be removed file by file."""
    changes: tuple[Change, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    survey = brief.survey
    if survey.deployment is None or survey.storage is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    copy = ("copy-files", "--source", mover_job.SOURCE, "--target", mover_job.FILES)
    removal = ("remove-files", "--target", mover_job.FILES)
    return Plan(
        job=mover_job.job_for(brief, survey.deployment, "copy-files", copy),
        removal=mover_job.job_for(brief, survey.deployment, "remove-files", removal),
        creates_claim=not survey.storage.files_claim_exists,
        changes=(_described(brief),),
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    return mover_job.advance(ports.cluster, plan.job, "copying files")


def undo(plan: Plan, ports: Ports) -> Progress:
    ports.cluster.delete("Job", plan.job.name)
    if plan.creates_claim or ports.cluster.read("PersistentVolumeClaim", plan.job.files_claim) is None:
        return Progress(finished=True, step="copies go with the claim")
    return mover_job.advance(ports.cluster, plan.removal, "removing copied files")


def _described(brief: Brief) -> Change:
    files = brief.survey.store.get("files") or {}
    parts = [files.get("uploads") or {}, files.get("cache") or {}]
    count, size = sum(int(p.get("files", 0)) for p in parts), sum(int(p.get("bytes", 0)) for p in parts)
    return Change("create", "files", brief.request.target.files_claim, f"{count:,} files, {size:,} bytes")
