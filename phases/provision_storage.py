"""Phase 2: the share, the mover's code, Redis, the shared session key; nothing that serves is touched.

Undo deletes what this phase created. A share that already holds copies is kept as a Released volume.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import ConfigurationError, UnsupportedDeployment
from shared.kubernetes import claims, deployments, manifests
from shared.kubernetes.redis_choice import needs_redis
from shared.model.migration import Brief, Change, Progress
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import Problem, Severity
from shared.names import Names
from shared.programs.zipapp import pack

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
"""Source: Kubernetes, well-known annotations."""
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
    names = Names(target.deployment, brief.run)
    wants_secret = "WEBUI_SECRET_KEY" not in survey.deployment.environment
    made = Plan(
        run=brief.run,
        deployment=target.deployment,
        files_claim=target.files_claim,
        storage_class=options.storage_class,
        share_size=options.share_size,
        creates_claim=not survey.storage.files_claim_exists,
        creates_redis=needs_redis(survey.deployment.environment) and not _their_redis(names, ports.cluster),
        creates_session_secret=wants_secret and not _theirs("Secret", names.session_secret, ports.cluster),
        redis_image=options.redis_image,
        force=options.force_conflicts,
        removed_class=_without_server_fields(removed) if removed else None,
    )
    found = _redis_of_others(made, survey.deployment.environment, names, ports.cluster)
    found += _secret_of_others(made, names, ports.cluster) if wants_secret else []
    if removed:
        found += _class_problems(removed, options.storage_class, ports.cluster)
    elif unused:
        found.append(Problem("unused_class", Severity.NOTE, f"StorageClass {unused} is gone already"))
    return replace(made, changes=tuple(_changes(made, names)), problems=tuple(found))


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
        return _going(plan, cluster)
    return Progress(finished=True, step="storage as before")


def _going(plan: Plan, cluster: Cluster) -> Progress:
    """The deleted claim is there as long as pods that have ended hold it; those of our Jobs go by themselves."""
    held = claims.ended_holders(cluster.list("Pod"), plan.files_claim)
    if not held:
        return Progress(finished=False, step=f"waiting for {plan.files_claim} to go", check_again_in_seconds=0.5)
    step = f"storage as before, once pods that have ended let go of {plan.files_claim}"
    result = {"claim_held_by": held, "hint": claims.advice(held, cluster.namespace)}
    return Progress(finished=True, step=step, result=result)


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


def _theirs(kind: str, name: str, cluster: Cluster) -> bool:
    """Whether it is there and no run of this app made it: it is never applied over, and never deleted."""
    found = cluster.read(kind, name)
    return found is not None and not manifests.is_ours(found)


def _their_redis(names: Names, cluster: Cluster) -> bool:
    return any(_theirs(kind, names.redis, cluster) for kind in ("Deployment", "Service"))


def _redis_of_others(plan: Plan, variables: Sequence[str], names: Names, cluster: Cluster) -> list[Problem]:
    if plan.creates_redis or not needs_redis(variables):
        return []
    if cluster.read("Service", names.redis) is not None:
        message = f"Service {names.redis} is there and not ours: its Redis is used, and a rollback leaves it as it is"
        return [Problem("their_redis", Severity.NOTE, message)]
    message = f"Deployment {names.redis} is there and not ours, and no Service leads to it"
    hint = f"Set REDIS_URL in Open WebUI to your Redis, or give it a Service {names.redis} with port 6379."
    return [Problem("their_redis", Severity.BLOCKING, message, hint)]


def _secret_of_others(plan: Plan, names: Names, cluster: Cluster) -> list[Problem]:
    if plan.creates_session_secret:
        return []
    held = (cluster.read("Secret", names.session_secret) or {}).get("data") or {}
    if held.get(SESSION_KEY):
        message = f"Secret {names.session_secret} is there and not ours: its {SESSION_KEY} is used"
        return [Problem("their_secret", Severity.NOTE, message)]
    message = f"Secret {names.session_secret} is there and not ours, and has no {SESSION_KEY}"
    hint = "Set WEBUI_SECRET_KEY in Open WebUI, or put the key into that Secret."
    return [Problem("their_secret", Severity.BLOCKING, message, hint)]


def _class_problems(unused: Manifest, wanted: str, cluster: Cluster) -> list[Problem]:
    """Why this class may not be removed. Only claims of this namespace can be seen."""
    name = unused["metadata"]["name"]
    claims = [
        str(claim["metadata"]["name"])
        for claim in cluster.list("PersistentVolumeClaim")
        if claim["spec"].get("storageClassName") == name
    ]
    reasons = [f"claim {', '.join(claims)} uses it"] if claims else []
    if name == wanted:
        reasons.append("the new claim is to use it")
    if (unused["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true":
        reasons.append("it is the cluster's default")
    hint = "Leave options.unused_storage_class out, or name a class that nothing uses."
    message = f"StorageClass {name} cannot be removed: {', and '.join(reasons)}"
    return [Problem("unused_class", Severity.BLOCKING, message, hint)] if reasons else []


def _changes(made: Plan, names: Names) -> list[Change]:
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
        name = made.removed_class["metadata"]["name"]
        changes.append(Change("delete", "StorageClass", name, "unused"))
    return changes
