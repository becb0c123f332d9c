"""A cluster with one kubelet, as processes, and what tests ask of it."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

NAMESPACE = "ollama"


@contextmanager
def process(*arguments: str, log: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run one of the project's processes until the block ends; yields what it said when it was ready."""
    with log.open("w") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    assert started.stdout is not None
    try:
        line = started.stdout.readline()
        assert line.startswith("ready "), f"{arguments[0]}: {line} {log.read_text()}"
        yield started, json.loads(line.removeprefix("ready "))
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@dataclass(slots=True)
class Node:
    """The cluster's API and the kubelet's directory."""

    kubeconfig: Path
    directory: Path
    port: int

    def __post_init__(self) -> None:
        api = config.new_client_from_config(str(self.kubeconfig))
        self.core, self.apps, self.batch = client.CoreV1Api(api), client.AppsV1Api(api), client.BatchV1Api(api)

    core: client.CoreV1Api = None
    apps: client.AppsV1Api = None
    batch: client.BatchV1Api = None

    def run(self, name: str, script: str | None = None, **container: Any) -> None:
        """Create a pod with one container; `pod` among the arguments is merged into its spec."""
        more = container.pop("pod", {})
        one = {"name": "main", "image": "busybox:1", **container}
        if script is not None:
            one["command"] = ["sh", "-c", script]
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [one], **more}
        self.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})

    def pod(self, name: str) -> Any:
        return self.core.read_namespaced_pod(name, NAMESPACE)

    def state(self, name: str) -> Any:
        """Return the state of a pod's one container, or None before there is one."""
        statuses = self.pod(name).status.container_statuses
        return statuses[0].state if statuses else None

    def wait_for(self, what: Callable[[], Any], seconds: float = 30) -> Any:
        """Wait until `what` returns something true, and return that."""
        deadline = time.monotonic() + seconds
        while True:
            found = None
            with contextlib.suppress(ApiException, AttributeError, TypeError):  # not there yet, or not all of it
                found = what()
            if found:
                return found
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.05)

    def wait_for_phase(self, name: str, phase: str) -> Any:
        return self.wait_for(lambda: (pod := self.pod(name)).status.phase == phase and pod)

    def wait_gone(self, name: str) -> None:
        self.wait_for(lambda: name not in [pod.metadata.name for pod in self.core.list_namespaced_pod(NAMESPACE).items])

    def log(self, name: str, **options: Any) -> str:
        return str(self.core.read_namespaced_pod_log(name, NAMESPACE, **options))

    def execute(self, name: str, *command: str, stdin: str | None = None) -> tuple[str, str, int]:
        """Run a command in a pod; returns what it printed, its errors and its exit code."""
        own = client.CoreV1Api(config.new_client_from_config(str(self.kubeconfig)))  # exec changes its client
        answer = stream(
            own.connect_get_namespaced_pod_exec,
            name,
            NAMESPACE,
            command=list(command),
            stdin=stdin is not None,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        if stdin is not None:
            answer.write_stdin(stdin)
        answer.run_forever(timeout=15)
        return answer.read_stdout(), answer.read_stderr(), int(answer.returncode)

    def claim(self, name: str, storage_class: str, mode: str) -> None:
        spec = {
            "accessModes": [mode],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        self.core.create_namespaced_persistent_volume_claim(NAMESPACE, {"metadata": {"name": name}, "spec": spec})

    def service(self, name: str, port: int) -> str:
        """Create a Service for the pods labelled with its name; returns its URL on 127.0.0.1."""
        spec = {"selector": {"app": name}, "ports": [{"port": port}]}
        self.core.create_namespaced_service(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
        file = self.directory / "services.json"
        return str(self.wait_for(lambda: json.loads(file.read_text()).get(f"{NAMESPACE}/{name}:{port}")))


def claims(**paths: str) -> list[dict[str, Any]]:
    return [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in paths]


@contextmanager
def cluster(directory: Path) -> Iterator[Path]:
    """Run a cluster without a node; yields its kubeconfig."""
    with process("local.kubernetes", "--dir", str(directory / "cluster"), log=directory / "cluster.log") as (_, ready):
        yield Path(ready["kubeconfig"])


@contextmanager
def node(directory: Path, kubeconfig: Path, name: str = "node-1") -> Iterator[tuple[Node, subprocess.Popen[str]]]:
    """Run a kubelet."""
    arguments = (
        "--kubeconfig",
        str(kubeconfig),
        "--dir",
        str(directory / name),
        "--node",
        name,
        "--probe-period",
        "0.2",
    )
    with process("local.kubernetes.kubelet", *arguments, "--backoff", "0.2", log=directory / f"{name}.log") as (
        started,
        ready,
    ):
        assert ready["node"] == name
        yield Node(kubeconfig, directory / name, ready["port"]), started
