"""A stand-in for kube-state-metrics: what the objects of a cluster say, for Prometheus.

    python -m local.prometheus.kube_state --kubeconfig FILE     prints `ready {"url": …}`

Only the families that our rules and panels ask for, with their real names, labels and help. It reads the API server
anew at every scrape. Source: kubernetes/kube-state-metrics, docs/metrics/workload and internal/store.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from local.kubernetes.kubelet.api import read_kubeconfig
from local.kubernetes.model.quantities import parse_quantity
from shared.rendering.prometheus_text import FORMAT, Sample, family

type Object = dict[str, Any]

PATHS = {
    "deployments": "/apis/apps/v1/deployments",
    "autoscalers": "/apis/autoscaling/v2/horizontalpodautoscalers",
    "pods": "/api/v1/pods",
}
UNITS = {"cpu": "core", "memory": "byte"}


def exposition(deployments: Sequence[Object], autoscalers: Sequence[Object], pods: Sequence[Object]) -> str:
    """All families. Pure."""
    return "".join((*_of_deployments(deployments), *_of_autoscalers(autoscalers), *_of_pods(pods)))


def _of_deployments(found: Sequence[Object]) -> Iterable[str]:
    def samples(part: str, name: str) -> list[Sample]:
        return [(_named("deployment", one), float((one.get(part) or {}).get(name) or 0)) for one in found]

    text = "[STABLE] Number of desired pods for a deployment."
    yield family("kube_deployment_spec_replicas", "gauge", text, samples("spec", "replicas"))
    text = "[STABLE] The number of available replicas per deployment."
    yield family("kube_deployment_status_replicas_available", "gauge", text, samples("status", "availableReplicas"))


def _of_autoscalers(found: Sequence[Object]) -> Iterable[str]:
    prefix = "kube_horizontalpodautoscaler"
    for name, part, field, text in (
        ("spec_max_replicas", "spec", "maxReplicas", "[STABLE] Upper limit for the number of pods."),
        ("spec_min_replicas", "spec", "minReplicas", "[STABLE] Lower limit for the number of pods, default 1."),
        ("status_desired_replicas", "status", "desiredReplicas", "[STABLE] Desired number of replicas of pods."),
    ):
        values = [
            (_named("horizontalpodautoscaler", one), float((one.get(part) or {}).get(field) or 0)) for one in found
        ]
        yield family(f"{prefix}_{name}", "gauge", text, values)


def _of_pods(found: Sequence[Object]) -> Iterable[str]:
    requests: list[Sample] = []
    restarts: list[Sample] = []
    waiting: list[Sample] = []
    for pod in found:
        place = _named("pod", pod) | {"uid": pod["metadata"]["uid"]}
        for container in pod["spec"]["containers"]:
            labels = place | {"container": container["name"], "node": pod["spec"].get("nodeName") or ""}
            requests += _requests(labels, (container.get("resources") or {}).get("requests") or {})
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            labels = place | {"container": status["name"]}
            restarts.append((labels, float(status.get("restartCount") or 0)))
            if reason := ((status.get("state") or {}).get("waiting") or {}).get("reason"):
                waiting.append((labels | {"reason": reason}, 1.0))
    yield family(
        "kube_pod_container_resource_requests", "gauge", "[STABLE] The number of requested request resource.", requests
    )
    text = "[STABLE] The number of container restarts per container."
    yield family("kube_pod_container_status_restarts_total", "counter", text, restarts)
    text = "[STABLE] Describes the reason the container is currently in waiting state."
    yield family("kube_pod_container_status_waiting_reason", "gauge", text, waiting)


def _requests(labels: Mapping[str, str], requests: Mapping[str, str]) -> Iterable[Sample]:
    for resource, unit in UNITS.items():
        if resource in requests:
            yield {**labels, "resource": resource, "unit": unit}, float(parse_quantity(requests[resource]))


def _named(kind: str, obj: Object) -> dict[str, str]:
    return {kind: obj["metadata"]["name"], "namespace": obj["metadata"]["namespace"]}


def serve(kubeconfig: Path, port: int) -> None:
    """Answer `GET /metrics` until SIGTERM."""
    credentials = read_kubeconfig(kubeconfig)
    api = httpx.Client(base_url=credentials.server, headers=credentials.headers, verify=credentials.tls or True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                found = {name: api.get(path).raise_for_status().json()["items"] for name, path in PATHS.items()}
                status, text = 200, exposition(**found)
            except httpx.HTTPError as error:
                status, text = 503, f"{error}\n"
            self.send_response(status)
            self.send_header("Content-Type", FORMAT)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Prometheus says itself when a scrape fails."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print("ready " + json.dumps({"url": f"http://127.0.0.1:{server.server_port}/metrics"}), flush=True)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m local.prometheus.kube_state", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kubeconfig", type=Path, required=True, help="of the cluster to tell about")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: a free one)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(given.kubeconfig, given.port)


if __name__ == "__main__":
    main()
