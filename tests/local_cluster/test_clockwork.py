"""What happens by the clock, with one that the test turns: nodes that fall silent, Events that are forgotten."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.kubernetes.controllers.event_expiry import EventExpiry
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.controllers.scheduling.node_lifecycle import NodeLifecycleController
from local.kubernetes.model.kinds import EVENTS, LEASES, NAMESPACES, NODES, PODS
from local.kubernetes.model.objects import condition
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Key, Store

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
KUBELET = Writer("kubelet")
NODE, POD = Key(NODES, "", "n"), Key(PODS, "kube-node-lease", "p")
READY = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T12:00:00Z"}]


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Iterator[Registry]:
    """A cluster of one node that is ready, has just renewed its lease and runs one ready pod."""
    store = Store(tmp_path / "state.db")
    registry = Registry(store, clock)
    registry.create(NAMESPACES, "", {"metadata": {"name": "kube-node-lease"}}, KUBELET)
    registry.create(NODES, "", {"metadata": {"name": "n"}, "status": {"conditions": READY}}, KUBELET)
    lease = {"metadata": {"name": "n"}, "spec": {"renewTime": "2026-11-22T12:00:00.000000Z"}}
    registry.create(LEASES, "kube-node-lease", lease, KUBELET)
    spec = {"nodeName": "n", "containers": [{"name": "m", "image": "i"}]}
    registry.create(PODS, "kube-node-lease", {"metadata": {"name": "p"}, "spec": spec}, KUBELET)
    registry.set_status(POD, {"phase": "Running", "conditions": READY}, "kubelet")
    yield registry
    store.close()


def test_events_are_written_seldom_and_forgotten_after_an_hour(registry: Registry, clock: Clock) -> None:
    recorder = Recorder(registry, "test")
    for seconds in (0, 5, 11):
        clock.now = START + timedelta(seconds=seconds)
        recorder.warning(registry.get(POD), "Trouble", "as before")
    (found,) = registry.store.all_of(EVENTS)
    assert (found["count"], found["lastTimestamp"]) == (2, "2026-11-22T12:00:11Z")
    key = key_of(EVENTS, found)
    assert EventExpiry(registry).reconcile(key) == timedelta(hours=1)
    clock.now += timedelta(hours=1)
    assert EventExpiry(registry).reconcile(key) is None
    assert not registry.store.all_of(EVENTS)


def taints(registry: Registry) -> list[dict[str, Any]]:
    return list(registry.get(NODE)["spec"].get("taints") or [])


def is_ready(registry: Registry, key: Key) -> str:
    found = condition(registry.get(key), "Ready")
    assert found is not None
    return str(found["status"])


def test_while_it_renews_its_lease_nothing_happens_but_the_next_look_is_planned(registry: Registry) -> None:
    assert NodeLifecycleController(registry).reconcile(NODE) == timedelta(seconds=50)
    assert (is_ready(registry, NODE), taints(registry)) == ("True", [])


def test_silent_for_long_its_node_is_unknown_tainted_and_its_pods_unready(registry: Registry, clock: Clock) -> None:
    clock.now = START + timedelta(seconds=51)
    assert NodeLifecycleController(registry).reconcile(NODE) is None
    assert is_ready(registry, NODE) == "Unknown"
    assert taints(registry) == [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]
    assert is_ready(registry, POD) == "False"


def test_back_again_it_loses_the_taint(registry: Registry, clock: Clock) -> None:
    clock.now = START + timedelta(seconds=51)
    controller = NodeLifecycleController(registry)
    controller.reconcile(NODE)
    renewed = {"spec": {"renewTime": "2026-11-22T12:00:51.000000Z"}}
    registry.change(Key(LEASES, "kube-node-lease", "n"), lambda lease: lease.update(renewed), "kubelet")
    registry.set_status(NODE, {"conditions": READY}, "kubelet")
    controller.reconcile(NODE)
    assert taints(registry) == []
