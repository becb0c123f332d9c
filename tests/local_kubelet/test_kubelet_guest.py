"""The kubelet in a cluster that is somebody else's: what it brings it takes away, and its node is nobody else's."""

import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from local.kubernetes.kubelet import node_lease
from local.kubernetes.kubelet.api import Object
from tests.local_kubelet.fix_node import NAMESPACE, Node, cluster, node

AT = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = "storageclass.kubernetes.io/is-default-class"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with cluster(tmp_path_factory.mktemp("guest")) as found:
        core = client.CoreV1Api(config.new_client_from_config(str(found)))
        core.create_namespace({"metadata": {"name": NAMESPACE}})
        yield found


def classes(kubeconfig: Path) -> dict[str, bool]:
    """Storage classes, and which of them are the default."""
    storage = client.StorageV1Api(config.new_client_from_config(str(kubeconfig)))
    found = storage.list_storage_class().items
    return {one.metadata.name: (one.metadata.annotations or {}).get(DEFAULT) == "true" for one in found}


def test_it_takes_away_what_it_brought_and_nothing_else(kubeconfig: Path, tmp_path: Path) -> None:
    with node(tmp_path, kubeconfig):
        assert classes(kubeconfig)["managed-csi"], "a cluster without a default class gets AKS's"
    assert classes(kubeconfig) == {}
    storage = client.StorageV1Api(config.new_client_from_config(str(kubeconfig)))
    theirs = {"metadata": {"name": "theirs", "annotations": {DEFAULT: "true"}}, "provisioner": "example.org/disk"}
    storage.create_storage_class(theirs)
    with node(tmp_path, kubeconfig):
        found = classes(kubeconfig)
        assert [name for name in found if found[name]] == ["theirs"]
        assert len(found) == 5
    assert classes(kubeconfig) == {"theirs": True}


def test_a_second_kubelet_of_the_same_node_is_refused(kubeconfig: Path, tmp_path: Path) -> None:
    with node(tmp_path, kubeconfig) as (first, _):
        options = ["--kubeconfig", str(kubeconfig), "--dir", str(tmp_path / "second"), "--node", "node-1"]
        command = [sys.executable, "-m", "local.kubernetes.kubelet", *options]
        second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        assert (second.returncode, second.stdout) == (1, "")
        assert "another kubelet serves node node-1 of this cluster" in second.stderr
        assert [one.metadata.name for one in first.core.list_node().items] == ["node-1"]


def test_a_killed_kubelets_node_is_taken_over_at_once(kubeconfig: Path, tmp_path: Path) -> None:
    with node(tmp_path, kubeconfig) as (_, started):
        started.kill()
        started.wait()
        with node(tmp_path, kubeconfig) as (again, _):
            assert [one.metadata.name for one in again.core.list_node().items] == ["node-1"]


def lease(holder: str, seconds_ago: float) -> Object:
    renewed = (AT - timedelta(seconds=seconds_ago)).isoformat()
    return {"metadata": {"annotations": {"scaleout.dev/kubelet": holder}}, "spec": {"renewTime": renewed}}


@pytest.mark.parametrize(("seconds_ago", "held"), [(39, True), (41, False)])
@pytest.mark.parametrize("holder", ["4711 another-boot 12", ""])
def test_of_a_kubelet_elsewhere_only_the_time_tells(holder: str, seconds_ago: float, held: bool) -> None:
    assert node_lease.is_held(lease(holder, seconds_ago), AT) is held


def test_of_a_kubelet_here_its_process_tells() -> None:
    parent = os.getppid()
    started = str(node_lease.start_time(parent))
    assert node_lease.is_held(lease(f"{parent} {started}", 1000), AT)
    assert not node_lease.is_held(lease(f"{parent} {started}0", 0), AT), "its number is another process's now"


def test_its_usage_is_served_as_an_api_of_metrics(kubeconfig: Path, tmp_path: Path) -> None:
    """As the aggregator asks: first what there is, then lists by label."""
    with node(tmp_path, kubeconfig) as (machine, _):
        for name in ("one", "two"):
            machine.run(name, "while true; do sleep 0.1; done")
            machine.wait_for_phase(name, "Running")
        root = "/apis/metrics.k8s.io/v1beta1"
        assert ask(machine, root)["resources"][0]["kind"] == "PodMetrics"
        listed = ask(machine, f"{root}/namespaces/ollama/pods?labelSelector=app%3Done")["items"]
        assert [item["metadata"]["name"] for item in listed] == ["one"]
        assert ask(machine, f"{root}/namespaces/ollama/pods/two")["metadata"]["name"] == "two"


def ask(machine: Node, path: str) -> Any:
    """Ask the kubelet itself."""
    trusting = ssl._create_unverified_context()
    with urllib.request.urlopen(f"https://127.0.0.1:{machine.port}{path}", context=trusting, timeout=5) as answer:
        return json.load(answer)
