"""StatefulSets for the contract tests, and what is asked of them."""

from collections.abc import Callable
from typing import Any

import pytest
from fix_contract import Cluster, container, deployment, eventually
from kubernetes import client, watch

APPS = "apps/v1"


def stateful_set(name: str, replicas: int = 1, main: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a StatefulSet whose pods are labelled with its name; `serviceName` is left out unless given."""
    return {**deployment(name, replicas, main, **spec), "kind": "StatefulSet"}


def ready_after(seconds: int) -> dict[str, Any]:
    """Return a container that runs at once and is ready only after a while."""
    probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": seconds, "periodSeconds": 1}
    return container(readinessProbe=probe)


def never_ready() -> dict[str, Any]:
    return container(readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1})


def read(cluster: Cluster, name: str) -> client.V1StatefulSet:
    return cluster.apps.read_namespaced_stateful_set(name, cluster.namespace)


def create(cluster: Cluster, body: dict[str, Any]) -> None:
    cluster.apps.create_namespaced_stateful_set(cluster.namespace, body)


def patch(cluster: Cluster, name: str, body: dict[str, Any]) -> None:
    cluster.apps.patch_namespaced_stateful_set(name, cluster.namespace, body)


def scale(cluster: Cluster, name: str, replicas: int) -> None:
    body = {"spec": {"replicas": replicas}}
    cluster.apps.patch_namespaced_stateful_set_scale(name, cluster.namespace, body)


def pods(cluster: Cluster, name: str) -> dict[str, client.V1Pod]:
    """Return the pods with the set's label, by name."""
    items = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"app={name}").items
    return {pod.metadata.name: pod for pod in items}


def revision_of(pod: client.V1Pod) -> str:
    return str(pod.metadata.labels["controller-revision-hash"])


def condition(pod: client.V1Pod, kind: str) -> client.V1PodCondition | None:
    return next((found for found in pod.status.conditions or [] if found.type == kind), None)


def is_ready(pod: client.V1Pod) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.status == "True" and not pod.metadata.deletion_timestamp


def is_rolled_out(cluster: Cluster, name: str) -> bool:
    """Say so as `kubectl rollout status` does."""
    found = read(cluster, name)
    status, wanted = found.status, found.spec.replicas
    return (status.observed_generation or 0) >= found.metadata.generation and (
        status.replicas == (status.ready_replicas or 0) == (status.updated_replicas or 0) == wanted
        and status.current_revision == status.update_revision
    )


def wait_for_rollout(cluster: Cluster, name: str) -> None:
    eventually(lambda: is_rolled_out(cluster, name), f"{name} is rolled out")


def roll_out(cluster: Cluster, body: dict[str, Any]) -> None:
    create(cluster, body)
    wait_for_rollout(cluster, body["metadata"]["name"])


def wait_for_names(cluster: Cluster, name: str, *ordinals: int) -> dict[str, client.V1Pod]:
    """Wait until exactly these pods are there."""
    wanted = {f"{name}-{ordinal}" for ordinal in ordinals}
    eventually(lambda: pods(cluster, name).keys() == wanted, f"{name} has the pods {sorted(wanted)}")
    return pods(cluster, name)


def moment(cluster: Cluster) -> str:
    """Return the present, for `story`."""
    return str(cluster.core.list_namespaced_pod(cluster.namespace).metadata.resource_version)


def story(cluster: Cluster, name: str, since: str) -> list[tuple[str, str]]:
    """Return what has happened to the set's pods since then, in order: made, ready, ending, gone."""
    told: dict[tuple[str, str, str], None] = {}
    watched = watch.Watch().stream(
        cluster.core.list_namespaced_pod,
        cluster.namespace,
        label_selector=f"app={name}",
        resource_version=since,
        timeout_seconds=1,
    )
    for event in watched:
        pod = event["object"]
        happened = {
            "made": event["type"] == "ADDED",
            "ready": is_ready(pod),
            "ending": pod.metadata.deletion_timestamp is not None,
            "gone": event["type"] == "DELETED",
        }
        told |= {(what, pod.metadata.name, pod.metadata.uid): None for what, so in happened.items() if so}
    return [(what, pod_name) for what, pod_name, _ in told]


def uids(cluster: Cluster, name: str) -> dict[str, str]:
    return {pod: found.metadata.uid for pod, found in pods(cluster, name).items()}


def stays(look: Callable[[], object], seconds: float = 1.5) -> bool:
    """Say whether nothing changes for a while."""
    before = look()
    with pytest.raises(AssertionError):
        eventually(lambda: look() != before, "", seconds)
    return True
