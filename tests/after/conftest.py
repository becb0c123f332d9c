"""A cluster without nodes: what the later phases make can be looked at, and nothing runs."""

import json
import subprocess
import sys

import pytest
from fix_phases import ports  # noqa: F401 - a fixture
from kubernetes import client, config

from shared.adapters.cluster import KubernetesCluster

NAMESPACE = "ollama"


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory):
    command = [sys.executable, "-m", "local.kubernetes", "--dir", str(tmp_path_factory.mktemp("cluster"))]
    process = subprocess.Popen([*command, "--autoscaler-sync-seconds", "0.5"], stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline().removeprefix("ready "))["kubeconfig"]
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def cluster(kubeconfig):
    core = client.CoreV1Api(config.new_client_from_config(kubeconfig))
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    return KubernetesCluster(NAMESPACE, lambda: config.new_client_from_config(kubeconfig))
