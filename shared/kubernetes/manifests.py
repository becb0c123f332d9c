"""The objects that a migration adds to the namespace. Pure: values in, manifests out.

They carry the run's label, so that undo and an operator find them, and are applied under our own field manager.
"""

import base64
from collections.abc import Mapping

from shared.model.ports import Manifest

MANAGED_BY = {"app.kubernetes.io/managed-by": "scaleout"}
RUN = "scaleout.dev/run"
"""Label: which run made an object."""


def labels(run: str) -> dict[str, str]:
    """Labels of everything that this run makes."""
    return {**MANAGED_BY, RUN: run}


def is_ours(found: Manifest) -> bool:
    """Whether a run of this app made it."""
    return MANAGED_BY.items() <= (found["metadata"].get("labels") or {}).items()


def as_applied(found: Manifest) -> Manifest:
    """What an earlier run applied, without what the server added; to be applied again."""
    metadata = {key: found["metadata"].get(key) or {} for key in ("labels", "annotations")}
    content = {key: value for key, value in found.items() if key not in {"metadata", "status"}}
    return content | {"metadata": metadata | {"name": found["metadata"]["name"]}}


def files_claim(name: str, run: str, storage_class: str, size: str) -> Manifest:
    """The share that all replicas mount."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels(run)},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": size}},
        },
    }


def code_map(name: str, run: str, archive: bytes) -> Manifest:
    """The mover's zipapp: no image to build, nothing to install in the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels(run)},
        "binaryData": {"mover.pyz": base64.b64encode(archive).decode()},
    }


def opaque_secret(name: str, run: str, values: Mapping[str, bytes]) -> Manifest:
    """A Secret; its values exist only in the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels(run)},
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
    }


def volume_snapshot(name: str, run: str, claim: str, snapshot_class: str) -> Manifest:
    """A snapshot of what is on the claim's volume now."""
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": name, "labels": labels(run)},
        "spec": {"volumeSnapshotClassName": snapshot_class, "source": {"persistentVolumeClaimName": claim}},
    }


def redis(name: str, run: str, image: str, pod_settings: Manifest) -> list[Manifest]:
    """One small Redis for websockets and task state: several replicas need it. Source: facts §1.5.

    Nothing in it must outlive a restart, so it has no volume. `pod_settings`: node selector and tolerations of the
    user's Deployment, so that it lands where his pods may.
    """
    selector = {"app": name}
    container: Manifest = {
        "name": "redis",
        "image": image,
        "args": ["--save", "", "--appendonly", "no"],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    deployment: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels(run)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": {**selector, **MANAGED_BY}},
                "spec": {"containers": [container], **pod_settings},
            },
        },
    }
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels(run)},
        "spec": {"selector": selector, "ports": [{"name": "redis", "port": 6379, "targetPort": 6379}]},
    }
    return [deployment, service]


def disruption_budget(name: str, run: str, match: Mapping[str, str]) -> Manifest:
    """At most one replica may be evicted at a time, so that a node upgrade never stops the service."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": labels(run)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(match)}},
    }
