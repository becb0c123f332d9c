"""The cluster under test and the words in which the contract is written.

By default the cluster is our own, started here with the rehearsal's kubelet. `SCALEOUT_CONTRACT_KUBECONFIG` names
another one, kind or AKS: then the same tests run there, with its kubelet. `SCALEOUT_CONTRACT_KUBECONFIG_LIMITED` adds
a user who may not list secrets.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic
from kubernetes.client.rest import ApiException

from shared.adapters.discovery import dynamic_client

KUBECONFIG = os.environ.get("SCALEOUT_CONTRACT_KUBECONFIG")
LIMITED_KUBECONFIG = os.environ.get("SCALEOUT_CONTRACT_KUBECONFIG_LIMITED")
IS_OURS = KUBECONFIG is None
PATIENCE = 10.0 if IS_OURS else 120.0
IMAGE, OTHER_IMAGE = "busybox:1.36", "busybox:1.37"
MERGE, JSON, STRATEGIC, APPLY = (
    f"application/{name}"
    for name in ("merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
)


@contextmanager
def process(module: str, *arguments: str | Path) -> Iterator[dict[str, Any]]:
    """Run a module of ours until the end of the block; yields what its ready line says, with its Popen."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith("ready "), f"{module} said {line!r}"
        yield {**json.loads(line.removeprefix("ready ")), "process": running}
    finally:
        running.terminate()
        running.wait(10)


@dataclass
class Cluster:
    """The typed and the dynamic client on one cluster, and one namespace to work in."""

    kubeconfig: str
    namespace: str = ""

    @cached_property
    def api(self) -> client.ApiClient:
        return config.new_client_from_config(self.kubeconfig)

    @cached_property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @cached_property
    def apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self.api)

    @cached_property
    def batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(self.api)

    @cached_property
    def policy(self) -> client.PolicyV1Api:
        return client.PolicyV1Api(self.api)

    @cached_property
    def storage(self) -> client.StorageV1Api:
        return client.StorageV1Api(self.api)

    @cached_property
    def autoscaling(self) -> client.AutoscalingV2Api:
        return client.AutoscalingV2Api(self.api)

    @cached_property
    def _dynamic(self) -> dynamic.DynamicClient:
        return dynamic_client(self.api)

    def kind(self, api_version: str, kind: str) -> Any:
        return self._dynamic.resources.get(api_version=api_version, kind=kind)

    def apply(self, manifest: Mapping[str, Any], manager: str = "one", **options: Any) -> dict[str, Any]:
        """Server-side apply through the dynamic client, as the app does it."""
        resource = self.kind(manifest["apiVersion"], manifest["kind"])
        applied = resource.server_side_apply(
            json.loads(json.dumps(manifest)), namespace=self.namespace, field_manager=manager, **options
        )
        return applied.to_dict()

    def path(self, kind: str, name: str = "", group: str = "") -> str:
        base = f"/apis/{group}" if group else "/api/v1"
        return f"{base}/namespaces/{self.namespace}/{kind}{'/' if name else ''}{name}"

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> dict[str, Any]:
        """Send a request as it is, past the client's models; a refusal is raised as the client raises it."""
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        prepared = self.api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self.api.call_api(*prepared)
        response.read()
        if response.status >= 400:
            raise ApiException(status=response.status, reason=response.reason, body=response.data.decode())
        return json.loads(response.data)


def some_name() -> str:
    return "x" + uuid.uuid4().hex[:8]


def config_map(
    name: str, data: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data or {"a": "1"})}


def claim(
    name: str, storage_class: str | None = "none", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": list(modes),
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


def container(command: str = "trap 'exit 0' TERM; while true; do sleep 0.2; done", **fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": IMAGE, "command": ["sh", "-c", command], **fields}


def deployment(name: str, replicas: int = 1, main: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    pod = {"terminationGracePeriodSeconds": 1, "containers": [dict(main or container())]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            **spec,
        },
    }


def job(name: str, command: str = "true", **spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container(command)]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
    }


def with_image(image: str = OTHER_IMAGE) -> dict[str, Any]:
    """A strategic patch that changes the pod template."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}


@contextmanager
def refused(code: int, reason: str | None = None) -> Iterator[dict[str, Any]]:
    """Expect the API to refuse what the block does; the Status it sends is in the yielded dict afterwards."""
    status: dict[str, Any] = {}
    with pytest.raises(ApiException) as caught:
        yield status
    assert caught.value.status == code, caught.value.body
    status |= json.loads(caught.value.body)
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code)
    if reason:
        assert status["reason"] == reason


def eventually[T](look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Look again and again until what is seen is true."""
    end = time.monotonic() + patience
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.05 if IS_OURS else 0.5)
