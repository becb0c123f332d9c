"""What this kubelet brings into a cluster beside its node, labelled so that it can take it away again.

Drivers and classes of AKS, a snapshot class, an API of metrics: only what the cluster lacks. What somebody else has
made is used as it is and stays.
"""

import asyncio
import contextlib

import aiohttp

from local.kubernetes.kubelet.api import Api, ApiError, Object

LABEL = "scaleout.dev/rehearsal-node"
"""On everything that a rehearsal's node brought: the node's name."""
_STORAGE = "/apis/storage.k8s.io/v1"
_PATIENCE_SECONDS = 5.0
COLLECTIONS = (
    "/apis/apiregistration.k8s.io/v1/apiservices",
    "/api/v1/namespaces/kube-system/services",
    f"{_STORAGE}/storageclasses",
    f"{_STORAGE}/csidrivers",
    "/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses",
)
"""The API of metrics first: while it is there and does not answer, no namespace can be deleted."""


async def bring(api: Api, path: str, body: Object, node: str) -> None:
    """Create an object that is missing."""
    metadata = body["metadata"]
    labels = (metadata.get("labels") or {}) | {LABEL: node}
    await api.create_missing(path, body | {"metadata": metadata | {"labels": labels}})


async def take_away(api: Api, node: str) -> None:
    """Delete what this node brought, now or before it was killed; what cannot be reached in time is left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for path in COLLECTIONS:
                with contextlib.suppress(ApiError, aiohttp.ClientError):
                    await _empty(api, path, node)


async def _empty(api: Api, path: str, node: str) -> None:
    for found in (await api.get(path, labelSelector=f"{LABEL}={node}")).get("items") or []:
        await api.delete(f"{path}/{found['metadata']['name']}")
