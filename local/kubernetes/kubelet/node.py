"""The node: its object, its lease, its storage drivers; kept alive by a heartbeat and removed at the end."""

import asyncio
import contextlib
import logging
import os
import platform

import aiohttp

from local.kubernetes.kubelet.api import Api, ApiError, Object, ignoring
from local.kubernetes.kubelet.background import now
from local.kubernetes.kubelet.belongings import LABEL
from local.kubernetes.kubelet.node_lease import PATH as LEASES
from local.kubernetes.kubelet.node_lease import lease
from local.kubernetes.kubelet.options import ADDRESS, Options

log = logging.getLogger(__name__)

_CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"
_HEARTBEAT_SECONDS = 10
_CONDITIONS = (
    ("Ready", "True", "KubeletReady"),
    ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID"),
)


async def register(api: Api, options: Options, port: int) -> None:
    """Create the node and what hangs on it, and report it ready."""
    name = options.node
    await api.create_missing("/api/v1/nodes", _node(options))
    await api.create_missing(_CSI_NODES, _csi_node(name))
    with ignoring(409):
        await api.create("/api/v1/namespaces", {"metadata": {"name": "kube-node-lease"}})
    await api.create_missing(LEASES, lease(name))
    await beat(api, options, port)


async def keep_alive(api: Api, options: Options, port: int) -> None:
    """Repeat the heartbeat until cancelled."""
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        try:
            await beat(api, options, port)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("heartbeat: %r", error)


async def beat(api: Api, options: Options, port: int) -> None:
    """Report the node's status and renew its lease."""
    path = f"/api/v1/nodes/{options.node}"
    before = (await api.get(path)).get("status") or {}
    await api.merge(f"{path}/status", {"status": _status(options, port, before)})
    await api.merge(f"{LEASES}/{options.node}", _renewal(options.node))


async def remove(api: Api, name: str) -> None:
    """Take the node out of the cluster."""
    for path in (f"/api/v1/nodes/{name}", f"{_CSI_NODES}/{name}", f"{LEASES}/{name}"):
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
            await api.delete(path)


def _renewal(name: str) -> Object:
    renewed = lease(name)
    return {"metadata": {"annotations": renewed["metadata"]["annotations"]}, "spec": renewed["spec"]}


def _node(options: Options) -> Object:
    name = options.node
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "arm64" if platform.machine() in ("arm64", "aarch64") else "amd64",
        "kubernetes.azure.com/mode": "system",
        LABEL: name,
    }
    # Without this annotation the attach controller leaves the volumes of the node alone.
    annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    metadata = {"name": name, "labels": labels | dict(options.labels), "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}}


def _csi_node(name: str) -> Object:
    drivers = [
        {"name": "disk.csi.azure.com", "nodeID": name, "topologyKeys": [], "allocatable": {"count": 16}},
        {"name": "file.csi.azure.com", "nodeID": name, "topologyKeys": []},
    ]
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": {"name": name},
        "spec": {"drivers": drivers},
    }


def _status(options: Options, port: int, before: Object) -> Object:
    time = now()
    previous = {condition["type"]: condition for condition in before.get("conditions") or []}
    conditions = []
    for kind, state, reason in _CONDITIONS:
        old = previous.get(kind)
        since = old["lastTransitionTime"] if old and old["status"] == state else time
        times = {"lastHeartbeatTime": time, "lastTransitionTime": since}
        conditions.append({"type": kind, "status": state, "reason": reason, "message": reason, **times})
    capacity = {"cpu": options.cpu, "memory": options.memory, "pods": "110", "ephemeral-storage": "100Gi"}
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": ADDRESS},
            {"type": "Hostname", "address": options.node},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": _system(options.node),
        # Since 1.36 an API server passes exec through as WebSocket only to nodes that declare it.
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
    }


def _system(name: str) -> Object:
    return {
        "machineID": name,
        "systemUUID": name,
        "bootID": name,
        "kernelVersion": os.uname().release,
        "osImage": "local processes",
        "containerRuntimeVersion": "process://1",
        "kubeletVersion": "v1.36.0",
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }
