"""Real pods, on this project's API server and controllers: what the migration's phases rely on."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kubernetes.client.exceptions import ApiException

from local.kubernetes.kubelet.process.launch import landlock_version
from tests.fix_postgres import Database
from tests.local_kubelet.fix_node import NAMESPACE, Node, claims, cluster, node

OPEN_WEBUI = "ghcr.io/open-webui/open-webui:0.12.4"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("kubelet")
    with cluster(directory) as kubeconfig, node(directory, kubeconfig) as (running, _):
        running.core.create_namespace({"metadata": {"name": NAMESPACE}})
        yield running


def get(url: str) -> tuple[int, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status, dict(answer.headers)


def test_a_pod_runs_and_its_log_and_exit_code_are_told(here: Node) -> None:
    here.run("prints", "echo one; echo two >&2; printf end > /dev/termination-log; exit 3")
    pod = here.wait_for_phase("prints", "Failed")
    ended = pod.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason, ended.message) == (3, "Error", "end")
    assert here.log("prints") == "one\ntwo\n"
    assert here.log("prints", tail_lines=1) == "two\n"
    assert here.log("prints", timestamps=True).split()[1::2] == ["one", "two"]
    assert pod.status.pod_ip.startswith("127.")


def test_a_followed_log_comes_line_by_line(here: Node) -> None:
    here.run("counts", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    here.wait_for(lambda: here.state("counts").running or here.state("counts").terminated)
    answer = here.core.read_namespaced_pod_log("counts", NAMESPACE, follow=True, _preload_content=False)
    arrivals = [(time.monotonic(), line) for line in answer.stream()]
    assert b"".join(line for _, line in arrivals) == b"1\n2\n3\n"
    assert arrivals[-1][0] - arrivals[0][0] > 0.15


def test_exec_has_standard_input_both_outputs_and_an_exit_code(here: Node) -> None:
    here.run("waits", "sleep 60", env=[{"name": "COLOUR", "value": "blue"}])
    here.wait_for_phase("waits", "Running")
    said = here.execute("waits", "sh", "-c", "read x; echo $COLOUR $x; echo no >&2; exit 7", stdin="sky\n")
    assert said == ("blue sky\n", "no\n", 7)
    assert here.execute("waits", "true")[2] == 0
    with pytest.raises(ApiException):
        here.execute("waits", "no-such-command")


def test_a_job_copies_from_a_read_only_claim_to_another(here: Node) -> None:
    here.claim("disk", "managed-csi-premium", "ReadWriteOnce")
    here.claim("share", "azurefile-csi-premium", "ReadWriteMany")
    mounts = [{"name": "disk", "mountPath": "/app/backend/data"}]
    here.run("fills", "echo kept > /app/backend/data/a", volumeMounts=mounts, pod={"volumes": claims(disk="")})
    here.wait_for_phase("fills", "Succeeded")
    script = """
import pathlib, shutil, sys, numpy, psycopg
source, target = map(pathlib.Path, sys.argv[1:])
shutil.copytree(source, target, dirs_exist_ok=True)
try:
    (source / "b").write_text("x")
except OSError as error:
    print("refused:", error.strerror)
print(json.dumps({"result": sorted(path.name for path in target.iterdir())})) if (json := __import__("json")) else None
"""
    container = {
        "name": "mover",
        "image": OPEN_WEBUI,
        "command": ["python3", "/scaleout/copy.py", "/source", "/target"],
        "volumeMounts": [
            {"name": "disk", "mountPath": "/source", "readOnly": True},
            {"name": "share", "mountPath": "/target", "subPath": "sub"},
            {"name": "scripts", "mountPath": "/scaleout"},
        ],
    }
    here.core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "scripts"}, "data": {"copy.py": script}})
    volumes = [*claims(disk="", share=""), {"name": "scripts", "configMap": {"name": "scripts"}}]
    template = {"spec": {"restartPolicy": "Never", "containers": [container], "volumes": volumes}}
    spec = {"backoffLimit": 0, "template": template}
    here.batch.create_namespaced_job(NAMESPACE, {"metadata": {"name": "copies"}, "spec": spec})
    here.wait_for(lambda: here.batch.read_namespaced_job("copies", NAMESPACE).status.succeeded == 1)
    pods = here.core.list_namespaced_pod(NAMESPACE, label_selector="job-name=copies").items
    lines = here.log(pods[0].metadata.name).splitlines()
    assert json.loads(lines[-1]) == {"result": ["a"]}
    on_disk, on_share = (here.directory / "claims" / NAMESPACE / name for name in ("disk", "share"))
    assert (on_share / "sub" / "a").read_text() == "kept\n"
    if landlock_version():
        assert lines[0] == "refused: Permission denied"
        assert [path.name for path in on_disk.iterdir()] == ["a"]


def test_a_volume_goes_with_its_claim_unless_it_is_retained(here: Node) -> None:
    directories = {}
    for name in ("kept", "dropped"):
        here.claim(name, "azurefile-csi", "ReadWriteMany")
        claim = here.wait_for(
            lambda name=name: (
                (found := here.core.read_namespaced_persistent_volume_claim(name, NAMESPACE)).status.phase == "Bound"
                and found
            )
        )
        directories[name] = here.directory / "volumes" / claim.spec.volume_name
        (directories[name] / "file").write_text(name)
    retain = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    here.core.patch_persistent_volume(directories["kept"].name, retain)
    for name in directories:
        here.core.delete_namespaced_persistent_volume_claim(name, NAMESPACE)
    here.wait_for(lambda: not directories["dropped"].exists())
    here.wait_for(lambda: here.core.read_persistent_volume(directories["kept"].name).status.phase == "Released")
    here.core.delete_persistent_volume(directories["kept"].name)
    here.wait_for(
        lambda: directories["kept"].name not in [pv.metadata.name for pv in here.core.list_persistent_volume().items]
    )
    time.sleep(0.2)
    assert (directories["kept"] / "file").read_text() == "kept"
    assert not (here.directory / "claims" / NAMESPACE / "kept").is_symlink()


def test_a_crashing_container_backs_off_and_its_previous_log_is_kept(here: Node) -> None:
    here.run("crashes", "echo run; exit 5", pod={"restartPolicy": "Always"})
    here.wait_for(lambda: here.pod("crashes").status.container_statuses[0].restart_count >= 2)
    here.wait_for(lambda: here.state("crashes").waiting.reason == "CrashLoopBackOff")
    status = here.pod("crashes").status.container_statuses[0]
    assert status.last_state.terminated.exit_code == 5
    assert not status.ready
    assert here.log("crashes", previous=True) == "run\n"


@pytest.mark.parametrize("image", ["nginx:1", "ghcr.io/open-webui/open-webui:missing"])
def test_an_unknown_image_cannot_be_pulled(here: Node, image: str) -> None:
    name = "pull-" + image.partition(":")[0].rpartition("/")[2]
    here.run(name, image=image)
    here.wait_for(lambda: here.state(name).waiting.reason == "ImagePullBackOff")
    assert image in here.state(name).waiting.message
    assert here.pod(name).status.phase == "Pending"


def test_a_command_that_is_not_there_is_a_run_error(here: Node) -> None:
    here.run("no-command", command=["no-such-command"], pod={"restartPolicy": "Always"})
    here.wait_for(lambda: here.state("no-command").waiting.reason == "RunContainerError")
    assert "no-such-command" in here.state("no-command").waiting.message


def test_a_missing_secret_is_waited_for(here: Node) -> None:
    reference = {"secretKeyRef": {"name": "late", "key": "password"}}
    here.run("needs-secret", "echo got $PASSWORD", env=[{"name": "PASSWORD", "valueFrom": reference}])
    here.wait_for(lambda: here.state("needs-secret").waiting.reason == "CreateContainerConfigError")
    assert here.state("needs-secret").waiting.message == 'secret "late" not found'
    here.core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "late"}, "stringData": {"password": "x y"}})
    here.wait_for_phase("needs-secret", "Succeeded")
    assert here.log("needs-secret") == "got x y\n"


def test_init_containers_go_first_and_share_a_volume(here: Node) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    first = {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo a > /shared/f"], "volumeMounts": mounts}
    pod: dict[str, Any] = {"initContainers": [first], "volumes": [{"name": "shared", "emptyDir": {}}]}
    here.run("with-init", "cat /shared/f", volumeMounts=mounts, pod=pod)
    here.wait_for_phase("with-init", "Succeeded")
    assert here.log("with-init", container="main") == "a\n"


def test_a_pod_is_ended_in_order_and_a_stubborn_one_is_killed(here: Node) -> None:
    polite = "trap 'echo bye > /shared/bye; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    mounts, volumes = [{"name": "disk", "mountPath": "/shared"}], claims(disk="")
    here.run("polite", polite, volumeMounts=mounts, pod={"volumes": volumes})
    here.run("stubborn", "trap '' TERM; echo up; while true; do sleep 0.05; done")
    for name in ("polite", "stubborn"):
        here.wait_for(lambda name=name: here.log(name) == "up\n")
    here.core.delete_namespaced_pod("polite", NAMESPACE)
    here.wait_gone("polite")
    assert (here.directory / "claims" / NAMESPACE / "disk" / "bye").read_text() == "bye\n"
    began = time.monotonic()
    here.core.delete_namespaced_pod("stubborn", NAMESPACE, grace_period_seconds=1)
    here.wait_gone("stubborn")
    assert 0.9 < time.monotonic() - began < 15  # the second of grace that was asked for, not the thirty by default


def test_what_a_container_left_running_ends_with_it(here: Node) -> None:
    here.run("leaves", "sleep 1000 & echo $!")
    here.wait_for_phase("leaves", "Succeeded")
    child = int(here.log("leaves"))
    here.wait_for(lambda: not Path(f"/proc/{child}").exists())


def test_a_failing_liveness_probe_restarts_a_container(here: Node) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/state/dead"]}, "periodSeconds": 1, "failureThreshold": 2}
    mounts = [{"name": "state", "mountPath": "/state"}]
    pod = {"restartPolicy": "Always", "volumes": [{"name": "state", "emptyDir": {}}]}
    script = "if [ -e /state/dead ]; then rm /state/dead; echo again; fi; sleep 60"
    here.run("lives", script, livenessProbe=probe, volumeMounts=mounts, pod=pod)
    here.wait_for_phase("lives", "Running")
    assert here.execute("lives", "touch", "/state/dead")[2] == 0
    here.wait_for(lambda: here.pod("lives").status.container_statuses[0].restart_count == 1)
    here.wait_for(lambda: here.log("lives") == "again\n")


def test_three_replicas_of_open_webui_share_a_service_a_database_and_redis(here: Node, database: Database) -> None:
    """The world that the migration makes, with redis-server itself and the stand-in for Open WebUI."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("create extension vector")
    probe = {"exec": {"command": ["redis-cli", "ping"]}}
    here.run("redis-service", image="redis:7-alpine", readinessProbe=probe, pod={"restartPolicy": "Always"})
    here.service("redis-service", 6379)
    here.claim("open-webui-files", "azurefile-csi-premium", "ReadWriteMany")
    variables = {
        "DATABASE_URL": database.app_url,
        "VECTOR_DB": "pgvector",
        "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": "384",
        "REDIS_URL": "redis://redis-service:6379/0",
        "DATABASE_POOL_SIZE": "1",
        "PGVECTOR_POOL_SIZE": "1",
        "STANDIN_UNREADY_FILE": "/tmp-of-pod/unready",
    }
    container = {
        "name": "open-webui",
        "image": OPEN_WEBUI,
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "failureThreshold": 1},
        "volumeMounts": [
            {"name": "open-webui-files", "mountPath": "/app/backend/data"},
            {"name": "scratch", "mountPath": "/tmp-of-pod"},
        ],
    }
    volumes = [*claims(**{"open-webui-files": ""}), {"name": "scratch", "emptyDir": {}}]
    labels = {"app": "open-webui"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}},
    }
    here.apps.create_namespaced_deployment(NAMESPACE, {"metadata": {"name": "open-webui"}, "spec": spec})

    def ready(count: int) -> bool:
        return here.apps.read_namespaced_deployment("open-webui", NAMESPACE).status.ready_replicas == count

    here.wait_for(lambda: ready(1), 30)
    here.apps.patch_namespaced_deployment_scale("open-webui", NAMESPACE, {"spec": {"replicas": 3}})
    here.wait_for(lambda: ready(3), 30)

    url = here.service("open-webui", 8080)
    names = {
        pod.metadata.name for pod in here.core.list_namespaced_pod(NAMESPACE, label_selector="app=open-webui").items
    }
    assert {get(f"{url}/health")[1]["x-pod"] for _ in range(6)} == names
    inside = here.execute(min(names), "curl", "-s", "http://open-webui.ollama.svc.cluster.local:8080/health")
    assert inside == ('{"status": true}', "", 0)

    unready = min(names)
    assert here.execute(unready, "touch", "/tmp-of-pod/unready")[2] == 0
    here.wait_for(lambda: ready(2))
    assert {get(f"{url}/health")[1]["x-pod"] for _ in range(6)} == names - {unready}
    assert '"GET /ready HTTP/1.1" 503' in here.log(unready)
    assert here.execute(unready, "rm", "/tmp-of-pod/unready")[2] == 0
    here.wait_for(lambda: ready(3))

    metrics = here.wait_for(lambda: used(here, names))
    assert all(int(usage["memory"].removesuffix("Ki")) > 10_000 for usage in metrics.values())

    here.core.delete_namespaced_pod("redis-service", NAMESPACE)
    here.wait_for(lambda: not ready(3) and not ready(2) and not ready(1))
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        get(f"{url}/health")


def used(here: Node, names: set[str]) -> dict[str, dict[str, str]] | None:
    from kubernetes import client

    listed = client.CustomObjectsApi(here.core.api_client).list_namespaced_custom_object(
        "metrics.k8s.io", "v1beta1", NAMESPACE, "pods"
    )
    found = {item["metadata"]["name"]: item["containers"][0]["usage"] for item in listed["items"]}
    return {name: found[name] for name in names} if names <= found.keys() else None


def test_a_stopped_kubelet_takes_its_node_and_processes_along_and_a_killed_one_is_cleaned_up(tmp_path: Path) -> None:
    with cluster(tmp_path) as kubeconfig:
        with node(tmp_path, kubeconfig) as (here, kubelet):
            here.core.create_namespace({"metadata": {"name": NAMESPACE}})
            here.run("sleeps", "echo $$$$; exec sleep 1000")
            first = int(here.wait_for(lambda: here.log("sleeps")))
            kubelet.send_signal(signal.SIGTERM)
            kubelet.wait(15)
            assert here.core.list_node().items == []
            assert here.pod("sleeps").status.phase == "Running", "a pod reported as failed would be replaced at once"
            assert not Path(f"/proc/{first}").exists()
        here.core.delete_namespaced_pod("sleeps", NAMESPACE, grace_period_seconds=0)
        with node(tmp_path, kubeconfig) as (here, kubelet):
            here.run("sleeps-again", "echo $$$$; exec sleep 1000")
            second = int(here.wait_for(lambda: here.log("sleeps-again")))
            other = subprocess.Popen(["sleep", "1000"])
            os.kill(kubelet.pid, signal.SIGKILL)
            kubelet.wait()
            here.wait_for(lambda: not Path(f"/proc/{second}").exists())
        with node(tmp_path, kubeconfig) as (here, kubelet):
            here.wait_for_phase("sleeps-again", "Failed")
        assert other.poll() is None
        other.kill()
        other.wait()


def test_bad_arguments_are_all_told_at_once(tmp_path: Path) -> None:
    import sys

    command = [sys.executable, "-m", "local.kubernetes.kubelet", "--kubeconfig", str(tmp_path / "none"), "--label", "x"]
    command += ["--dir", str(tmp_path / "with space"), "--node", "No!"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    for problem in ("is not a file", "contains ' '", "is not a node name", "is not KEY=VALUE"):
        assert problem in ran.stderr
