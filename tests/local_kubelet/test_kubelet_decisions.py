"""What the kubelet decides, without running anything: environment, processes, readiness, status, storage, images."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from local.kubernetes.kubelet.environment import ConfigurationMissing, expand, resolve
from local.kubernetes.kubelet.network.endpoints import endpoints
from local.kubernetes.kubelet.probes.probe import Patience, Readiness, read_probe
from local.kubernetes.kubelet.process.image import Commands, Image
from local.kubernetes.kubelet.process.images import PullError, find_image, split_reference
from local.kubernetes.kubelet.process.launch import allowed
from local.kubernetes.kubelet.process.process_spec import ProcessSpec, Surroundings, decide
from local.kubernetes.kubelet.status import ContainerStatus, PodStatus, backoff_seconds, phase_of, restarts_after
from local.kubernetes.kubelet.storage.drivers import directory_of, volume_for, wants_volume
from local.kubernetes.kubelet.storage.volumes import Mount

# -- environment


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)/x", "1/x"),
        ("$(A)$(B)", "12"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
    ],
)
def test_variables_expand_as_kubernetes_does_it(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


ENTRIES = {("configmaps", "settings"): {"a": b"1", "b": b"2"}, ("secrets", "keys"): {"url": b"postgresql://db/x"}}
POD = {
    "metadata": {"name": "web-1", "namespace": "ollama", "uid": "u", "labels": {"app": "web"}},
    "spec": {"nodeName": "n"},
    "status": {"podIP": "127.64.0.9"},
}


def resolved(container: dict[str, Any]) -> dict[str, str]:
    async def read(kind: str, name: str) -> dict[str, bytes] | None:
        return ENTRIES.get((kind, name))

    return asyncio.run(resolve(container, POD, read))


def reference(kind: str, name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {f"{kind}KeyRef": {"name": name, "key": key, **more}}}


def test_every_source_of_a_value_is_read() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "secretRef": {"name": "keys"}}],
        "env": [
            {"name": "a", "value": "over"},
            reference("secret", "keys", "url") | {"name": "URL"},
            {"name": "FROM_BEFORE", "value": "$(URL)?x=$(a)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        ],
        "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "1Gi"}},
    }
    assert resolved(container) == {
        "a": "over",
        "b": "2",
        "P_url": "postgresql://db/x",
        "URL": "postgresql://db/x",
        "FROM_BEFORE": "postgresql://db/x?x=over",
        "IP": "127.64.0.9",
        "APP": "web",
        "CPU": "1500",
        "MIB": "1024",
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (reference("secret", "none", "x"), 'secret "none" not found'),
        (reference("configMap", "settings", "x"), "couldn't find key x in configmap settings"),
    ],
)
def test_a_missing_reference_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationMissing, match=message):
        resolved({"env": [entry]})


def test_an_optional_reference_may_be_missing() -> None:
    assert resolved({"env": [reference("secret", "none", "x", optional=True)]}) == {}


# -- processes


def decided(container: dict[str, Any], *mounts: Mount, values: dict[str, str] | None = None) -> ProcessSpec:
    image = Image(("serve",), ("--all",), {"PATH": "/img:/bin", "DATA_DIR": "/app/data"}, ("/app/data",), "/app")
    around = Surroundings(
        "ollama", "web-1", "127.64.0.9", Path("/k/scratch"), {("ollama", "redis"): "127.96.0.1"}, ("127.0.0.1", 6443)
    )
    return decide(container, image, values or {}, list(mounts), around)


def test_the_image_gives_command_environment_and_directories() -> None:
    spec = decided({})
    assert spec.command == ("serve", "--all")
    assert spec.environment["PATH"] == "/img:/bin"
    assert spec.environment["DATA_DIR"] == "/k/scratch/app/data"
    assert spec.directory == Path("/k/scratch/app")
    assert spec.environment["HOST"] == spec.environment["POD_IP"] == "127.64.0.9"


def test_a_command_replaces_the_entry_point_and_its_arguments() -> None:
    assert decided({"command": ["sh", "-c", "x"]}).command == ("sh", "-c", "x")
    assert decided({"args": ["--one"]}).command == ("serve", "--one")


def test_mounts_and_services_are_rewritten_everywhere() -> None:
    spec = decided(
        {"args": ["$(U)", "/app/data/x"], "workingDir": "/app/data/sub"},
        Mount("/app/data", Path("/k/v"), False),
        values={"U": "redis://redis:6379/0", "LIST": "/app/data/a:/b", "HOST": "0.0.0.0"},
    )
    assert spec.command == ("serve", "redis://127.96.0.1:6379/0", "/k/v/x")
    assert spec.environment["DATA_DIR"] == "/k/v"
    assert spec.environment["LIST"] == "/k/v/a:/b"
    assert spec.environment["HOST"] == "127.64.0.9"
    assert spec.directory == Path("/k/v/sub")
    assert spec.rewrite_command(["cat", "/app/data/y"], {}) == ("cat", "/k/v/y")
    assert json.loads(spec.environment["KUBELET_MOUNTS"])["/app/data"] == "/k/v"


def test_a_read_only_mount_is_kept_out_of_what_may_be_written() -> None:
    spec = decided({}, Mount("/in", Path("/k/in"), True), Mount("/out", Path("/k/out"), False))
    assert spec.keep_out == ("/k/in",)
    assert "/k/out" in spec.writable
    assert "/k/in" not in spec.writable


def test_a_directory_that_contains_a_read_only_mount_is_not_opened_for_writing() -> None:
    assert allowed(["/tmp", "/k/out", "/k/in"], ["/tmp/k/in"]) == ["/k/out", "/k/in"]
    assert allowed(["/k/in-other"], ["/k/in"]) == ["/k/in-other"]


# -- probes


def test_readiness_follows_results_in_a_row() -> None:
    readiness = Readiness(successes=2, failures=3)
    assert [(readiness.record(good), readiness.ready) for good in (True, True, False, False, True, False, False)] == [
        (False, False), (True, True), (False, True), (False, True), (False, True), (False, True), (False, True),
    ]  # fmt: skip
    assert readiness.record(False)
    assert not readiness.ready


def test_a_container_is_ended_only_after_failing_for_the_whole_time() -> None:
    patience = Patience(20)
    assert not patience.is_over(False, 0)
    assert not patience.is_over(False, 19)
    assert not patience.is_over(True, 19.5)
    assert not patience.is_over(False, 21)
    assert patience.is_over(False, 41)


def test_a_probe_has_the_defaults_of_kubernetes() -> None:
    probe = read_probe({"livenessProbe": {"httpGet": {"port": 80}}}, "livenessProbe")
    assert probe is not None
    assert (probe.period, probe.timeout, probe.failures, probe.patience) == (10, 1, 3, 20)


# -- status


def ended(code: int) -> ContainerStatus:
    status = ContainerStatus("c", "i", container_id="x")
    status.state = {"terminated": {"exitCode": code}}
    return status


def running(ready: bool) -> ContainerStatus:
    return ContainerStatus("c", "i", {"running": {}}, ready=ready, container_id="x")


@pytest.mark.parametrize(
    ("containers", "policy", "phase"),
    [
        ([ContainerStatus("c", "i")], "Always", "Pending"),
        ([running(False)], "Always", "Running"),
        ([ended(0)], "Never", "Succeeded"),
        ([ended(0)], "OnFailure", "Succeeded"),
        ([ended(1)], "Never", "Failed"),
        ([ended(1)], "OnFailure", "Running"),
        ([ended(1)], "Always", "Running"),
        ([ended(0), running(True)], "Never", "Running"),
    ],
)
def test_the_phase_follows_from_the_containers(containers: list[ContainerStatus], policy: str, phase: str) -> None:
    assert phase_of(containers, policy) == phase


def test_a_container_runs_again_as_the_policy_says() -> None:
    assert restarts_after(0, "Always", init=False)
    assert not restarts_after(0, "Always", init=True)
    assert not restarts_after(0, "OnFailure", init=False)
    assert restarts_after(1, "OnFailure", init=True)
    assert not restarts_after(1, "Never", init=False)
    assert [backoff_seconds(n, 0.5, 5) for n in range(5)] == [0.5, 1, 2, 4, 5]


def test_a_condition_keeps_its_time_until_it_changes_and_others_are_kept() -> None:
    def conditions(ready: bool, previous: list[dict[str, Any]], time: str) -> list[dict[str, Any]]:
        body = PodStatus("Running", "127.64.0.9", "t", True, [], [running(ready)]).as_object(previous, time)
        return list(body["conditions"])

    first = conditions(False, [{"type": "PodScheduled", "status": "True"}], "t1")
    second = conditions(True, first, "t2")
    by_type = {condition["type"]: condition for condition in second}
    assert by_type["PodScheduled"]["status"] == "True"
    assert (by_type["Ready"]["status"], by_type["Ready"]["lastTransitionTime"]) == ("True", "t2")
    assert by_type["Initialized"]["lastTransitionTime"] == "t1"


# -- storage


def claim(**annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "c", "namespace": "ollama", "uid": "u", "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def test_a_volume_is_provisioned_when_the_controller_hands_the_claim_over() -> None:
    ours = {"volume.kubernetes.io/storage-provisioner": "disk.csi.azure.com"}
    assert not wants_volume(claim(), "Immediate")
    assert wants_volume(claim(**ours), "Immediate")
    assert not wants_volume(claim(**ours), "WaitForFirstConsumer")
    assert wants_volume(claim(**ours, **{"volume.kubernetes.io/selected-node": "n"}), "WaitForFirstConsumer")
    assert not wants_volume(claim(**{"volume.kubernetes.io/storage-provisioner": "other"}), "Immediate")


def test_a_volume_lies_where_its_handle_says() -> None:
    storage_class = {
        "metadata": {"name": "managed-csi"},
        "provisioner": "disk.csi.azure.com",
        "reclaimPolicy": "Retain",
    }
    volume = volume_for(claim(), storage_class, "node-1")
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert directory_of(volume, Path("/k")) == Path("/k/pvc-u")
    volume["spec"]["csi"]["volumeHandle"] = "/subscriptions/s/disks/old-disk"
    assert directory_of(volume, Path("/k")) == Path("/k/old-disk")
    for handle in ("", "..", "/x/.."):
        volume["spec"]["csi"]["volumeHandle"] = handle
        with pytest.raises(ValueError, match="names no directory"):
            directory_of(volume, Path("/k"))


# -- services and images


def pod(name: str, ready: str = "True", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ollama", "labels": {"app": "web", "x": "y"}, **metadata},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"podIP": f"127.64.0.{name[-1]}", "conditions": [{"type": "Ready", "status": ready}]},
    }


def test_a_service_reaches_its_ready_pods_only() -> None:
    pods = [pod("p2"), pod("p1"), pod("p3", "False"), pod("p4", deletionTimestamp="t"), pod("p5", labels={})]
    assert endpoints(pods, "ollama", {"app": "web"}, 8080) == [("127.64.0.1", 8080), ("127.64.0.2", 8080)]
    assert endpoints(pods, "ollama", {"app": "web"}, "http") == [("127.64.0.1", 8080), ("127.64.0.2", 8080)]
    assert endpoints(pods, "ollama", {"app": "web"}, "grpc") == []
    assert endpoints(pods, "other", {"app": "web"}, 8080) == []


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("redis", ("redis", "latest")),
        ("redis:7-alpine", ("redis", "7-alpine")),
        ("host:5000/a/redis", ("host:5000/a/redis", "latest")),
        ("host:5000/a/redis:7@sha256:ab", ("host:5000/a/redis", "7")),
    ],
)
def test_an_image_reference_is_split(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


def test_known_images_are_found_and_others_cannot_be_pulled(tmp_path: Path) -> None:
    commands = Commands(tmp_path, Path("/usr/bin/python3"))
    assert find_image("ghcr.io/open-webui/open-webui:0.12.4", commands).entrypoint == ("open-webui",)
    assert find_image("docker.io/library/redis:7", commands).directories == ("/data",)
    assert find_image("python:3.11-slim", commands).arguments == ("python3",)
    assert find_image("busybox", commands).arguments == ("sh",)
    for unknown in ("nginx:1", "ghcr.io/open-webui/open-webui:missing", "my-redis"):
        with pytest.raises(PullError, match="not found"):
            find_image(unknown, commands)
