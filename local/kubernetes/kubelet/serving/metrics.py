"""What a kubelet exposes to Prometheus, as far as somebody watches it: `/metrics/cadvisor` and volumes in `/metrics`.

Names and labels are the real ones; cAdvisor also has a line for each pod's own group, whose `container` is empty.
Source: kubernetes, pkg/kubelet/server (metrics) and pkg/kubelet/metrics/collectors/volume_stats.go.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.kubernetes.kubelet.pods import Pod
from local.kubernetes.kubelet.storage.volumes import Volume
from local.kubernetes.model.quantities import parse_quantity
from shared.rendering.prometheus_text import Sample, family

_MEASURED_AGAIN_SECONDS = 10.0
"""A kubelet measures once a minute; walking a large volume is not free."""


def of_containers(pods: Sequence[dict[str, Any]]) -> str:
    """cAdvisor's families, from the stats summary."""
    cpu: list[Sample] = []
    memory: list[Sample] = []
    for pod in pods:
        place = {"namespace": pod["podRef"]["namespace"], "pod": pod["podRef"]["name"]}
        group = f"/kubepods/burstable/pod{pod['podRef']['uid']}"
        seconds = [each["cpu"]["usageCoreNanoSeconds"] / 1e9 for each in pod["containers"]]
        held = [float(each["memory"]["workingSetBytes"]) for each in pod["containers"]]
        for each, used, size in zip(pod["containers"], seconds, held, strict=True):
            labels = place | {"container": each["name"], "id": f"{group}/{each['name']}", "image": "", "name": ""}
            cpu.append((labels | {"cpu": "total"}, used))
            memory.append((labels, size))
        whole = place | {"container": "", "id": group, "image": "", "name": ""}
        cpu.append((whole | {"cpu": "total"}, sum(seconds)))
        memory.append((whole, sum(held)))
    text = "Cumulative cpu time consumed in seconds."
    return family("container_cpu_usage_seconds_total", "counter", text, cpu) + family(
        "container_memory_working_set_bytes", "gauge", "Current working set in bytes.", memory
    )


class VolumeMeter:
    """Measures the volumes of claims, each at most every ten seconds."""

    def __init__(self) -> None:
        self._used: dict[Path, tuple[float, float]] = {}

    def read(self, pods: Sequence[Pod]) -> str:
        """The kubelet's families about volumes: one line a claim, however many pods mount it here."""
        claims = {(pod.namespace, volume.claim): volume for pod in pods for volume in pod.claimed}
        used: list[Sample] = []
        capacity: list[Sample] = []
        for (namespace, claim), volume in claims.items():
            labels = {"namespace": namespace, "persistentvolumeclaim": claim}
            used.append((labels, self._measure(volume)))
            capacity.append((labels, float(parse_quantity(volume.capacity or "0"))))
        return family(
            "kubelet_volume_stats_capacity_bytes", "gauge", "[ALPHA] Capacity in bytes of the volume", capacity
        ) + family("kubelet_volume_stats_used_bytes", "gauge", "[ALPHA] Number of used bytes in the volume", used)

    def _measure(self, volume: Volume) -> float:
        at, used = self._used.get(volume.directory, (-_MEASURED_AGAIN_SECONDS, 0.0))
        if time.monotonic() - at >= _MEASURED_AGAIN_SECONDS:
            used = float(sum(_size(path) for path in volume.directory.rglob("*")))
            self._used[volume.directory] = (time.monotonic(), used)
        return used


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it went while we looked
        return 0
