"""Which stores could answer at each moment: every change of Open WebUI's pods, in the API server's own order."""

import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from urllib3.exceptions import ProtocolError


def store_of(pod: dict[str, Any]) -> str:
    """The store that this pod's container serves from."""
    containers = pod["spec"]["containers"]
    variables = {one["name"]: one.get("value") for c in containers for one in c.get("env") or []}
    return variables.get("VECTOR_DB") or "chroma"


def is_there(pod: dict[str, Any]) -> bool:
    """Whether its processes may run: it is there and has not ended, whether ready or not."""
    return (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}


def overlaps(events: Iterable[dict[str, Any]]) -> list[set[str]]:
    """Moments at which pods of more than one store were there. `events`: as a watch gives them."""
    pods: dict[str, str] = {}
    found = []
    for event in events:
        pod = event["object"]
        if event["type"] == "DELETED" or not is_there(pod):
            pods.pop(pod["metadata"]["uid"], None)
        else:
            pods[pod["metadata"]["uid"]] = store_of(pod)
        if len(stores := set(pods.values())) > 1:
            found.append(stores)
    return found


class PodWatch:
    """Collects the events of a namespace's pods with these labels until it is stopped."""

    def __init__(self, kubeconfig: Path, namespace: str, labels: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._api = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        self._where = (namespace, labels)
        self._watch = watch.Watch()
        self._thread = threading.Thread(target=self._run, daemon=True, name="pod watch")
        self._thread.start()

    def _run(self) -> None:
        namespace, labels = self._where
        listing = self._watch.stream(
            self._api.list_namespaced_pod, namespace, label_selector=labels, timeout_seconds=600
        )
        with suppress(ProtocolError):  # the API server ended first
            for event in listing:
                self.events.append({"type": event["type"], "object": event["raw_object"]})

    def stop(self) -> list[dict[str, Any]]:
        """End it; the events until now."""
        self._watch.stop()
        return list(self.events)
