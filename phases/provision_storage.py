"""Phase 2: the share, the mover's code, Redis, the shared session key; nothing that serves is touched.

Undo deletes what this phase created. A share that already holds copies is kept as a Released volume.
"""

import secrets
from dataclasses import dataclass, replace

from shared import deployments, manifests
from shared.errors import ConfigurationError, UnsupportedDeployment
from shared.model import Brief, Change, Progress
from shared.names import Names
from shared.ports import Cluster, Manifest, Ports
from shared.redis_choice import needs_redis
from shared.survey import Problem, Severity
from shared.transfer.packing import pack

SESSION_KEY = "webui-secret-key"


@dataclass(frozen=True, slots=True)
class Plan:
    run: str
    deployment: str
    files_claim: str
    storage_class: str
    share_size: str
    creates_claim: bool
    creates_redis: bool
    creates_session_secret: bool
    redis_image: str
    force: bool
    removed_class: Manifest | None = None
    """The unused StorageClass as it is, to be made again by undo."""
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    target, options, survey = brief.request.target, brief.request.options, brief.survey
    if survey.storage is None or survey.deployment is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    unused = options.unused_storage_class
    removed = ports.cluster.read("StorageClass", unused) if unused else None
    made = Plan(
        run=brief.run,
        deployment=target.deployment,
        files_claim=target.files_claim,
        storage_class=options.storage_class,
        share_size=options.share_size,
        creates_claim=not survey.storage.files_claim_exists,
        creates_redis=needs_redis(survey.deployment.environment),
        creates_session_secret="WEBUI_SECRET_KEY" not in survey.deployment.environment,
        redis_image=options.redis_image,
        force=options.force_conflicts,
        removed_class=_without_server_fields(removed) if removed else None,
    )
    return _explained(made, bool(unused) and removed is None, unused)


def apply(plan: Plan, ports: Ports) -> Progress:
    cluster, names = ports.cluster, Names(plan.deployment, plan.run)
    for manifest in _wanted(plan, cluster, names):
        cluster.apply(manifest, force=plan.force)
    if plan.creates_session_secret and cluster.read("Secret", names.session_secret) is None:
        key = secrets.token_urlsafe(32).encode()
        cluster.apply(manifests.opaque_secret(names.session_secret, plan.run, {SESSION_KEY: key}))
    if plan.removed_class:
        cluster.delete("StorageClass", plan.removed_class["metadata"]["name"])
    waiting = _not_ready(plan, cluster, names)
    if waiting:
        return Progress(finished=False, step=f"waiting for {waiting}", check_again_in_seconds=0.5)
    return Progress(finished=True, step="storage ready")


def undo(plan: Plan, ports: Ports) -> Progress:
    cluster, names = ports.cluster, Names(plan.deployment, plan.run)
    for job in cluster.list("Job", {"scaleout.dev/run": plan.run}):
        cluster.delete("Job", job["metadata"]["name"])
    cluster.delete("ConfigMap", names.code)
    if plan.creates_redis:
        cluster.delete("Deployment", names.redis)
        cluster.delete("Service", names.redis)
    if plan.creates_session_secret:
        cluster.delete("Secret", names.session_secret)
    if plan.creates_claim:
        _release(plan, cluster)
    if plan.removed_class:
        cluster.apply(plan.removed_class)
    if plan.creates_claim and cluster.read("PersistentVolumeClaim", plan.files_claim):
        return Progress(finished=False, step=f"waiting for {plan.files_claim} to go", check_again_in_seconds=0.5)
    return Progress(finished=True, step="storage as before")


def _wanted(plan: Plan, cluster: Cluster, names: Names) -> list[Manifest]:
    wanted = [manifests.code_map(names.code, plan.run, pack())]
    if plan.creates_claim:
        wanted.append(manifests.files_claim(plan.files_claim, plan.run, plan.storage_class, plan.share_size))
    if plan.creates_redis:
        wanted += manifests.redis(names.redis, plan.run, plan.redis_image, _pod_settings(cluster, plan.deployment))
    return wanted


def _pod_settings(cluster: Cluster, deployment: str) -> Manifest:
    """Where the user's pods may run."""
    found = cluster.read("Deployment", deployment)
    return deployments.placement(found) if found else {}


def _not_ready(plan: Plan, cluster: Cluster, names: Names) -> str:
    """What this phase still waits for; a class that binds at first use is not waited for."""
    claim = cluster.read("PersistentVolumeClaim", plan.files_claim) or {}
    storage_class = cluster.read("StorageClass", plan.storage_class) or {}
    immediate = storage_class.get("volumeBindingMode", "Immediate") == "Immediate"
    if immediate and (claim.get("status") or {}).get("phase") != "Bound":
        return f"claim {plan.files_claim}"
    if plan.creates_redis:
        redis = cluster.read("Deployment", names.redis)
        failure = deployments.startup_failure(cluster.list("Pod", {"app": names.redis}))
        if failure:
            raise ConfigurationError(
                f"Redis does not start: {failure}", hint="Set options.redis_image to one you can pull."
            )
        if redis is None or not deployments.is_settled(redis, 1):
            return f"Deployment {names.redis}"
    return ""


def _release(plan: Plan, cluster: Cluster) -> None:
    """Delete the claim but never the copies on it: the backup archive must outlive the undo."""
    claim = cluster.read("PersistentVolumeClaim", plan.files_claim)
    volume = (claim or {}).get("spec", {}).get("volumeName")
    if volume:
        cluster.patch("PersistentVolume", volume, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    cluster.delete("PersistentVolumeClaim", plan.files_claim)


def _without_server_fields(manifest: Manifest) -> Manifest:
    kept = {key: value for key, value in manifest.items() if key != "metadata"}
    metadata = manifest["metadata"]
    return kept | {"metadata": {k: metadata[k] for k in ("name", "labels", "annotations") if metadata.get(k)}}


def _explained(made: Plan, class_is_gone: bool, unused: str) -> Plan:
    names = Names(made.deployment, made.run)
    changes = [Change("create", "ConfigMap", names.code, "the mover")]
    if made.creates_claim:
        detail = f"{made.share_size}, ReadWriteMany, class {made.storage_class}"
        changes.append(Change("create", "PersistentVolumeClaim", made.files_claim, detail))
    if made.creates_redis:
        changes.append(Change("create", "Deployment", names.redis, made.redis_image))
        changes.append(Change("create", "Service", names.redis, "port 6379"))
    if made.creates_session_secret:
        changes.append(Change("create", "Secret", names.session_secret, "one WEBUI_SECRET_KEY for all replicas"))
    if made.removed_class:
        changes.append(Change("delete", "StorageClass", unused, "unused"))
    gone = Problem("unused_class", Severity.NOTE, f"StorageClass {unused} is gone already")
    return replace(made, changes=tuple(changes), problems=(gone,) if class_is_gone else ())
