"""Whatever is sent, the answer is the object or a refusal: damaged manifests must not find a bug."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from local.kubernetes.api_server.patches import PatchFailed, merge_patch
from local.kubernetes.api_server.strategic_merge import strategic_merge_patch
from local.kubernetes.controllers.manager import Timing, event_driven
from local.kubernetes.model.kinds import NAMESPACES, NODES, PODS, STORAGE_CLASSES, STORED, VOLUMES, Resource, find_kind
from local.kubernetes.model.schema import schema_of
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.decoding import decode
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import ADDED, Event, Store

TERM = {"key": "zone", "operator": "In", "values": ["1"]}
VALID: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}},
    {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "1"}},
    {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "name": "web"}]}},
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "c",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "csi": {"driver": "d", "volumeHandle": "h"},
            "claimRef": {"namespace": "n", "name": "c", "uid": "u"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [TERM]}]}},
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "containers": [
                {"name": "m", "image": "i", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 1}]}
            ],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [TERM]}]
                    }
                }
            },
        },
    },
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "m", "image": "i"}]}},
        },
    },
    {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i"}]}}},
    },
    {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3},
    },
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}},
    },
    {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p"},
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "spec": {"attacher": "d", "nodeName": "node", "source": {"persistentVolumeName": "free"}},
    },
    {"apiVersion": "v1", "kind": "Node", "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}},
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "spec": {"renewTime": "2026-11-22T12:00:00.000000Z", "leaseDurationSeconds": 40},
    },
]
WRONG = [None, 0, -1, True, "", "x", [], {}, ["x"], {"x": 1}, [{}], 1.5]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def damaged(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The manifest with each of its values in turn replaced by each thing that it should not be."""
    for path in paths(manifest):
        for wrong in WRONG if path[0] not in ("apiVersion", "kind") else ():
            broken = json.loads(json.dumps(manifest))
            parent: Any = broken
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = wrong
            yield broken


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    store = Store(tmp_path_factory.mktemp("store") / "state.db")
    registry = Registry(store)
    registry.create(NAMESPACES, "", {"metadata": {"name": "n"}}, Writer("test"))
    node = {"metadata": {"name": "node"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    registry.create(NODES, "", node, Writer("test"))
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "c"}
    registry.create(VOLUMES, "", {"metadata": {"name": "free"}, "spec": spec}, Writer("test"))
    waiting = {"containers": [{"name": "m", "image": "i"}]}
    registry.create(PODS, "n", {"metadata": {"name": "waiting"}, "spec": waiting}, Writer("test"))
    storage_class = {"metadata": {"name": "c"}, "provisioner": "p"}
    registry.create(STORAGE_CLASSES, "", storage_class, Writer("test"))
    yield registry
    store.close()


@pytest.mark.parametrize("valid", VALID, ids=lambda manifest: manifest["kind"])
def test_a_damaged_manifest_is_refused_or_lived_with(registry: Registry, valid: dict[str, Any]) -> None:
    resource = find_kind(valid["apiVersion"], valid["kind"])
    assert resource is not None
    namespace = "n" if resource.namespaced else ""
    outcomes: Counter[str] = Counter()
    for broken in damaged(valid):
        try:
            given = decode({**broken, "metadata": {"generateName": "x-"}}, resource).value
            created = registry.create(resource, namespace, given, Writer("test"))
        except ApiError as refusal:
            outcomes["refused" if refusal.status()["message"] else "wordless"] += 1
        else:
            outcomes["accepted"] += 1
            reconcile(registry, resource, created)
            with suppress(ApiError):  # a controller may have been quicker
                registry.delete(key_of(resource, created), Deletion("Background"))
    assert outcomes.keys() == {"refused", "accepted"}, outcomes


@pytest.mark.parametrize("valid", VALID, ids=lambda manifest: manifest["kind"])
def test_a_damaged_patch_is_refused_or_merged(registry: Registry, valid: dict[str, Any]) -> None:
    resource = find_kind(valid["apiVersion"], valid["kind"])
    assert resource is not None
    namespace = "n" if resource.namespaced else ""
    created = registry.create(resource, namespace, {**valid, "metadata": {"generateName": "x-"}}, Writer("test"))
    for broken in damaged(valid):
        with suppress(ApiError):
            merged = decode(merge_patch(created, broken), resource).value
            registry.update(key_of(resource, created), merged, Writer("test", dry_run=True))
        with suppress(ApiError, PatchFailed):
            patched = strategic_merge_patch(created, broken, schema_of(resource))
            registry.update(key_of(resource, created), decode(patched, resource).value, Writer("test", dry_run=True))


def reconcile(registry: Registry, resource: Resource, obj: dict[str, Any]) -> None:
    """Let every controller look at a new object once; what they refuse is their business, a bug is ours."""
    event = Event(registry.store.revision, ADDED, key_of(resource, obj), obj, None)
    for controller in event_driven(registry, Timing()):
        for key in controller.affected(event):
            with suppress(ApiError):
                controller.reconcile(key)


def test_every_stored_kind_survives_an_empty_object(registry: Registry) -> None:
    for resource in STORED:
        namespace = "n" if resource.namespaced else ""
        try:
            obj = registry.create(resource, namespace, {"metadata": {"generateName": "x-"}}, Writer("test"))
        except ApiError as refusal:
            assert refusal.code == 422, resource
        else:
            json.dumps(obj)
