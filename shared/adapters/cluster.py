"""Kubernetes through its official client: server-side apply, patches, scale, logs and exec, with its errors translated.

Everything is plain JSON, so that what the user has in his objects passes through untouched; the typed client is used
only for what the dynamic one cannot do (scale, logs, exec).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import urllib3
from kubernetes import client, dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from shared.adapters.discovery import dynamic_client
from shared.errors import ConfigurationError, MigrationError, PermissionMissing, TransientError
from shared.model.ports import Completed, Manifest

FIELD_MANAGER = "scaleout"
API_VERSIONS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Event": "v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Job": "batch/v1",
    "Namespace": "v1",
    "Node": "v1",
    "PersistentVolume": "v1",
    "PersistentVolumeClaim": "v1",
    "Pod": "v1",
    "PodDisruptionBudget": "policy/v1",
    "PodMetrics": "metrics.k8s.io/v1beta1",
    "Prometheus": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ReplicaSet": "apps/v1",
    "Secret": "v1",
    "Service": "v1",
    "StorageClass": "storage.k8s.io/v1",
    "VolumeSnapshot": "snapshot.storage.k8s.io/v1",
    "VolumeSnapshotClass": "snapshot.storage.k8s.io/v1",
}
TIMEOUT = (5, 30)
"""Seconds to connect and to wait for an answer."""
STRATEGIC = "application/strategic-merge-patch+json"


class KubernetesCluster:
    """`shared.model.ports.Cluster` on a real API server.

    `connect` makes a fresh ApiClient: exec changes the client that it uses, so it gets one of its own.
    Source: kubernetes-client/python, stream.py replaces `api_client.request` while it connects.
    """

    def __init__(self, namespace: str, connect: Callable[[], client.ApiClient]) -> None:
        self.namespace = namespace
        self._connect = connect

    @cached_property
    def _api(self) -> client.ApiClient:
        with _translated("reach the Kubernetes API"):
            return self._connect()

    @cached_property
    def _dynamic(self) -> dynamic.DynamicClient:
        with _translated("read the Kubernetes API's resources"):
            return dynamic_client(self._api)

    def version(self) -> str:
        with _translated("read the Kubernetes version"):
            return str(client.VersionApi(self._api).get_code(_request_timeout=TIMEOUT).git_version)

    def read(self, kind: str, name: str) -> Manifest | None:
        with _translated(f"read {kind} {name}"):
            try:
                found = self._resource(kind).get(name=name, namespace=self._scope(kind), _request_timeout=TIMEOUT)
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
        return _plain(found)

    def list(
        self, kind: str, labels: Mapping[str, str] | None = None, *, everywhere: bool = False
    ) -> Sequence[Manifest]:
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items()) or None
        namespace = None if everywhere else self._scope(kind)
        with _translated(f"list {kind}"):
            found = self._resource(kind).get(namespace=namespace, label_selector=selector, _request_timeout=TIMEOUT)
        return [item | {"kind": kind, "apiVersion": API_VERSIONS[kind]} for item in _plain(found)["items"]]

    def apply(self, manifest: Manifest, *, force: bool = False) -> Manifest:
        return self._apply(manifest, force=force)

    def dry_run(self, manifest: Manifest) -> Manifest:
        return self._apply(manifest, force=True, dry_run="All")

    def patch(self, kind: str, name: str, patch: Manifest, *, dry_run: bool = False) -> Manifest:
        options = {"dry_run": "All"} if dry_run else {}
        with _translated(f"patch {kind} {name}"):
            return _plain(
                self._resource(kind).patch(
                    body=patch,
                    name=name,
                    namespace=self._scope(kind),
                    content_type=STRATEGIC,
                    field_manager=FIELD_MANAGER,
                    _request_timeout=TIMEOUT,
                    **options,
                )
            )

    def replace(self, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        live = self.read(kind, name)
        body: Manifest = json.loads(json.dumps(manifest))
        body["metadata"].pop("managedFields", None)
        for field in ("resourceVersion", "uid", "generation", "creationTimestamp"):
            body["metadata"].pop(field, None)
        with _translated(f"replace {kind} {name}"):
            options = {"field_manager": FIELD_MANAGER, "_request_timeout": TIMEOUT}
            if live is None:
                return _plain(self._resource(kind).create(body=body, namespace=self._scope(kind), **options))
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
            return _plain(self._resource(kind).replace(body=body, name=name, namespace=self._scope(kind), **options))

    def scale(self, deployment: str, replicas: int) -> None:
        with _translated(f"scale Deployment {deployment} to {replicas}"):
            client.AppsV1Api(self._api).patch_namespaced_deployment_scale(
                deployment,
                self.namespace,
                {"spec": {"replicas": replicas}},
                field_manager=FIELD_MANAGER,
                _request_timeout=TIMEOUT,
            )

    def delete(self, kind: str, name: str) -> None:
        with _translated(f"delete {kind} {name}"):
            try:
                self._resource(kind).delete(
                    name=name,
                    namespace=self._scope(kind),
                    body={"propagationPolicy": "Background"},
                    _request_timeout=TIMEOUT,
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    def logs(self, pod: str, container: str, *, tail_lines: int | None = None, since_seconds: int | None = None) -> str:
        options = {"container": container, "tail_lines": tail_lines, "since_seconds": since_seconds}
        with _translated(f"read the log of pod {pod}"):
            read: Any = client.CoreV1Api(self._api).read_namespaced_pod_log
            raw = read(
                pod,
                self.namespace,
                _preload_content=False,
                _request_timeout=TIMEOUT,
                **{key: value for key, value in options.items() if value is not None},
            )
            return str(raw.data.decode("utf-8", "replace"))

    def execute(
        self, pod: str, container: str, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60
    ) -> Completed:
        with _translated(f"run a command in pod {pod}"):
            connection = stream(
                client.CoreV1Api(self._connect()).connect_get_namespaced_pod_exec,
                pod,
                self.namespace,
                container=container,
                command=list(command),
                stdin=bool(stdin),
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
            try:
                return _run_to_end(connection, stdin, timeout_seconds, pod)
            finally:
                connection.close()

    def get_from_pod(self, pod: str, port: int, path: str, *, timeout_seconds: float = 5) -> int | None:
        """The status of `GET path` on the pod's port through the API server; None when the pod did not answer.

        Without an answer the API server sends a Status object of its own. ConfigurationError where it does not even
        ask: the pod has no address, or one that it may not reach ("address not allowed"). Source: Kubernetes 1.36,
        apimachinery/util/proxy and registry/core/pod/strategy.go, `ResourceLocation`.
        """
        with _translated(f"GET {path} from pod {pod}"):
            ask: Any = client.CoreV1Api(self._api).connect_get_namespaced_pod_proxy_with_path
            try:
                answer = ask(
                    f"{pod}:{port}",
                    self.namespace,
                    path.lstrip("/"),
                    _preload_content=False,
                    _request_timeout=(timeout_seconds, timeout_seconds),
                )
            except ApiException as error:
                if error.status in {400, 401, 403} and _is_status(error.body):
                    raise
                return None if _is_status(error.body) else error.status
            return int(answer.status)

    def serves(self, group: str) -> bool:
        with _translated("list the API server's groups"):
            listed: Any = client.ApisApi(self._api).get_api_versions(_request_timeout=TIMEOUT)
        return any(found.name == group for found in listed.groups)

    def may(self, verb: str, resource: str, *, group: str = "", subresource: str = "", namespaced: bool = True) -> bool:
        attributes = {"verb": verb, "resource": resource, "group": group, "subresource": subresource}
        if namespaced:
            attributes["namespace"] = self.namespace
        with _translated("ask what this identity may do"):
            ask: Any = client.AuthorizationV1Api(self._api).create_self_subject_access_review
            review = ask({"spec": {"resourceAttributes": attributes}}, _request_timeout=TIMEOUT)
        return bool(review.status.allowed)

    def _apply(self, manifest: Manifest, *, force: bool, **options: str) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        with _translated(f"apply {kind} {name}"):
            return _plain(
                self._resource(kind).server_side_apply(
                    body=manifest,
                    name=name,
                    namespace=self._scope(kind),
                    field_manager=FIELD_MANAGER,
                    force_conflicts=force,
                    _request_timeout=TIMEOUT,
                    **options,
                )
            )

    def _resource(self, kind: str) -> Any:
        return self._dynamic.resources.get(api_version=API_VERSIONS[kind], kind=kind)

    def _scope(self, kind: str) -> str | None:
        return self.namespace if self._resource(kind).namespaced else None


def _run_to_end(connection: Any, stdin: bytes, timeout_seconds: float, pod: str) -> Completed:
    for start in range(0, len(stdin), 1 << 16):
        connection.write_stdin(stdin[start : start + (1 << 16)].decode("ascii"))
    end = time.monotonic() + timeout_seconds
    connection.run_forever(timeout=timeout_seconds)
    if connection.is_open() and time.monotonic() >= end:
        raise TransientError(f"a command in pod {pod} did not end within {timeout_seconds:g} s")
    return Completed(int(connection.returncode or 0), connection.read_stdout() or "", connection.read_stderr() or "")


def _plain(found: Any) -> Manifest:
    plain: Manifest = found.to_dict()
    return plain


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    except ApiException as error:
        raise _explained(what, error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"could not {what}: {error}", hint="Is the API server reachable from here?") from error


def _explained(what: str, error: ApiException) -> MigrationError:
    message, causes = _reason(error)
    if error.status in {401, 403}:
        return PermissionMissing(
            f"may not {what}: {message}",
            hint="Grant the identity the roles in infra/kubernetes/rbac, then run the plan again.",
        )
    if error.status == 409 and causes:
        return ConfigurationError(
            f"could not {what}: other field managers own {'; '.join(causes)}",
            hint="Change these fields with the tool that owns them, or set options.force_conflicts to take them over.",
        )
    if not error.status or error.status in {408, 409, 425, 429} or error.status >= 500:
        return TransientError(f"could not {what}: {message}")
    return ConfigurationError(f"could not {what}: {message}")


def _is_status(body: Any) -> bool:
    """Whether the API server speaks for itself and not for a pod."""
    try:
        return bool(json.loads(body or "").get("kind") == "Status")
    except (TypeError, ValueError, AttributeError):
        return False


def _reason(error: ApiException) -> tuple[str, list[str]]:
    """The server's sentence, and the conflicts of a server-side apply."""
    try:
        body = json.loads(error.body or "")
        causes = [
            f"{cause.get('field')} ({cause.get('message')})"
            for cause in (body.get("details") or {}).get("causes") or []
            if cause.get("reason") == "FieldManagerConflict"
        ]
        return str(body.get("message") or error.reason), causes
    except (TypeError, ValueError, AttributeError):
        return str(error.reason or error), []
