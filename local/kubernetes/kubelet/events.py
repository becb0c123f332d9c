"""Events: what a person sees in `kubectl describe`."""

import contextlib

import aiohttp

from local.kubernetes.kubelet.api import Api, ApiError, Object
from local.kubernetes.kubelet.background import now


class Recorder:
    """Writes events about objects; one that cannot be written is dropped, as everywhere in Kubernetes."""

    def __init__(self, api: Api, node: str) -> None:
        self._api = api
        self._node = node

    async def normal(self, item: Object, reason: str, message: str) -> None:
        await self._write(item, "Normal", reason, message)

    async def warning(self, item: Object, reason: str, message: str) -> None:
        await self._write(item, "Warning", reason, message)

    async def _write(self, item: Object, kind: str, reason: str, message: str) -> None:
        meta, time = item["metadata"], now()
        namespace = meta.get("namespace", "default")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": item.get("kind", "Pod"),
                "namespace": namespace,
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._node},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
            await self._api.create(f"/api/v1/namespaces/{namespace}/events", body)
