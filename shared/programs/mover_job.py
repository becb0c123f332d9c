"""Run the mover (`shared.transfer`) where the data is: by exec in the serving pod, or as a Job beside the disk.

By exec for short reads, because that creates no object: a plan leaves the cluster byte for byte as it was. As a Job for
everything that copies. Both end in one JSON line, a result or an error, which becomes one of ours here.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.errors import PermanentError, TransientError
from shared.kubernetes.deployments import container, pod_spec
from shared.kubernetes.environment_order import with_references
from shared.model.migration import Brief, Progress
from shared.model.ports import Cluster, Manifest
from shared.model.survey import DeploymentFacts
from shared.names import Names
from shared.programs import job_protocol
from shared.programs.zipapp import pack
from shared.transfer.database_url import COMPOSED_FROM
from shared.transfer.steps.standby import STEP

SOURCE, FILES, SCRATCH, CODE = "/source", "/files", "/scratch", "/scaleout"
"""Where a Job mounts the disk, the share, its own scratch space and the mover."""

GO = f"{SCRATCH}/stopped"
"""The file that a Job stands by for."""

ARCHIVE = "mover.pyz"
DATABASE_VARIABLES = ("DATABASE_URL", "PGVECTOR_DB_URL", *COMPOSED_FROM)

BOOTSTRAP = """
import base64, os, runpy, sys, tempfile
source = base64.b64decode(sys.stdin.buffer.read(int(sys.argv[1])))
with tempfile.TemporaryDirectory(prefix="scaleout-") as folder:
    path = os.path.join(folder, "mover.pyz")
    with open(path, "wb") as file:
        file.write(source)
    sys.argv = [path, *sys.argv[2:]]
    runpy.run_path(path, run_name="__main__")
"""
"""Receives the zipapp on its input, which exec cannot close: hence the length as the first argument."""


@dataclass(frozen=True, slots=True)
class MoverJob:
    """One command of the mover, to be run as a Job."""

    name: str
    """Of the Job: unique in the namespace and the same at every call, so that a rerun finds it."""
    run: str
    deployment: str
    facts: DeploymentFacts
    arguments: tuple[str, ...]
    config_map: str
    disk_claim: str = ""
    files_claim: str = ""
    writes_disk: bool = False
    """Only the way back does; every other Job mounts the disk read-only."""
    on_node: str = ""
    """The node that the disk is attached to: a ReadWriteOnce volume is mounted on one node at a time."""


def job_for(brief: Brief, facts: DeploymentFacts, step: str, arguments: tuple[str, ...]) -> MoverJob:
    """A Job with both the disk and the share, on the node that holds the disk."""
    target, names = brief.request.target, Names(brief.request.target.deployment, brief.run)
    return MoverJob(
        name=names.job(step),
        run=brief.run,
        deployment=target.deployment,
        facts=facts,
        arguments=arguments,
        config_map=names.code,
        disk_claim=target.disk_claim,
        files_claim=target.files_claim,
        on_node=facts.node,
    )


def way_back_for(brief: Brief, facts: DeploymentFacts, step: str, arguments: tuple[str, ...]) -> MoverJob:
    """A Job that writes to the disk, on whichever node it can be attached to: days later the old one may be gone."""
    return replace(job_for(brief, facts, step, arguments), writes_disk=True, on_node="")


def run_in_pod(
    cluster: Cluster, facts: DeploymentFacts, arguments: Sequence[str], *, timeout_seconds: float = 120
) -> dict[str, Any]:
    """Run the mover inside the serving pod and return its result."""
    return run_in(cluster, facts.pod, facts.container, arguments, timeout_seconds=timeout_seconds)


def run_in(
    cluster: Cluster, pod: str, container_name: str, arguments: Sequence[str], *, timeout_seconds: float = 120
) -> dict[str, Any]:
    """Run the mover inside this pod and return its result."""
    source = base64.b64encode(pack())
    command = ["python3", "-c", BOOTSTRAP, str(len(source)), *arguments]
    done = cluster.execute(pod, container_name, command, stdin=source, timeout_seconds=timeout_seconds)
    last = job_protocol.last_line(done.stdout)
    if last is None:
        complaint = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise PermanentError(
            f"the mover's {arguments[0]} ended with code {done.exit_code} in pod {pod}: {complaint}",
            hint="The pod's image must have python3 with numpy and psycopg, as Open WebUI's has.",
        )
    return job_protocol.result_of(last, f"{arguments[0]} in pod {pod}")


def advance(cluster: Cluster, job: MoverJob, step: str) -> Progress:
    """Start the Job, or see how far it is; finished with the mover's result. Fails as the mover failed."""

    def manifest() -> Manifest:
        deployment = cluster.read("Deployment", job.deployment)
        if deployment is None:
            raise PermanentError(f"Deployment {job.deployment} is gone", hint="Create it again from your manifests.")
        return job_manifest(job, deployment)

    return job_protocol.advance(cluster, job_protocol.Program(job.name, "mover", job.arguments[0]), manifest, step)


def waits(progress: Progress) -> bool:
    """Whether the Job stands by: scheduled, its volumes mounted, everything loaded."""
    return progress.step == STEP


def release(cluster: Cluster, job: MoverJob) -> None:
    """Tell the Job that stands by to begin; to tell it twice is harmless."""
    for pod in cluster.list("Pod", {"job-name": job.name}):
        if (pod.get("status") or {}).get("phase") == "Running":
            name = str(pod["metadata"]["name"])
            done = cluster.execute(name, "mover", ["touch", GO], timeout_seconds=15)
            if done.exit_code != 0:
                raise TransientError(f"Job {job.name} could not be told to begin: {done.stderr.strip()}")


def job_manifest(job: MoverJob, deployment: Manifest) -> Manifest:
    """The Job, in Open WebUI's own image and with its own database variables. Pure."""
    main = container(deployment, job.facts.container)
    spec = pod_spec(deployment)
    volumes, mounts = _volumes(job)
    pod: dict[str, Any] = {
        "volumes": volumes,
        "containers": [
            {
                "name": "mover",
                "image": job.facts.image,
                "command": ["python3", f"{CODE}/{ARCHIVE}", *job.arguments],
                "env": with_references(main.get("env") or [], DATABASE_VARIABLES),
                "volumeMounts": mounts,
                "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            }
        ],
    }
    if main.get("envFrom"):
        pod["containers"][0]["envFrom"] = main["envFrom"]
    if main.get("securityContext"):
        pod["containers"][0]["securityContext"] = main["securityContext"]
    for inherited in ("securityContext", "nodeSelector", "tolerations", "imagePullSecrets"):
        if spec.get(inherited):
            pod[inherited] = spec[inherited]
    if job.on_node:
        pod["affinity"] = _beside(job.on_node)
    return job_protocol.job(job.name, job.run, pod)


def _volumes(job: MoverJob) -> tuple[list[Manifest], list[Manifest]]:
    volumes: list[Manifest] = [
        {"name": "code", "configMap": {"name": job.config_map}},
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts: list[Manifest] = [
        {"name": "code", "mountPath": CODE, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH},
    ]
    below = {"subPath": job.facts.sub_path} if job.facts.sub_path else {}
    if job.disk_claim:
        volumes.append({"name": "disk", "persistentVolumeClaim": {"claimName": job.disk_claim}})
        mounts.append({"name": "disk", "mountPath": SOURCE} | below | ({} if job.writes_disk else {"readOnly": True}))
    if job.files_claim:
        volumes.append({"name": "files", "persistentVolumeClaim": {"claimName": job.files_claim}})
        mounts.append({"name": "files", "mountPath": FILES} | below)
    return volumes, mounts


def _beside(node: str) -> Manifest:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
