"""What the containers use, measured from their processes: for `/stats/summary` and metrics.k8s.io."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from local.kubernetes.kubelet.background import now
from local.kubernetes.kubelet.kubelet import Kubelet
from local.kubernetes.kubelet.process.processes import usage

_SHORTEST_WINDOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A container's CPU time so far and its memory, at one moment."""

    time: float
    cpu_seconds: float
    resident_bytes: int
    cores: float = 0.0  # since the reading before


class UsageMeter:
    """Turns CPU times into rates, by what they were when last asked."""

    def __init__(self, kubelet: Kubelet, node: str) -> None:
        self._kubelet, self._node = kubelet, node
        self._readings: dict[int, Reading] = {}

    def _measure(self) -> dict[int, Reading]:
        """Read every running container; asked again within a second, it gives the same answer."""
        leaders = {each.leader for pod in self._kubelet.pods for each in pod.containers if each.leader is not None}
        time, readings = monotonic(), {}
        for leader, (seconds, resident) in usage(leaders).items():
            before = self._readings.get(leader)
            if before is None:
                readings[leader] = Reading(time, seconds, resident)
            elif time - before.time < _SHORTEST_WINDOW_SECONDS:
                readings[leader] = before
            else:
                rate = (seconds - before.cpu_seconds) / (time - before.time)
                readings[leader] = Reading(time, seconds, resident, max(rate, 0.0))
        self._readings = readings
        return readings

    def summary(self) -> dict[str, Any]:
        """Build the kubelet's stats summary."""
        readings, pods = self._measure(), []
        for pod in self._kubelet.pods:
            containers = [
                {
                    "name": container.name,
                    "cpu": {
                        "time": now(),
                        "usageNanoCores": round(reading.cores * 1e9),
                        "usageCoreNanoSeconds": round(reading.cpu_seconds * 1e9),
                    },
                    "memory": {
                        "time": now(),
                        "workingSetBytes": reading.resident_bytes,
                        "rssBytes": reading.resident_bytes,
                    },
                }
                for container in pod.containers
                if container.leader is not None and (reading := readings.get(container.leader)) is not None
            ]
            reference = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
            pods.append({"podRef": reference, "containers": containers})
        return {"node": {"nodeName": self._node}, "pods": pods}

    def pod_metrics(self, namespace: str | None, chosen: Callable[[Mapping[str, str]], bool]) -> list[dict[str, Any]]:
        """Build metrics.k8s.io's PodMetrics of the running pods whose labels are chosen."""
        items = []
        for pod, stats in zip(self._kubelet.pods, self.summary()["pods"], strict=True):
            labels = pod.object["metadata"].get("labels") or {}
            if (namespace and pod.namespace != namespace) or not stats["containers"] or not chosen(labels):
                continue
            containers = [
                {
                    "name": each["name"],
                    "usage": {
                        "cpu": f"{each['cpu']['usageNanoCores']}n",
                        "memory": f"{each['memory']['workingSetBytes'] // 1024}Ki",
                    },
                }
                for each in stats["containers"]
            ]
            metadata = {
                "name": pod.name,
                "namespace": pod.namespace,
                "labels": labels,
            }
            items.append({"metadata": metadata, "timestamp": now(), "window": "15s", "containers": containers})
        return items
