"""The runbook's current state: one Open WebUI on one disk, its vectors in Chroma, its application data in PostgreSQL.

Made in the cluster through the ordinary client, as an operator would have made it, with the runbook's names.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from local.rehearsal.processes import wait_until
from shared.adapters.discovery import dynamic_client
from shared.errors import ConfigurationError, VerificationFailed

MOUNT = "/app/backend/data"
IMAGE = "ghcr.io/open-webui/open-webui"
VERSION = "0.12.4"
DISK_CLASS = "managed-csi-premium"
OPERATOR = "operator"
OURS = "scaleout.dev/rehearsal"
"""Label of a namespace that a rehearsal may delete."""


@dataclass(frozen=True, slots=True)
class Names:
    """The runbook's."""

    namespace: str = "ollama"
    deployment: str = "open-webui"
    disk_claim: str = "open-webui-disk-pvc"
    database_secret: str = "open-webui-database"  # noqa: S105 - the name of a secret


class Operator:
    """Whoever installed Open WebUI before us: another field manager than ours."""

    def __init__(self, kubeconfig: Path, names: Names, node_label: dict[str, str], open_webui: str = VERSION) -> None:
        self.names = names
        self._image = f"{IMAGE}:{open_webui}"
        self._api = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self._dynamic = dynamic_client(self._api)
        self.node_label = node_label

    def install(self, data: Path, volumes: Path, database_url: str, cpu_request: str) -> None:
        """Bring up one replica on a disk that holds a copy of `data`."""
        names = self.names
        namespace = {"name": names.namespace, "labels": {OURS: "true"}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
        self.apply(self._object("v1", "Secret", names.database_secret) | {"stringData": {"url": database_url}})
        self.apply(_claim(self._object("v1", "PersistentVolumeClaim", names.disk_claim)))
        self._fill_disk(data, volumes)
        self.apply(self._deployment(cpu_request))
        self.apply(self._service())

    def wait_until_ready(self, replicas: int = 1, seconds: float = 120) -> None:
        """Return when so many replicas are available."""

        def look() -> bool:
            apps: Any = client.AppsV1Api(self._api)
            status = apps.read_namespaced_deployment_status(self.names.deployment, self.names.namespace).status
            return bool((status.available_replicas or 0) == replicas)

        wait_until(look, f"{replicas} ready replica of Open WebUI", seconds)

    def set_variable(self, name: str, value: str) -> None:
        """Change a variable of Open WebUI's container, which rolls new pods out."""
        container = {"name": self.names.deployment, "env": [{"name": name, "value": value}]}
        patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
        apps: Any = client.AppsV1Api(self._api)
        apps.patch_namespaced_deployment(self.names.deployment, self.names.namespace, patch, field_manager=OPERATOR)

    def scale(self, deployment: str, replicas: int) -> None:
        """Set another Deployment's replicas, as somebody with kubectl would."""
        apps: Any = client.AppsV1Api(self._api)
        body = {"spec": {"replicas": replicas}}
        apps.patch_namespaced_deployment_scale(deployment, self.names.namespace, body, field_manager=OPERATOR)

    def deployment(self) -> Any:
        """The Deployment as the typed client reads it."""
        apps: Any = client.AppsV1Api(self._api)
        return apps.read_namespaced_deployment(self.names.deployment, self.names.namespace)

    def variable(self, name: str) -> str | None:
        """What a variable of the pod template is set to."""
        environment = self.deployment().spec.template.spec.containers[0].env or []
        return next((entry.value for entry in environment if entry.name == name), None)

    def create_disk(self, claim: str) -> None:
        """One more claim of the disk's class."""
        self.apply(_claim(self._object("v1", "PersistentVolumeClaim", claim)))

    def delete_claim(self, claim: str) -> None:
        """Delete it, and its volume with it; absent is fine."""
        core: Any = client.CoreV1Api(self._api)
        with ignoring_absent():
            core.delete_namespaced_persistent_volume_claim(claim, self.names.namespace)

    def volume_of(self, claim: str) -> str:
        """The volume that a bound claim has."""
        core: Any = client.CoreV1Api(self._api)
        found = core.read_namespaced_persistent_volume_claim(claim, self.names.namespace)
        return str(found.spec.volume_name)

    def run_job(self, manifest: dict[str, Any], seconds: float = 300) -> str:
        """Run it to its end and return its log; VerificationFailed with the log when it fails."""
        name, batch = manifest["metadata"]["name"], client.BatchV1Api(self._api)
        core: Any = client.CoreV1Api(self._api)
        self.apply(manifest)

        def ended() -> Any:
            status: Any = batch.read_namespaced_job(name, self.names.namespace).status
            return status if status.succeeded or status.failed else None

        wait_until(lambda: bool(ended()), f"the end of Job {name}", seconds)
        [pod] = core.list_namespaced_pod(self.names.namespace, label_selector=f"job-name={name}").items
        said = str(core.read_namespaced_pod_log(pod.metadata.name, self.names.namespace)).strip()
        if not ended().succeeded:
            raise VerificationFailed(f"Job {name} failed: {said}")
        return said

    def delete_job(self, name: str) -> None:
        """Delete it with its pods; absent is fine."""
        batch: Any = client.BatchV1Api(self._api)
        with ignoring_absent():
            batch.delete_namespaced_job(name, self.names.namespace, propagation_policy="Background")

    def require_own_namespace(self) -> bool:
        """Whether the namespace is there; ConfigurationError when it is somebody else's."""
        core: Any = client.CoreV1Api(self._api)
        try:
            found = core.read_namespace(self.names.namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            return False
        if OURS not in (found.metadata.labels or {}):
            raise ConfigurationError(
                f"namespace {self.names.namespace} exists in this cluster and was not made by a rehearsal",
                hint="A rehearsal makes and deletes it: use a cluster that has none, or delete it yourself.",
            )
        return True

    def remove(self) -> None:
        """Delete what a rehearsal made, this or one that was killed: the namespace, and the volumes made for it."""
        core: Any = client.CoreV1Api(self._api)
        if self.require_own_namespace():
            core.delete_namespace(self.names.namespace)

        def gone() -> bool:
            return not self.require_own_namespace()

        wait_until(gone, f"the end of namespace {self.names.namespace}", 120)
        selector = ",".join(f"{key}={value}" for key, value in self.node_label.items())
        for volume in core.list_persistent_volume(label_selector=selector).items:
            claim = volume.spec.claim_ref
            if claim and claim.namespace == self.names.namespace:
                with ignoring_absent():
                    core.delete_persistent_volume(volume.metadata.name)

    def objects(self) -> list[dict[str, Any]]:
        """Every object that a migration could touch, as stored, for a comparison before and after."""
        kinds = {
            "v1": ("ConfigMap", "PersistentVolume", "PersistentVolumeClaim", "Secret", "Service"),
            "apps/v1": ("Deployment", "ReplicaSet"),
            "batch/v1": ("Job",),
            "autoscaling/v2": ("HorizontalPodAutoscaler",),
            "policy/v1": ("PodDisruptionBudget",),
            "snapshot.storage.k8s.io/v1": ("VolumeSnapshot", "VolumeSnapshotClass", "VolumeSnapshotContent"),
            "storage.k8s.io/v1": ("StorageClass",),
        }
        return [item for version, names in kinds.items() for kind in names for item in self._list(version, kind)]

    def _list(self, version: str, kind: str) -> list[dict[str, Any]]:
        try:
            resource = self._dynamic.resources.get(api_version=version, kind=kind)
        except ResourceNotFoundError:  # another cluster may have no snapshots
            return []
        namespace = self.names.namespace if resource.namespaced else None
        items: list[dict[str, Any]] = resource.get(namespace=namespace).to_dict()["items"]
        return items

    def _fill_disk(self, data: Path, volumes: Path) -> None:
        """A first consumer makes the class bind the claim; then the copy goes where the kubelet keeps the volume."""
        names, name = self.names, "fill-disk"
        pod = {
            "restartPolicy": "Never",
            "nodeSelector": self.node_label,
            "containers": [
                {
                    "name": "fill",
                    "image": "busybox:1.37",
                    "command": ["sh", "-c", "true"],
                    "volumeMounts": [{"name": "disk", "mountPath": "/disk"}],
                }
            ],
            "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": names.disk_claim}}],
        }
        self.apply(self._object("batch/v1", "Job", name) | {"spec": {"template": {"spec": pod}}})
        batch: Any = client.BatchV1Api(self._api)
        core: Any = client.CoreV1Api(self._api)
        wait_until(
            lambda: batch.read_namespaced_job(name, names.namespace).status.succeeded, "the disk's first consumer"
        )
        claim = core.read_namespaced_persistent_volume_claim(names.disk_claim, names.namespace)
        shutil.copytree(data, volumes / claim.spec.volume_name, dirs_exist_ok=True, symlinks=True)
        batch.delete_namespaced_job(name, names.namespace, propagation_policy="Background")

    def _deployment(self, cpu_request: str) -> dict[str, Any]:
        names, labels = self.names, {"app": self.names.deployment}
        reference = {"secretKeyRef": {"name": names.database_secret, "key": "url"}}
        container = {
            "name": "open-webui",
            "image": self._image,
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "DATABASE_URL", "valueFrom": reference},
                {"name": "WEBUI_NAME", "value": "Open WebUI"},
                {"name": "DATA_DIR", "value": MOUNT},
            ],
            "resources": {"requests": {"cpu": cpu_request, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
            "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 5},
            "volumeMounts": [{"name": "data", "mountPath": MOUNT}],
        }
        spec = {
            "nodeSelector": self.node_label,
            "terminationGracePeriodSeconds": 10,
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": names.disk_claim}}],
        }
        return self._object("apps/v1", "Deployment", names.deployment) | {
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            }
        }

    def _service(self) -> dict[str, Any]:
        spec = {
            "selector": {"app": self.names.deployment},
            "ports": [{"name": "http", "port": 8080, "targetPort": 8080}],
        }
        return self._object("v1", "Service", self.names.deployment) | {"spec": spec}

    def _object(self, version: str, kind: str, name: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.names.namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata}

    def apply(self, manifest: dict[str, Any]) -> None:
        """Make it, or make it so."""
        resource = self._dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        resource.server_side_apply(
            body=manifest,
            name=manifest["metadata"]["name"],
            namespace=manifest["metadata"].get("namespace"),
            field_manager=OPERATOR,
            force_conflicts=True,
        )


@contextmanager
def ignoring_absent() -> Iterator[None]:
    """Let a 404 pass."""
    try:
        yield
    except ApiException as error:
        if error.status != 404:
            raise


def _claim(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": DISK_CLASS,
        "resources": {"requests": {"storage": "10Gi"}},
    }
    return manifest | {"spec": spec}
