"""Our controllers say what the real ones said when something cannot go on: the words that people and phases read.

The situations are the recorded ones (`recordings/`): the same objects are created, and the controllers and the clock
run until nothing more happens.
"""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fix_recordings import Object, all_cases
from fix_replay import comparable

from local.kubernetes.controllers.autoscaler import Autoscaler
from local.kubernetes.controllers.manager import Timing, event_driven
from local.kubernetes.model.kinds import AUTOSCALERS, CLAIMS, DEPLOYMENTS, EVENTS, JOBS, PODS, Resource, find_kind
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Event, Store

NODES = ("fake-node-1", "fake-node-2")


class World:
    """A registry, its controllers and a clock, without processes."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime(2026, 11, 26, 11, 22, tzinfo=UTC)
        self.registry = Registry(Store(folder / "state.db"), lambda: self.now)
        self.controllers = event_driven(self.registry, Timing())
        self._pending: list[Event] = []
        self.registry.store.subscribe(self._pending.append)
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "golden"}})
        for name in NODES:
            ready = {"type": "Ready", "status": "True"}
            self.create(
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"conditions": [ready]}}
            )

    def create(self, obj: Object) -> Object:
        resource = find_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        return self.registry.create(resource, "golden" if resource.namespaced else "", deepcopy(obj), Writer("test"))

    def settle(self, seconds: float = 0) -> None:
        """Let the clock go on and the controllers work until nothing changes."""
        self.now += timedelta(seconds=seconds)
        if seconds:
            self._pending += [
                Event(0, "MODIFIED", key_of(resource, obj), obj, obj)
                for resource, obj in list(self.registry.store.everything())
            ]
        while self._pending:
            event = self._pending.pop(0)
            for controller in self.controllers:
                for key in controller.affected(event):
                    controller.reconcile(key)

    def only(self, resource: Resource) -> Object:
        found: list[Object] = self.registry.store.all_of(resource, "golden")
        assert len(found) == 1
        return found[0]

    def events(self, reason: str) -> list[tuple[str, str]]:
        return [
            (event["involvedObject"]["kind"], event["message"])
            for event in self.registry.store.all_of(EVENTS)
            if event["reason"] == reason
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    started = World(tmp_path)
    yield started
    started.registry.store.close()


def recorded(key: str) -> Any:
    return all_cases()[key].after


def recorded_events(key: str, reason: str, name: str) -> list[tuple[str, str]]:
    return [
        (event["involvedObject"]["kind"], event["message"])
        for event in recorded(key)["items"]
        if event["reason"] == reason and event["involvedObject"]["name"].startswith(name)
    ]


def job(name: str, **pod: Any) -> Object:
    spec = {"restartPolicy": "Never", "containers": [{"name": "m", "image": "busybox", "command": ["true"]}], **pod}
    body = {"template": {"spec": spec}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}


def claim(name: str, **spec: Any) -> Object:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted}


@pytest.mark.parametrize(
    ("situation", "name", "pod"),
    [
        ("unschedulable", "ju", {"nodeSelector": {"no": "such"}}),
        ("claim-missing", "jc", {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "gone"}}]}),
    ],
)
def test_a_pod_that_finds_no_node(world: World, situation: str, name: str, pod: Object) -> None:
    world.create(job(name, **pod))
    world.settle()
    number = {"unschedulable": 1, "claim-missing": 0}[situation]
    real, ours = recorded(f"{situation}-{number}")["items"][0], world.only(PODS)
    assert comparable(ours["status"]) == comparable(real["status"])
    assert ours["metadata"]["finalizers"] == real["metadata"]["finalizers"]
    assert world.events("FailedScheduling") == recorded_events(f"{situation}-{number + 1}", "FailedScheduling", name)


def test_a_job_whose_pod_waits(world: World) -> None:
    world.create(job("ju", nodeSelector={"no": "such"}))
    world.settle()
    assert comparable(world.only(JOBS)["status"]) == comparable(recorded("unschedulable-0")["status"])


def test_a_claim_of_a_class_that_is_not_there(world: World) -> None:
    world.create(claim("noclass", storageClassName="nope", accessModes=["ReadWriteMany"]))
    world.settle()
    ours, real = world.only(CLAIMS), recorded("claim-class-missing-0")
    assert (ours["status"], ours["spec"]) == (real["status"], real["spec"])
    expected = recorded_events("claim-class-missing-1", "ProvisioningFailed", "noclass")
    assert world.events("ProvisioningFailed") == expected


def test_an_autoscaler_whose_target_has_no_replicas(world: World) -> None:
    real, target = recorded("hpa-no-metrics-0"), recorded("never-ready-0")
    world.create(renamed(target, real["spec"]["scaleTargetRef"]["name"], replicas=0))
    key = key_of(AUTOSCALERS, world.create(renamed(real, "h")))
    Autoscaler(world.registry, None, timedelta(seconds=15))._look(key, {})  # type: ignore[arg-type]
    assert comparable(world.only(AUTOSCALERS)["status"]) == comparable(real["status"])


@pytest.mark.parametrize("situation", ["crashloop", "imagepull", "never-ready", "oom"])
def test_a_rollout_that_does_not_come_to_its_end(world: World, situation: str) -> None:
    real, pod = recorded(f"{situation}-0"), recorded(f"{situation}-1")["items"][0]
    world.create(renamed(real, real["metadata"]["name"]))
    world.settle()
    world.registry.set_status(key_of(PODS, world.only(PODS)), deepcopy(pod["status"]), "kubelet")
    world.settle(real["spec"]["progressDeadlineSeconds"] + 1)
    assert told(world.only(DEPLOYMENTS)) == told(real)


def renamed(real: Object, name: str, **spec: Any) -> Object:
    """Return a recorded object as somebody would create it."""
    kind = {part: real[part] for part in ("apiVersion", "kind")}
    return {**kind, "metadata": {"name": name}, "spec": {**real["spec"], **spec}}


def told(deployment: Object) -> Object:
    """Return a status; the name of the ReplicaSet ends in a hash of the pod template, which is ours."""
    text = json.dumps(comparable(deployment["status"]))
    return dict(json.loads(re.sub(rf"({deployment['metadata']['name']})-\w+", r"\1-<hash>", text)))


def test_a_claim_that_is_deleted_while_a_pod_uses_it(world: World) -> None:
    real = recorded("pvc-deleted-in-use-0")
    world.create(claim("used"))
    world.create(renamed(recorded("pvc-deleted-in-use-1"), "user"))
    world.settle()
    world.registry.delete(key_of(CLAIMS, world.only(CLAIMS)), Deletion())
    world.settle()
    assert world.only(CLAIMS)["metadata"]["finalizers"] == real["metadata"]["finalizers"]
    assert "deletionTimestamp" in world.only(CLAIMS)["metadata"]
