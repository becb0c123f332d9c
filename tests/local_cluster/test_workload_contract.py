"""Contract: Deployments roll, Jobs end, budgets hold and autoscalers keep their bounds, with pods that really run."""

import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from fix_contract import (
    IMAGE,
    IS_OURS,
    OTHER_IMAGE,
    Cluster,
    container,
    deployment,
    eventually,
    job,
    refused,
    some_name,
    with_image,
)
from kubernetes import client, config
from kubernetes.stream import stream

NEVER_READY = container(readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1})
SURGE_ONLY = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.fixture
def name() -> str:
    return some_name()


def pods(cluster: Cluster, name: str, label: str = "app") -> list[client.V1Pod]:
    return cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"{label}={name}").items


def deployed(cluster: Cluster, name: str) -> client.V1Deployment:
    return cluster.apps.read_namespaced_deployment(name, cluster.namespace)


def is_rolled_out(cluster: Cluster, name: str) -> bool:
    found = deployed(cluster, name)
    status, wanted = found.status, found.spec.replicas
    return (status.observed_generation or 0) >= found.metadata.generation and (
        (status.updated_replicas or 0) == (status.replicas or 0) == (status.available_replicas or 0) == wanted
    )


def roll_out(cluster: Cluster, body: dict[str, Any]) -> None:
    cluster.apps.create_namespaced_deployment(cluster.namespace, body)
    wait_for_rollout(cluster, body["metadata"]["name"])


def wait_for_rollout(cluster: Cluster, name: str) -> None:
    eventually(lambda: is_rolled_out(cluster, name), f"{name} is rolled out")


def conditions(obj: Any) -> dict[str, Any]:
    return {found.type: found for found in obj.status.conditions or []}


def skip_where_unreachable(addresses: list[str]) -> None:
    """A real API server puts no loopback address into an EndpointSlice and asks no pod that has one.

    Source: Kubernetes 1.36, ValidateNonSpecialIP and registry/core/pod/strategy.go, `ResourceLocation`.
    """
    if not IS_OURS and any(ip_address(address).is_loopback for address in addresses):
        pytest.skip("pods of the rehearsal's kubelet have loopback addresses")


class Observed:
    """What a value was while the block ran."""

    def __init__(self, look: Callable[[], int]) -> None:
        self.values: list[int] = []
        self._look, self._stop = look, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.values.append(self._look())
            time.sleep(0.02)

    def __enter__(self) -> "Observed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class TestDeployment:
    def test_makes_a_replica_set_that_makes_pods(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 2))
        owner = pods(running, name)[0].metadata.owner_references[0]
        assert (owner.kind, owner.controller) == ("ReplicaSet", True)
        replica_set = running.apps.read_namespaced_replica_set(owner.name, running.namespace)
        assert replica_set.metadata.owner_references[0].kind == "Deployment"
        assert replica_set.metadata.annotations["deployment.kubernetes.io/revision"] == "1"
        assert all("pod-template-hash" in pod.metadata.labels for pod in pods(running, name))

    def test_says_when_it_is_complete(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1))
        found = conditions(deployed(running, name))
        assert (found["Available"].status, found["Available"].reason) == ("True", "MinimumReplicasAvailable")
        assert (found["Progressing"].status, found["Progressing"].reason) == ("True", "NewReplicaSetAvailable")

    def test_a_rolling_update_never_falls_below_what_it_may(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 2, strategy=SURGE_ONLY))
        with Observed(lambda: deployed(running, name).status.available_replicas or 0) as available:
            running.apps.patch_namespaced_deployment(name, running.namespace, with_image())
            wait_for_rollout(running, name)
        assert min(available.values) >= 2
        assert deployed(running, name).metadata.annotations["deployment.kubernetes.io/revision"] == "2"

    def test_recreate_stops_the_old_pod_before_the_new_one_starts(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1, strategy={"type": "Recreate"}))
        with Observed(lambda: len([p for p in pods(running, name) if p.status.phase == "Running"])) as alive:
            running.apps.patch_namespaced_deployment(name, running.namespace, with_image())
            wait_for_rollout(running, name)
        assert max(alive.values) == 1
        assert 0 in alive.values

    def test_a_pod_whose_labels_no_longer_match_is_let_go_and_replaced(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1))
        pod, relabelled = pods(running, name)[0].metadata, {"metadata": {"labels": {"app": "other"}}}
        running.core.patch_namespaced_pod(pod.name, running.namespace, relabelled)
        eventually(lambda: [p for p in pods(running, name) if p.metadata.uid != pod.uid], "there is another")
        assert running.core.read_namespaced_pod(pod.name, running.namespace).metadata.owner_references is None
        running.core.delete_namespaced_pod(pod.name, running.namespace)

    def test_going_back_to_an_old_template_reuses_its_replica_set(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1))
        for image in (OTHER_IMAGE, IMAGE):
            running.apps.patch_namespaced_deployment(name, running.namespace, with_image(image))
            wait_for_rollout(running, name)
        sets = running.apps.list_namespaced_replica_set(running.namespace, label_selector=f"app={name}").items
        revisions = {s.metadata.annotations["deployment.kubernetes.io/revision"]: s.spec.replicas for s in sets}
        assert revisions == {"2": 0, "3": 1}

    def test_that_does_not_progress_in_time_says_so_and_keeps_the_old_pod(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1, strategy=SURGE_ONLY, progressDeadlineSeconds=1))
        patch = {"spec": {"template": {"spec": {"containers": [NEVER_READY]}}}}
        running.apps.patch_namespaced_deployment(name, running.namespace, patch)
        eventually(
            lambda: conditions(deployed(running, name))["Progressing"].reason == "ProgressDeadlineExceeded",
            "the deadline passes",
        )
        found = conditions(deployed(running, name))
        assert (found["Progressing"].status, found["Available"].status) == ("False", "True")

    def test_a_container_that_keeps_failing_is_waiting_in_a_crash_loop(self, running: Cluster, name: str) -> None:
        running.apps.create_namespaced_deployment(running.namespace, deployment(name, 1, container("exit 1")))

        def is_in_crash_loop() -> bool:
            states = [s for pod in pods(running, name) for s in pod.status.container_statuses or []]
            return any(s.state.waiting and s.state.waiting.reason == "CrashLoopBackOff" for s in states)

        eventually(is_in_crash_loop, "the container is in a crash loop")
        running.apps.delete_namespaced_deployment(name, running.namespace)

    def test_scaled_to_zero_has_no_pods_and_is_complete(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 2))
        running.apps.patch_namespaced_deployment_scale(name, running.namespace, {"spec": {"replicas": 0}})
        eventually(lambda: not pods(running, name), "the pods are gone")
        wait_for_rollout(running, name)
        assert deployed(running, name).status.replicas is None

    def test_its_service_lists_the_ready_pods(self, running: Cluster, name: str) -> None:
        main = container(ports=[{"name": "web", "containerPort": 8080}])
        spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "web"}]}
        running.core.create_namespaced_service(running.namespace, {"metadata": {"name": name}, "spec": spec})
        roll_out(running, deployment(name, 2, main))

        def addresses() -> list[str]:
            slices = running.kind("discovery.k8s.io/v1", "EndpointSlice")
            found = slices.get(namespace=running.namespace, label_selector=f"kubernetes.io/service-name={name}")
            ready = [e for s in found.items for e in s.endpoints or [] if e.conditions.ready]
            assert all(port.port == 8080 for s in found.items for port in s.ports or [])
            return sorted(e.addresses[0] for e in ready)

        wanted = sorted(pod.status.pod_ip for pod in pods(running, name))
        skip_where_unreachable(wanted)
        eventually(lambda: addresses() == wanted, "the slice lists the pods")


class TestPod:
    def test_its_log_and_its_commands_come_through_the_api(self, running: Cluster, kubeconfig: str, name: str) -> None:
        roll_out(running, deployment(name, 1, container("echo first; echo last; while true; do sleep 0.2; done")))
        pod = pods(running, name)[0].metadata.name
        eventually(lambda: running.core.read_namespaced_pod_log(pod, running.namespace) == "first\nlast\n", "the log")
        assert running.core.read_namespaced_pod_log(pod, running.namespace, tail_lines=1) == "last\n"
        own_client = client.CoreV1Api(config.new_client_from_config(kubeconfig))  # stream() changes its client
        command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
        result = stream(
            own_client.connect_get_namespaced_pod_exec,
            pod,
            running.namespace,
            command=command,
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        result.run_forever(timeout=15)
        assert (result.read_stdout(), result.read_stderr(), result.returncode) == ("out\n", "err\n", 3)

    def test_a_command_can_be_fed(self, running: Cluster, kubeconfig: str, name: str) -> None:
        roll_out(running, deployment(name, 1))
        own_client = client.CoreV1Api(config.new_client_from_config(kubeconfig))
        result = stream(
            own_client.connect_get_namespaced_pod_exec,
            pods(running, name)[0].metadata.name,
            running.namespace,
            command=["sh", "-c", "read line; echo got $line"],
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        result.write_stdin("this\n")
        result.run_forever(timeout=15)
        assert (result.read_stdout(), result.returncode) == ("got this\n", 0)

    def test_its_port_is_reached_through_the_api(self, running: Cluster, name: str) -> None:
        address = {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        prepare = "cd $(mktemp -d); echo yes > answer.txt"
        python = "command -v python3 && exec python3 -m http.server 8080 --bind $ADDRESS"
        serve = f"{prepare}; {python}; exec httpd -f -p 8080"
        main = container(serve, env=[address], readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1})
        roll_out(running, deployment(name, 1, main))
        pod = pods(running, name)[0]
        skip_where_unreachable([pod.status.pod_ip])
        read = running.core.connect_get_namespaced_pod_proxy_with_path
        assert read(f"{pod.metadata.name}:8080", running.namespace, "answer.txt") == "yes\n"

    def test_its_usage_is_measured(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1))
        metrics = client.CustomObjectsApi(running.api)
        where = ("metrics.k8s.io", "v1beta1", running.namespace, "pods")

        def usage() -> list[dict[str, str]]:
            found = metrics.list_namespaced_custom_object(*where, label_selector=f"app={name}")["items"]
            return [each["usage"] for pod in found for each in pod["containers"]]

        assert eventually(usage, "it is measured", 60)[0].keys() == {"cpu", "memory"}

    def test_the_log_of_an_unknown_container_is_refused(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1))
        pod = pods(running, name)[0].metadata.name
        with refused(400, "BadRequest") as status:
            running.core.read_namespaced_pod_log(pod, running.namespace, container="nope")
        assert status["message"] == f"container nope is not valid for pod {pod}"

    def test_that_fits_no_node_stays_pending_and_says_why(self, running: Cluster, name: str) -> None:
        body = deployment(name, 1)
        body["spec"]["template"]["spec"]["nodeSelector"] = {"no-such-label": "x"}
        running.apps.create_namespaced_deployment(running.namespace, body)
        found = eventually(
            lambda: [c for pod in pods(running, name) if (c := conditions(pod).get("PodScheduled"))],
            "the scheduler has spoken",
        )[0]
        assert (found.status, found.reason) == ("False", "Unschedulable")
        assert "didn't match Pod's node affinity/selector" in found.message

        def warnings() -> list[client.CoreV1Event]:
            by_reason = "reason=FailedScheduling,type=Warning"
            events = running.core.list_namespaced_event(running.namespace, field_selector=by_reason).items
            return [e for e in events if e.involved_object.name.startswith(name)]

        assert eventually(warnings, "an Event says so, too")[0].message == found.message
        running.apps.delete_namespaced_deployment(name, running.namespace)

    def test_deleted_gets_its_grace_period(self, running: Cluster, name: str) -> None:
        roll_out(running, deployment(name, 1, container("trap '' TERM; while true; do sleep 0.2; done")))
        pod = pods(running, name)[0].metadata.name
        running.core.delete_namespaced_pod(pod, running.namespace)
        found = running.core.read_namespaced_pod(pod, running.namespace)
        assert found.metadata.deletion_grace_period_seconds == 1
        eventually(lambda: pod not in [p.metadata.name for p in pods(running, name)], "it is gone")


class TestJob:
    def finished(self, running: Cluster, body: dict[str, Any]) -> client.V1Job:
        name = body["metadata"]["name"]
        running.batch.create_namespaced_job(running.namespace, body)
        return self.wait(running, name)

    def wait(self, running: Cluster, name: str) -> client.V1Job:
        def over() -> client.V1Job | None:
            found = running.batch.read_namespaced_job(name, running.namespace)
            ends = [c for t, c in conditions(found).items() if t in ("Complete", "Failed") and c.status == "True"]
            return found if ends else None

        return eventually(over, f"job {name} is over")

    def test_that_succeeds_is_complete(self, running: Cluster, name: str) -> None:
        ended = self.finished(running, job(name, "echo done"))
        assert (ended.status.succeeded, ended.status.failed, ended.status.active) == (1, None, None)
        assert ended.status.completion_time
        assert conditions(ended)["Complete"].reason == "CompletionsReached"
        pod = pods(running, name, "job-name")[0].metadata
        assert running.core.read_namespaced_pod_log(pod.name, running.namespace) == "done\n"
        assert not pod.finalizers, "the pod has been counted and let go"

    def test_that_fails_too_often_has_failed(self, running: Cluster, name: str) -> None:
        ended = self.finished(running, job(name, "exit 3"))
        assert (ended.status.succeeded, ended.status.failed) == (None, 1)
        assert conditions(ended)["Failed"].reason == "BackoffLimitExceeded"
        state = pods(running, name, "job-name")[0].status.container_statuses[0].state
        assert state.terminated.exit_code == 3

    def test_tries_again_as_often_as_its_backoff_limit_says(self, running: Cluster, name: str) -> None:
        ended = self.finished(running, job(name, "exit 1", backoffLimit=1))
        assert ended.status.failed == 2
        assert len(pods(running, name, "job-name")) == 2

    def test_that_takes_too_long_is_stopped(self, running: Cluster, name: str) -> None:
        ended = self.finished(running, job(name, "sleep 60", activeDeadlineSeconds=1))
        assert conditions(ended)["Failed"].reason == "DeadlineExceeded"

    def test_indexed_gives_each_pod_its_part(self, running: Cluster, name: str) -> None:
        parts = {"completionMode": "Indexed", "completions": 3, "parallelism": 2}
        ended = self.finished(running, job(name, "echo part $JOB_COMPLETION_INDEX", **parts))
        assert (ended.status.succeeded, ended.status.completed_indexes) == (3, "0-2")
        logs = [
            running.core.read_namespaced_pod_log(p.metadata.name, running.namespace)
            for p in pods(running, name, "job-name")
        ]
        assert sorted(logs) == ["part 0\n", "part 1\n", "part 2\n"]

    def test_suspended_starts_no_pod_until_it_is_resumed(self, running: Cluster, name: str) -> None:
        running.batch.create_namespaced_job(running.namespace, job(name, suspend=True))
        found = eventually(
            lambda: conditions(running.batch.read_namespaced_job(name, running.namespace)).get("Suspended"),
            "it is suspended",
        )
        assert found.status == "True"
        assert not pods(running, name, "job-name")
        running.batch.patch_namespaced_job(name, running.namespace, {"spec": {"suspend": False}})
        assert self.wait(running, name).status.succeeded == 1

    def test_with_a_time_to_live_goes_with_its_pods(self, running: Cluster, name: str) -> None:
        running.batch.create_namespaced_job(running.namespace, job(name, ttlSecondsAfterFinished=1))
        by_name = {"field_selector": f"metadata.name={name}"}
        eventually(
            lambda: (
                not running.batch.list_namespaced_job(running.namespace, **by_name).items
                and not pods(running, name, "job-name")
            ),
            "both are gone",
        )

    def test_deleted_in_the_background_stops_its_pod(self, running: Cluster, name: str) -> None:
        running.batch.create_namespaced_job(running.namespace, job(name, "sleep 60"))
        eventually(lambda: [p for p in pods(running, name, "job-name") if p.status.phase == "Running"], "it runs")
        running.batch.delete_namespaced_job(name, running.namespace, propagation_policy="Background")
        eventually(lambda: not pods(running, name, "job-name"), "the pod is gone")


class TestDisruptionBudget:
    def budget(self, running: Cluster, name: str, **spec: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}, **spec}}
        running.policy.create_namespaced_pod_disruption_budget(running.namespace, body)

    def allowed(self, running: Cluster, name: str) -> int | None:
        status = running.policy.read_namespaced_pod_disruption_budget(name, running.namespace).status
        return status.disruptions_allowed if status.current_healthy else None

    def evict(self, running: Cluster, pod: client.V1Pod) -> None:
        body = {"metadata": {"name": pod.metadata.name}}
        running.core.create_namespaced_pod_eviction(pod.metadata.name, running.namespace, body)

    def test_refuses_an_eviction_that_would_leave_too_few(self, running: Cluster, name: str) -> None:
        self.budget(running, name, minAvailable=1)
        roll_out(running, deployment(name, 1))
        eventually(lambda: self.allowed(running, name) == 0, "the budget knows the pod")
        with refused(429, "TooManyRequests") as status:
            self.evict(running, pods(running, name)[0])
        cause = status["details"]["causes"][0]
        assert cause["reason"] == "DisruptionBudget"
        assert "needs 1 healthy pods and has 1 currently" in cause["message"]

    def test_allows_one_at_a_time(self, running: Cluster, name: str) -> None:
        self.budget(running, name, maxUnavailable=1)
        roll_out(running, deployment(name, 2))
        eventually(lambda: self.allowed(running, name) == 1, "the budget knows the pods")
        first, second = pods(running, name)
        self.evict(running, first)
        with refused(429):
            self.evict(running, second)
        eventually(lambda: self.allowed(running, name) == 1, "the pod is replaced")


class TestAutoscaler:
    @pytest.fixture
    def scaled(self, running: Cluster, name: str) -> str:
        """A busy Deployment with an autoscaler from two to three."""
        busy = container("while true; do :; done", resources={"requests": {"cpu": "10m"}})
        roll_out(running, deployment(name, 1, busy))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
        spec = {
            "scaleTargetRef": target,
            "minReplicas": 2,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": cpu}],
        }
        body = {"metadata": {"name": name}, "spec": spec}
        running.autoscaling.create_namespaced_horizontal_pod_autoscaler(running.namespace, body)
        yield name
        running.autoscaling.delete_namespaced_horizontal_pod_autoscaler(name, running.namespace)
        running.apps.delete_namespaced_deployment(name, running.namespace)

    def replicas(self, running: Cluster, name: str) -> int:
        return int(deployed(running, name).spec.replicas)

    def test_keeps_the_bounds_grows_with_load_and_is_switched_off_by_zero(self, running: Cluster, scaled: str) -> None:
        eventually(lambda: self.replicas(running, scaled) >= 2, "the lower bound holds", 60)
        eventually(lambda: self.replicas(running, scaled) == 3, "it grows to the upper bound", 120)
        self.scale(running, scaled, 5)
        eventually(lambda: self.replicas(running, scaled) == 3, "a manual scale beyond the bounds is reverted", 60)
        self.scale(running, scaled, 0)

        def is_off() -> bool:
            found = running.autoscaling.read_namespaced_horizontal_pod_autoscaler(scaled, running.namespace)
            return conditions(found)["ScalingActive"].reason == "ScalingDisabled"

        eventually(is_off, "the autoscaler says that it is off", 60)
        assert self.replicas(running, scaled) == 0

    def scale(self, running: Cluster, name: str, replicas: int) -> None:
        body = {"spec": {"replicas": replicas}}
        running.apps.patch_namespaced_deployment_scale(name, running.namespace, body)
