"""One cluster for all tests of this folder, a namespace for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_contract import IS_OURS, KUBECONFIG, LIMITED_KUBECONFIG, Cluster, eventually, process, some_name
from kubernetes import client, config


@pytest.fixture(scope="session")
def cluster_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="session")
def kubeconfig(cluster_folder: Path) -> Iterator[str]:
    if KUBECONFIG:
        yield KUBECONFIG
        return
    faster = ("--autoscaler-sync-seconds", "0.5", "--job-backoff-seconds", "0.5")
    with process("local.kubernetes", "--dir", cluster_folder, "--deny", "list:secrets", *faster) as ready:
        yield ready["kubeconfig"]


@pytest.fixture(scope="session")
def limited_kubeconfig(kubeconfig: str, cluster_folder: Path) -> str:
    if IS_OURS:
        return str(cluster_folder / "kubeconfig-limited")
    if not LIMITED_KUBECONFIG:
        pytest.skip("SCALEOUT_CONTRACT_KUBECONFIG_LIMITED is not set")
    return LIMITED_KUBECONFIG


@pytest.fixture(scope="session")
def kubelet(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pods run: as local processes with our own cluster, and with another one that has no node of its own."""
    core = client.CoreV1Api(config.new_client_from_config(kubeconfig))
    if any(is_ready(node) for node in core.list_node().items):
        yield
        return
    folder = tmp_path_factory.mktemp("kubelet")
    patient = ("--provision-delay", "0", "--attach-delay", "0.1", "--probe-period", "0.2", "--backoff", "0.5")
    with process("local.kubernetes.kubelet", "--kubeconfig", kubeconfig, "--dir", folder, *patient):
        eventually(lambda: [node for node in core.list_node().items if is_ready(node)], "a node is ready")
        yield


def is_ready(node: client.V1Node) -> bool:
    return any(found.type == "Ready" and found.status == "True" for found in node.status.conditions or [])


@pytest.fixture(scope="module")
def cluster(kubeconfig: str) -> Iterator[Cluster]:
    found = Cluster(kubeconfig, f"contract-{some_name()}")
    found.core.create_namespace({"metadata": {"name": found.namespace}})
    eventually(
        lambda: found.core.list_namespaced_service_account(found.namespace).items,
        "the namespace has its service account",
    )
    yield found
    found.core.delete_namespace(found.namespace)


@pytest.fixture(scope="module")
def running(cluster: Cluster, kubelet: None) -> Cluster:
    """A cluster in which pods run."""
    return cluster
