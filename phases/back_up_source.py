"""Phase 3a: the runbook's backup, `vector_db` as a checksummed archive on the new share.

Read from a consistent copy while Open WebUI serves. Undo keeps the archive: it is the last resort of an operator.
"""

from dataclasses import dataclass

from shared.errors import UnsupportedDeployment
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Ports
from shared.programs import mover_job

FOLDER = "backup"
"""On the share."""


@dataclass(frozen=True, slots=True)
class Plan:
    job: mover_job.MoverJob
    changes: tuple[Change, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    target, facts = brief.request.target, brief.survey.deployment
    if facts is None:
        raise UnsupportedDeployment("the preflight could not read the Deployment")
    return Plan(
        job=mover_job.job_for(
            brief, facts, "backup", ("archive", "--data", mover_job.SOURCE, "--target", f"{mover_job.FILES}/{FOLDER}")
        ),
        changes=(Change("create", "archive", f"{target.files_claim}/{FOLDER}", "vector_db, with its checksum"),),
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    return mover_job.advance(ports.cluster, plan.job, "archiving vector_db")


def undo(plan: Plan, ports: Ports) -> Progress:
    ports.cluster.delete("Job", plan.job.name)
    return Progress(finished=True, step="archive kept")
