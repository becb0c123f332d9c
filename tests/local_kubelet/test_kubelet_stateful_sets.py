"""StatefulSets with processes: the one of Open WebUI's chart, and one with a claim for each number."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.fix_postgres import Database
from tests.local_kubelet.fix_node import NAMESPACE, Node, cluster, node

NAME = "open-webui"
IMAGE = "ghcr.io/open-webui/open-webui:0.12.4"
DATA = "/app/backend/data"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("kubelet")
    with cluster(directory) as kubeconfig, node(directory, kubeconfig) as (running, _):
        running.core.create_namespace({"metadata": {"name": NAMESPACE}})
        yield running


def stateful_set(here: Node, name: str = NAME) -> client.V1StatefulSet:
    return here.apps.read_namespaced_stateful_set(name, NAMESPACE)


def is_rolled_out(here: Node, name: str = NAME) -> bool:
    found = stateful_set(here, name)
    status, wanted = found.status, found.spec.replicas
    is_seen = status.observed_generation == found.metadata.generation
    return is_seen and status.current_revision == status.update_revision and (status.ready_replicas or 0) == wanted


def scale(here: Node, replicas: int, name: str = NAME) -> None:
    here.apps.patch_namespaced_stateful_set_scale(name, NAMESPACE, {"spec": {"replicas": replicas}})


def from_the_chart(database_url: str) -> dict[str, Any]:
    """The StatefulSet that the chart renders with its defaults, without Redis and with a database.

    Source: open-webui/helm-charts, charts/open-webui 16.0.0, templates/workload-manager.yaml.
    """
    labels = {"app.kubernetes.io/instance": "chat", "app.kubernetes.io/component": NAME}
    copy_app_data = {
        "name": "copy-app-data",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f"cp -R -n {DATA}/* /tmp/app-data/"],
        "volumeMounts": [{"name": "data", "mountPath": "/tmp/app-data"}],
    }
    container = {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080}],
        "volumeMounts": [{"name": "data", "mountPath": DATA}],
        "env": [
            {"name": "ENABLE_OLLAMA_API", "value": "False"},
            {"name": "ENABLE_WEBSOCKET_SUPPORT", "value": "False"},
            {"name": "DATABASE_URL", "value": database_url},
        ],
        "tty": True,
    }
    pod = {
        "initContainers": [copy_app_data],
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": NAME}}],
    }
    spec = {
        "replicas": 1,
        "serviceName": NAME,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"metadata": {"name": NAME, "labels": labels}, "spec": spec}


def test_the_charts_pod_starts_is_updated_and_goes_to_zero_and_back(here: Node, database: Database) -> None:
    here.claim(NAME, "managed-csi-premium", "ReadWriteOnce")
    body = from_the_chart(database.app_url)
    service = {"selector": body["metadata"]["labels"], "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    here.core.create_namespaced_service(NAMESPACE, {"metadata": {"name": NAME}, "spec": service})
    here.apps.create_namespaced_stateful_set(NAMESPACE, body)
    here.wait_for(lambda: is_rolled_out(here))
    url = here.wait_for(
        lambda: json.loads((here.directory / "services.json").read_text()).get(f"{NAMESPACE}/{NAME}:80")
    )
    assert here.wait_for(lambda: who_answers(url)) == f"{NAME}-0"
    on_disk = here.directory / "claims" / NAMESPACE / NAME
    assert (on_disk / "cache").is_dir(), "the init container has copied what the image brings"
    init = here.pod(f"{NAME}-0").status.init_container_statuses[0]
    assert (init.name, init.state.terminated.exit_code) == ("copy-app-data", 0)

    here.execute(f"{NAME}-0", "sh", "-c", f"echo kept > {DATA}/mine")
    before = here.pod(f"{NAME}-0")
    more = {"name": "open-webui", "env": [{"name": "WEBUI_NAME", "value": "Chat"}]}
    here.apps.patch_namespaced_stateful_set(NAME, NAMESPACE, {"spec": {"template": {"spec": {"containers": [more]}}}})
    here.wait_for(lambda: is_rolled_out(here))
    after = here.pod(f"{NAME}-0")
    assert after.metadata.uid != before.metadata.uid
    said = here.execute(after.metadata.name, "sh", "-c", f"echo $WEBUI_NAME; cat {DATA}/mine")
    assert said == ("Chat\nkept\n", "", 0)
    assert here.wait_for(lambda: who_answers(url)) == f"{NAME}-0"

    scale(here, 0)
    here.wait_gone(f"{NAME}-0")
    assert who_answers(url) is None
    scale(here, 1)
    here.wait_for(lambda: is_rolled_out(here))
    assert here.wait_for(lambda: who_answers(url)) == f"{NAME}-0"
    assert (on_disk / "mine").read_text() == "kept\n"


def who_answers(url: str) -> str | None:
    """Return the name of the pod that answers, None while none does."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return str(answer.headers["x-pod"])
    except OSError:
        return None


def test_each_number_finds_its_own_claim_again(here: Node) -> None:
    script = "echo $HOSTNAME >> /data/starts; exec sleep 1000"
    mounts = [{"name": "data", "mountPath": "/data"}]
    main = {"name": "main", "image": "busybox:1", "command": ["sh", "-c", script], "volumeMounts": mounts}
    storage = {"requests": {"storage": "1Gi"}}
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "managed-csi-premium", "resources": storage}
    spec = {
        "replicas": 2,
        "serviceName": "own",
        "selector": {"matchLabels": {"app": "own"}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        "template": {
            "metadata": {"labels": {"app": "own"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [main]},
        },
    }
    service = {"clusterIP": "None", "selector": {"app": "own"}, "ports": [{"port": 80}]}
    here.core.create_namespaced_service(NAMESPACE, {"metadata": {"name": "own"}, "spec": service})
    here.apps.create_namespaced_stateful_set(NAMESPACE, {"metadata": {"name": "own"}, "spec": spec})
    here.wait_for(lambda: is_rolled_out(here, "own"))
    assert hostnames(here, "own") == ["own-0", "own-1"]
    scale(here, 0, "own")
    for pod in ("own-0", "own-1"):
        here.wait_gone(pod)
    scale(here, 2, "own")
    here.wait_for(lambda: is_rolled_out(here, "own"))
    for number in (0, 1):
        starts: Path = here.directory / "claims" / NAMESPACE / f"data-own-{number}" / "starts"
        here.wait_for(lambda file=starts, name=f"own-{number}": file.read_text() == f"{name}\n{name}\n")


def hostnames(here: Node, service: str) -> list[str]:
    """Return the names under which a Service's DNS knows its pods."""
    slices = client.DiscoveryV1Api(here.core.api_client).list_namespaced_endpoint_slice(
        NAMESPACE, label_selector=f"kubernetes.io/service-name={service}"
    )
    return sorted(endpoint.hostname or "" for found in slices.items for endpoint in found.endpoints or [])
