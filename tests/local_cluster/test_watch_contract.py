"""Contract: watches tell every change once, in order, through the selector that was asked for."""

import threading
import time
from typing import Any

import pytest
from fix_contract import Cluster, config_map, eventually, some_name
from kubernetes import watch
from kubernetes.client.rest import ApiException


@pytest.fixture
def group() -> str:
    return some_name()


def create(cluster: Cluster, group: str) -> str:
    name = some_name()
    cluster.core.create_namespaced_config_map(cluster.namespace, config_map(name, labels={"group": group}))
    return name


def version(cluster: Cluster) -> str:
    found = cluster.core.list_namespaced_config_map(cluster.namespace)
    return str(found.metadata.resource_version)


def events(cluster: Cluster, **options: Any) -> list[tuple[str, str]]:
    stream = watch.Watch().stream(
        cluster.core.list_namespaced_config_map, cluster.namespace, timeout_seconds=1, **options
    )
    return [(event["type"], event["object"].metadata.name) for event in stream]


def test_from_a_version_tells_what_happened_since(cluster: Cluster, group: str) -> None:
    create(cluster, group)
    since = version(cluster)
    name = create(cluster, group)
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}})
    cluster.core.delete_namespaced_config_map(name, cluster.namespace)
    seen = events(cluster, label_selector=f"group={group}", resource_version=since)
    assert seen == [("ADDED", name), ("MODIFIED", name), ("DELETED", name)]


def test_without_a_version_begins_with_what_is_there_and_ends_in_time(cluster: Cluster, group: str) -> None:
    name = create(cluster, group)
    begun = time.monotonic()
    assert events(cluster, label_selector=f"group={group}") == [("ADDED", name)]
    assert 0.9 < time.monotonic() - begun < 4


def test_an_object_that_leaves_the_selection_is_deleted_and_one_that_enters_is_added(
    cluster: Cluster, group: str
) -> None:
    name = create(cluster, group)
    since = version(cluster)
    for label in ("elsewhere", group):
        patch = {"metadata": {"labels": {"group": label}}}
        cluster.core.patch_namespaced_config_map(name, cluster.namespace, patch)
    seen = events(cluster, label_selector=f"group={group}", resource_version=since)
    assert seen == [("DELETED", name), ("ADDED", name)]


def test_by_name_sees_one_object(cluster: Cluster, group: str) -> None:
    since = version(cluster)
    name, _other = create(cluster, group), create(cluster, group)
    assert events(cluster, field_selector=f"metadata.name={name}", resource_version=since) == [("ADDED", name)]


def test_a_version_that_is_no_number_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ApiException) as caught:
        events(cluster, resource_version="not-a-number")
    assert caught.value.status in (400, 500)


def test_a_version_that_is_too_old_is_gone(cluster: Cluster, group: str) -> None:
    """Our history begins with the process, so version 1 is always too old; a real server may still have it."""
    create(cluster, group)
    try:
        seen = events(cluster, resource_version="1")
    except ApiException as refusal:
        assert refusal.status == 410
    else:
        assert seen


def test_news_arrive_while_watching(cluster: Cluster, group: str) -> None:
    seen: list[str] = []
    watching = watch.Watch()

    def follow() -> None:
        options = {"label_selector": f"group={group}", "resource_version": since, "timeout_seconds": 20}
        for event in watching.stream(cluster.core.list_namespaced_config_map, cluster.namespace, **options):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                watching.stop()

    since = version(cluster)
    thread = threading.Thread(target=follow)
    thread.start()
    name = create(cluster, group)
    eventually(lambda: seen == ["ADDED"], "the creation is seen")
    cluster.core.delete_namespaced_config_map(name, cluster.namespace)
    thread.join(10)
    assert seen == ["ADDED", "DELETED"]


def test_a_bookmark_marks_the_end_of_what_was_there(cluster: Cluster, group: str) -> None:
    create(cluster, group)
    watching = watch.Watch()
    types = []
    for event in cluster.kind("v1", "ConfigMap").watch(
        namespace=cluster.namespace,
        timeout=5,
        watcher=watching,
        allow_watch_bookmarks=True,
        send_initial_events=True,
        resource_version_match="NotOlderThan",
    ):
        types.append(event["type"])
        if event["type"] == "BOOKMARK":
            metadata = event["raw_object"]["metadata"]
            assert metadata["annotations"]["k8s.io/initial-events-end"] == "true"
            assert metadata["resourceVersion"].isdigit()
            watching.stop()
    assert types[-1] == "BOOKMARK"
    assert set(types[:-1]) == {"ADDED"}
