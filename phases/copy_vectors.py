"""Phase 3c: every chunk from a consistent copy of Chroma into `document_chunk`, while the old pod serves.

Then everything is compared and indexed, also online, so that the downtime does not grow with the data: the cut-over
only adds and compares what changed.
The ledger in schema `scaleout` makes a rerun go on where it stands. Undo removes exactly the copied rows.
"""

from dataclasses import dataclass

from shared.errors import UnsupportedDeployment
from shared.model.history_size import condensed
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Ports
from shared.programs import mover_job


@dataclass(frozen=True, slots=True)
class Plan:
    copy: mover_job.MoverJob
    index: mover_job.MoverJob
    removal: mover_job.MoverJob
    changes: tuple[Change, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    facts, options, budget = brief.survey.deployment, brief.request.options, brief.survey.budget
    if facts is None or budget is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    workers = max(1, min(options.workers, budget.mover_connections))
    arguments = ["copy-vectors", "--data", mover_job.SOURCE, "--scratch", mover_job.SCRATCH, "--run", brief.run]
    arguments += ["--workers", str(workers), "--verify", *(["--full"] if options.full_verification else [])]
    if options.throttle_rows_per_second:
        arguments += ["--throttle", str(options.throttle_rows_per_second)]
    chroma = brief.survey.store.get("chroma") or {}
    detail = f"{int(chroma.get('rows') or 0):,} chunks of {int(chroma.get('collection_count') or 0):,} collections"
    return Plan(
        copy=mover_job.job_for(brief, facts, "copy-vectors", tuple(arguments)),
        index=mover_job.job_for(brief, facts, "build-indexes", ("build-indexes",)),
        removal=mover_job.job_for(brief, facts, "remove-vectors", ("remove-vectors", "--run", brief.run)),
        changes=(Change("create", "rows", "document_chunk", detail),),
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    copied = mover_job.advance(ports.cluster, plan.copy, "copying vectors")
    if not copied.finished:
        return copied
    indexed = mover_job.advance(ports.cluster, plan.index, "building indexes")
    if not indexed.finished:
        return indexed
    verified = {"verification": condensed(copied.result.get("verification") or {})}
    result = {**condensed(copied.result), **verified, "indexes": indexed.result}
    return Progress(finished=True, step="vectors copied and verified", result=result)


def undo(plan: Plan, ports: Ports) -> Progress:
    ports.cluster.delete("Job", plan.copy.name)
    ports.cluster.delete("Job", plan.index.name)
    return mover_job.advance(ports.cluster, plan.removal, "removing copied rows")
