"""The pods of this node: started when they are assigned to it, ended when they are deleted."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterator

import aiohttp

from local.kubernetes.kubelet.api import Api, ApiError, Mirror, Object, ignoring
from local.kubernetes.kubelet.background import Background
from local.kubernetes.kubelet.containers import Container
from local.kubernetes.kubelet.pods import Pod, Workshop

log = logging.getLogger(__name__)

_SHUTDOWN_GRACE_SECONDS = 2.0


class Kubelet:
    """Follows the pods and keeps a worker for each."""

    def __init__(self, api: Api, pods: Mirror, node: str, workshop: Workshop, background: Background) -> None:
        self._api, self._node, self._workshop, self._background = api, node, workshop, background
        self._pods: dict[str, Pod] = {}
        self._ending: set[str] = set()
        self._is_stopping = False
        self._addresses = addresses(workshop.machinery.options.addresses)
        pods.subscribe(self._on_pod)

    @property
    def pods(self) -> list[Pod]:
        return list(self._pods.values())

    def find(self, namespace: str, pod: str, container: str) -> Container | None:
        """Find a container; the newest pod wins where an old one of the same name is still going."""
        for each in reversed(self._pods.values()):
            if (each.namespace, each.name) == (namespace, pod):
                return each.find_container(container)
        return None

    def _on_pod(self, before: Object | None, after: Object | None) -> None:
        item = after or before
        assert item is not None
        if item["spec"].get("nodeName") != self._node or self._is_stopping:
            return
        uid = item["metadata"]["uid"]
        if after is None:
            self._end(uid, grace=0, gone=True)
        elif uid in self._pods:
            self._pods[uid].object.update(after)
            if after["metadata"].get("deletionTimestamp"):
                self._end(uid, grace=float(after["metadata"].get("deletionGracePeriodSeconds") or 0), gone=False)
        else:
            self._begin(after)

    def _begin(self, pod: Object) -> None:
        meta, status = pod["metadata"], pod.get("status") or {}
        if meta.get("deletionTimestamp"):
            self._background.start(self._forget(pod), f"removal of pod {meta['name']}")
        elif status.get("phase") in ("Succeeded", "Failed"):
            return
        elif _was_running(status) and pod["spec"].get("restartPolicy") == "Never":
            self._background.start(self._lost(pod), f"loss of pod {meta['name']}")
        else:
            log.info("pod %s/%s", meta["namespace"], meta["name"])
            self._pods[meta["uid"]] = Pod(dict(pod), self._free_address(), self._workshop)

    def _free_address(self) -> str:
        taken = {pod.ip for pod in self._pods.values()}
        return next(address for address in itertools.islice(self._addresses, 255) if address not in taken)

    def _end(self, uid: str, grace: float, *, gone: bool) -> None:
        pod = self._pods.get(uid)
        if pod is not None and (uid not in self._ending or (gone and pod.is_running)):
            self._ending.add(uid)
            self._background.start(self._finish(pod, grace), f"end of pod {pod.name}")

    async def _finish(self, pod: Pod, grace: float) -> None:
        await pod.stop(grace)
        for delay in (0.5, 1, 2, 5):
            try:
                await pod.remove()
                break
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("removal of pod %s: %r", pod.name, error)
                await asyncio.sleep(delay)
        self._pods.pop(pod.uid, None)
        self._ending.discard(pod.uid)

    async def _forget(self, pod: Object) -> None:
        """Remove a pod that was deleted while no kubelet ran."""
        meta = pod["metadata"]
        with ignoring(404, 409):
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            await self._api.delete(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", body)

    async def _lost(self, pod: Object) -> None:
        """Fail a pod that ran under an earlier kubelet and must not run twice."""
        meta = pod["metadata"]
        message = "the kubelet that ran this pod is gone"
        status = {"phase": "Failed", "reason": "NodeLost", "message": message}
        with ignoring(404, 409):
            await self._api.merge(
                f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status", {"status": status}
            )

    async def stop(self) -> None:
        """End every pod's processes and take no new ones.

        The pods' objects stay as they are: failed ones would be replaced at once, on a node that is leaving.
        """
        self._is_stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SHUTDOWN_GRACE_SECONDS * 2):
                await asyncio.gather(*(pod.stop(_SHUTDOWN_GRACE_SECONDS, report=False) for pod in self.pods))


def _was_running(status: Object) -> bool:
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return any("waiting" not in (each.get("state") or {"waiting": {}}) for each in statuses)


def addresses(network: str) -> Iterator[str]:
    """Yield a network's addresses round and round, so that one is not used again at once."""
    return itertools.cycle(f"{network}.{last}" for last in range(1, 255))
