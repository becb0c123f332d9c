"""Read and rewrite a user's Deployment. Pure: manifests in, values and patches out.

The Deployment stays the user's: image, sidecars, tolerations and every variable that is not listed here are kept as
they are. Secrets are referred to as the user refers to them and never copied into a plan.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from shared.errors import ConfigurationError
from shared.kubernetes import data_directory
from shared.kubernetes.environment_order import replacing
from shared.kubernetes.pods import living
from shared.model.ports import Manifest
from shared.model.survey import DatabaseAddress, DeploymentFacts
from shared.transfer.database_url import parse_url

SWITCHED_AT = "scaleout.dev/switched-at"
STOPPED_AT = "scaleout.dev/stopped-at"
ANSWERED_AT = "scaleout.dev/answered-at"
"""Annotations of the Deployment: how far the cut-over is, told by the Deployment itself."""


def annotations(deployment: Manifest) -> dict[str, str]:
    """The Deployment's own annotations."""
    return deployment["metadata"].get("annotations") or {}


def pod_spec(deployment: Manifest) -> Manifest:
    """The pod template's spec."""
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def volume_of_claim(deployment: Manifest, claim: str) -> str | None:
    """Name of the pod volume that is this claim, or None."""
    return next(iter(data_directory.volumes_of_claim(deployment, claim)), None)


def container(deployment: Manifest, name: str) -> Manifest:
    """The container of this name."""
    return next(c for c in pod_spec(deployment)["containers"] if c["name"] == name)


def environment_entry(container: Manifest, name: str) -> Manifest | None:
    """The `env` entry of this name, as the user wrote it."""
    return next((entry for entry in container.get("env") or [] if entry["name"] == name), None)


def placement(deployment: Manifest) -> Manifest:
    """What another pod needs to run where this Deployment's pods may."""
    spec = pod_spec(deployment)
    return {key: spec[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets") if spec.get(key)}


def is_ready(pod: Manifest) -> bool:
    """Whether Kubernetes sends traffic to this pod."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def describe(
    deployment: Manifest,
    claim: str,
    pods: Sequence[Manifest],
    *,
    data_dir: str = data_directory.DEFAULT_DATA_DIR,
    environment: Sequence[str] = (),
) -> DeploymentFacts | None:
    """What the phases need to know; None when no one container has its data directory on the claim.

    `environment`: names of the variables that the container has; empty: those of its own `env`.
    """
    main = data_directory.main_container(deployment, claim)
    place = data_directory.locate(deployment, claim, main, data_dir) if main else None
    if main is None or place is None:
        return None
    ports = main.get("ports") or []
    running = next((pod for pod in pods if is_ready(pod)), None)
    return DeploymentFacts(
        container=main["name"],
        image=main["image"],
        replicas=int(deployment["spec"].get("replicas", 1)),
        strategy=(deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate"),
        mount_path=place.data_dir,
        sub_path=place.sub_path,
        volume=place.volume,
        port=int(ports[0]["containerPort"]) if ports else 8080,
        labels=dict(deployment["spec"]["selector"].get("matchLabels") or {}),
        environment=tuple(environment or (str(entry["name"]) for entry in main.get("env") or [])),
        pod=running["metadata"]["name"] if running else "",
        node=(running["spec"].get("nodeName") or "") if running else "",
        digest=spec_digest(deployment),
    )


def spec_digest(deployment: Manifest) -> str:
    """Digest of the spec: the same as long as nobody changes the Deployment."""
    return hashlib.sha256(json.dumps(deployment["spec"], sort_keys=True).encode()).hexdigest()[:16]


def parse_database_url(url: str) -> DatabaseAddress | None:
    """The address in a database URL; None when it is not PostgreSQL, ConfigurationError when nobody could read it."""
    if not url:
        return None
    try:
        parsed = parse_url(url)
    except ValueError as error:  # its text and its traceback hold the URL: neither goes on from here
        raise ConfigurationError(
            f"DATABASE_URL cannot be read: {error}", hint="SQLAlchemy's form: postgresql://user:password@host:port/name"
        ) from None
    if not parsed.is_postgres or not parsed.host:
        return None
    return DatabaseAddress(
        host=parsed.host, port=parsed.port or 5432, name=parsed.name or parsed.user, role=parsed.user
    )


def switch_patch(
    deployment: Manifest, facts: DeploymentFacts, files_claim: str, environment: Sequence[Manifest]
) -> Manifest:
    """The strategic merge patch that turns the stopped Deployment into one that serves from the new stores.

    `environment`: what is set beside the user's own variables. The patch says all of them, so their order is ours.

    Recreate, because server-side apply cannot switch a defaulted RollingUpdate (source: facts §7) and two pods on
    two stores must never answer at once.
    """
    probes = {
        "readinessProbe": _probe("/ready", facts.port, period_seconds=5, failure_threshold=3),
        "livenessProbe": _probe("/health", facts.port, period_seconds=10, failure_threshold=6),
        "startupProbe": _probe("/ready", facts.port, period_seconds=1, failure_threshold=300),
    }
    variables = replacing(container(deployment, facts.container).get("env") or [], environment)
    main: dict[str, Any] = {"name": facts.container, "env": variables, **probes}
    volume = {"name": facts.volume, "persistentVolumeClaim": {"claimName": files_claim}}
    return {
        "spec": {
            "replicas": 1,
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "template": {"spec": {"containers": [main], "volumes": [volume]}},
        },
    }


def parked(recorded: Manifest) -> Manifest:
    """A recorded Deployment that was deleted since, made again without pods, so that what users did can be carried."""
    now_switched = annotations(recorded) | {SWITCHED_AT: "", ANSWERED_AT: ""}
    return recorded | {
        "metadata": recorded["metadata"] | {"annotations": now_switched},
        "spec": recorded["spec"] | {"replicas": 0},
    }


type FieldPath = tuple[str, ...]
"""Keys of `fieldsV1`, from the top."""


def switched_fields(facts: DeploymentFacts, variables: Sequence[str]) -> dict[str, FieldPath]:
    """What the switch changes, by the name that a person knows it by."""
    template = ("f:spec", "f:template", "f:spec")
    main = (*template, "f:containers", f'k:{{"name":"{facts.container}"}}')
    return {
        "replicas": ("f:spec", "f:replicas"),
        "strategy": ("f:spec", "f:strategy"),
        f"volume {facts.volume}": (*template, "f:volumes", f'k:{{"name":"{facts.volume}"}}'),
        **{f"env {name}": (*main, "f:env", f'k:{{"name":"{name}"}}') for name in variables},
        **{probe: (*main, f"f:{probe}") for probe in ("readinessProbe", "livenessProbe", "startupProbe")},
    }


def field_owners(deployment: Manifest, fields: Mapping[str, FieldPath]) -> dict[str, str]:
    """Which of these fields somebody has set, and who. Source: Kubernetes, server-side apply, `managedFields`."""
    owners = {}
    for entry in (deployment.get("metadata") or {}).get("managedFields") or []:
        for name, path in fields.items():
            here: Any = entry.get("fieldsV1") or {}
            for key in path:
                here = here.get(key) if isinstance(here, dict) else None
            if here is not None and entry.get("subresource") != "status":
                owners[name] = str(entry.get("manager") or "unknown")
    return owners


def grace_period(deployment: Manifest) -> timedelta:
    """How long its pods may take to end before they are killed."""
    return timedelta(seconds=float(pod_spec(deployment).get("terminationGracePeriodSeconds") or 30))


def progress_failure(deployment: Manifest) -> str:
    """Why the rollout has given up, or nothing. Source: facts §7, `Progressing=False`."""
    for condition in (deployment.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return f"{condition.get('reason')}: {condition.get('message') or ''}".strip(": ")
    return ""


def _probe(path: str, port: int, *, period_seconds: int, failure_threshold: int) -> Manifest:
    return {
        "$patch": "replace",  # a probe has one handler: the user's goes as a whole
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failure_threshold,
    }


def is_settled(deployment: Manifest, replicas: int) -> bool:
    """Whether the rollout has ended with this many pods available. Source: facts §7."""
    status = deployment.get("status") or {}
    return (
        int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
        and int(deployment["spec"].get("replicas", 1)) == replicas
        and int(status.get("updatedReplicas") or 0) == replicas
        and int(status.get("replicas") or 0) == replicas
        and int(status.get("availableReplicas") or 0) == replicas
    )


FATAL_WAITS = (
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)


def startup_failure(pods: Sequence[Manifest]) -> str | None:
    """Why a pod cannot start, in the kubelet's words, or None. Source: facts §7, nothing rolls back by itself."""
    for pod in living(pods):
        found = pod.get("status") or {}
        for status in (found.get("initContainerStatuses") or []) + (found.get("containerStatuses") or []):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in FATAL_WAITS:
                name = pod["metadata"]["name"]
                return f"{name}/{status['name']}: {waiting['reason']} {waiting.get('message') or ''}".strip()
    return None
