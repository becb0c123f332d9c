"""The process: it says when it serves, keeps its state over any kind of end, and rests when nothing happens."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from fix_contract import Cluster, config_map, container, deployment, eventually, process, refused
from kubernetes import client


def test_help_names_every_option() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "local.kubernetes", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in ("--dir", "--port", "--fresh", "--deny", "--autoscaler-sync-seconds"):
        assert option in said


def test_a_rule_that_makes_no_sense_is_bad_usage() -> None:
    command = [sys.executable, "-m", "local.kubernetes", "--dir", "/nonexistent", "--deny", "nonsense"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr


def test_a_manifest_without_roles_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("kind: ConfigMap")
    grant = ["--grant", str(tmp_path / "empty.yaml")]
    command = [sys.executable, "-m", "local.kubernetes", "--dir", str(tmp_path), *grant]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "holds no Role" in ended.stderr


def test_a_user_with_roles_may_do_what_they_say_and_discover_the_rest(tmp_path: Path) -> None:
    rules = 'rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]'
    (tmp_path / "role.yaml").write_text(f"kind: Role\nmetadata: {{namespace: default}}\n{rules}\n")
    with process("local.kubernetes", "--dir", tmp_path, "--grant", tmp_path / "role.yaml"):
        limited = Cluster(str(tmp_path / "kubeconfig-limited"), "default")
        assert limited.kind("apps/v1", "Deployment").name == "deployments"
        limited.core.list_namespaced_config_map("default")
        with refused(403, "Forbidden"):
            limited.core.list_namespaced_config_map("kube-system")


def test_a_port_that_is_taken_is_an_error_in_one_line(tmp_path: Path) -> None:
    with process("local.kubernetes", "--dir", tmp_path / "one") as running:
        port = running["server"].rpartition(":")[2]
        command = [sys.executable, "-m", "local.kubernetes", "--dir", str(tmp_path / "two"), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: the local cluster cannot run")
    assert port in ended.stderr


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_after_any_end_it_goes_on_where_it_was(tmp_path: Path, end: signal.Signals) -> None:
    with process("local.kubernetes", "--dir", tmp_path) as first:
        cluster = Cluster(first["kubeconfig"], "default")
        cluster.core.create_namespaced_config_map("default", config_map("kept"))
        cluster.apps.create_namespaced_deployment("default", deployment("kept", 2))
        before = eventually(lambda: pods(cluster) if len(pods(cluster)) == 2 else None, "its pods are there")
        written = cluster.core.read_namespaced_config_map("kept", "default").metadata
        first["process"].send_signal(end)
        assert first["process"].wait(10) == (0 if end is signal.SIGTERM else -end)
    with process("local.kubernetes", "--dir", tmp_path) as second:
        assert second["server"] == first["server"], "the kubeconfig is still good"
        cluster = Cluster(first["kubeconfig"], "default")
        found = cluster.core.read_namespaced_config_map("kept", "default").metadata
        assert (found.uid, found.resource_version) == (written.uid, written.resource_version)
        later = cluster.core.create_namespaced_config_map("default", config_map("later")).metadata
        assert int(later.resource_version) > int(found.resource_version)
        assert pods(cluster) == before, "the controllers go on with what they have made"
        stale = cluster.core.list_namespaced_config_map
        with pytest.raises(client.ApiException) as caught:
            list(watch_from(stale, "1"))
        assert caught.value.status == 410


def pods(cluster: Cluster) -> list[str]:
    found = cluster.core.list_namespaced_pod("default", label_selector="app=kept").items
    return sorted(pod.metadata.uid for pod in found)


def watch_from(what: object, version: str) -> object:
    from kubernetes import watch

    return watch.Watch().stream(what, "default", resource_version=version, timeout_seconds=2)


def test_a_deadline_that_was_running_goes_on_after_a_restart(tmp_path: Path) -> None:
    with process("local.kubernetes", "--dir", tmp_path) as first:
        body = deployment("late", progressDeadlineSeconds=1)
        Cluster(first["kubeconfig"]).apps.create_namespaced_deployment("default", body)
        first["process"].kill()
    with process("local.kubernetes", "--dir", tmp_path) as second:
        apps = Cluster(second["kubeconfig"]).apps

        def reasons() -> list[str]:
            return [c.reason for c in apps.read_namespaced_deployment("late", "default").status.conditions or []]

        eventually(lambda: "ProgressDeadlineExceeded" in reasons(), "the deadline passes")


def test_a_node_and_its_pods_go_on_after_the_api_server_was_killed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(process("local.kubernetes", "--dir", tmp_path / "c"))
        node = ("--kubeconfig", first["kubeconfig"], "--dir", tmp_path / "k", "--probe-period", "0.2")
        stack.enter_context(process("local.kubernetes.kubelet", *node))
        apps = Cluster(first["kubeconfig"]).apps
        apps.create_namespaced_deployment("default", deployment("kept", 1))
        eventually(lambda: ready_replicas(apps) == 1, "its pod runs", 30)
        (before,) = pods(Cluster(first["kubeconfig"]))
        first["process"].kill()
        first["process"].wait(10)
        stack.enter_context(process("local.kubernetes", "--dir", tmp_path / "c"))
        apps.patch_namespaced_deployment_scale("kept", "default", {"spec": {"replicas": 2}})
        eventually(lambda: ready_replicas(apps) == 2, "a second one runs", 30)
        assert before in pods(Cluster(first["kubeconfig"]))


def ready_replicas(apps: client.AppsV1Api) -> int | None:
    return apps.read_namespaced_deployment("kept", "default").status.ready_replicas


def test_fresh_forgets_everything(tmp_path: Path) -> None:
    with process("local.kubernetes", "--dir", tmp_path) as first:
        Cluster(first["kubeconfig"]).core.create_namespaced_config_map("default", config_map("old"))
        token = Path(first["kubeconfig"]).read_text()
    with process("local.kubernetes", "--dir", tmp_path, "--fresh") as second:
        assert Path(second["kubeconfig"]).read_text() != token
        with refused(404):
            Cluster(second["kubeconfig"]).core.read_namespaced_config_map("old", "default")


def test_its_secrets_are_for_its_owner_only(tmp_path: Path) -> None:
    with process("local.kubernetes", "--dir", tmp_path):
        for name in ("kubeconfig", "kubeconfig-limited", "identity.json", "server.pem", "state.db"):
            assert (tmp_path / name).stat().st_mode & 0o077 == 0, name


def test_an_idle_cluster_hardly_works(tmp_path: Path) -> None:
    """With things to look after, an autoscaler among them, and a watcher: under 2 % of a core."""
    with process("local.kubernetes", "--dir", tmp_path) as running:
        cluster = Cluster(running["kubeconfig"], "default")
        main = container(resources={"requests": {"cpu": "10m"}})
        cluster.apps.create_namespaced_deployment("default", deployment("idle", 3, main))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "idle"}
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3}
        cluster.autoscaling.create_namespaced_horizontal_pod_autoscaler(
            "default", {"metadata": {"name": "idle"}, "spec": spec}
        )
        eventually(lambda: len(cluster.core.list_namespaced_pod("default").items) == 3, "its pods are there")
        time.sleep(0.5)
        measured = psutil.Process(running["process"].pid)
        before = sum(measured.cpu_times()[:2])
        time.sleep(2)
        assert (sum(measured.cpu_times()[:2]) - before) / 2 < 0.02


def test_a_node_without_a_kubelet_does_not_stop_the_autoscaler(tmp_path: Path) -> None:
    with process("local.kubernetes", "--dir", tmp_path, "--autoscaler-sync-seconds", "0.2") as running:
        cluster = Cluster(running["kubeconfig"], "default")
        cluster.core.create_node({"metadata": {"name": "half-made"}})
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kept"}
        spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3}
        body = {"metadata": {"name": "kept"}, "spec": spec}
        cluster.autoscaling.create_namespaced_horizontal_pod_autoscaler("default", body)
        cluster.apps.create_namespaced_deployment("default", deployment("kept", 1))
        eventually(lambda: len(pods(cluster)) == 2, "the lower bound holds")


def test_without_a_token_only_health_is_told(tmp_path: Path) -> None:
    with process("local.kubernetes", "--dir", tmp_path) as running:
        trusted = Cluster(running["kubeconfig"]).api.configuration
        settings = client.Configuration()
        settings.host, settings.ssl_ca_cert = trusted.host, trusted.ssl_ca_cert
        stranger = client.ApiClient(settings)
        assert client.VersionApi(stranger).get_code().major == "1"
        with refused(403, "Forbidden") as status:
            client.CoreV1Api(stranger).list_namespace()
        assert "system:anonymous" in status["message"]
