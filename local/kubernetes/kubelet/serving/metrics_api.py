"""metrics.k8s.io of the node's pods, registered with an API server that has none, so that an autoscaler sees them.

The aggregator is led to this kubelet by a Service of type ExternalName, because an address of this machine's loopback
cannot be an endpoint. Source: Kubernetes 1.36, apiserver/pkg/util/proxy/proxy.go, `ResolveCluster`. With
`--enable-aggregator-routing` only endpoints are taken (`ResolveEndpoint`): then nothing is registered, and a warning
says so. The local cluster asks its kubelets by itself and has no aggregator.
"""

import asyncio
import logging
from time import monotonic

from local.kubernetes.kubelet.api import Api, ApiError, Object
from local.kubernetes.kubelet.belongings import LABEL, bring
from local.kubernetes.kubelet.options import ADDRESS

log = logging.getLogger(__name__)

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
ROOT = f"/apis/{GROUP}/{VERSION}"
_SERVICES = "/api/v1/namespaces/kube-system/services"
_REGISTRY = "/apis/apiregistration.k8s.io/v1/apiservices"
_NAME = f"{VERSION}.{GROUP}"
_SERVICE = "scaleout-rehearsal-metrics"
_PATIENCE_SECONDS = 20.0


def resources() -> Object:
    """What is served below ROOT, for discovery."""
    pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": [pods]}


async def offer(api: Api, node: str, port: int) -> None:
    """Register the API unless somebody serves it; take it back when the API server does not reach it."""
    try:
        present = await _present(api)
    except ApiError as error:
        log.info("no aggregator: %s", error)
        return
    if present is not None and (present["metadata"].get("labels") or {}).get(LABEL) != node:
        return
    try:
        await _register(api, node, port, again=present is not None)
        problem = await _unreachable(api)
    except ApiError as error:
        problem = str(error)
    if problem:
        log.warning("%s is not served, so no autoscaler sees this node's pods: %s", GROUP, problem)
        await withdraw(api)


async def withdraw(api: Api) -> None:
    """Take the registration back: one that nobody answers keeps every namespace from being deleted."""
    for path in (f"{_REGISTRY}/{_NAME}", f"{_SERVICES}/{_SERVICE}"):
        try:
            await api.delete(path)
        except ApiError as error:
            log.info("%s: %s", path, error)


async def _present(api: Api) -> Object | None:
    """The registration as it is; raises ApiError where there is no aggregator."""
    listed = await api.get(_REGISTRY)
    return next((one for one in listed["items"] if one["metadata"]["name"] == _NAME), None)


async def _register(api: Api, node: str, port: int, *, again: bool) -> None:
    service = {"type": "ExternalName", "externalName": ADDRESS}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _SERVICE}, "spec": service}
    await bring(api, _SERVICES, body, node)
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,  # the certificate is the kubelet's; the way to it does not leave this machine
        "service": {"namespace": "kube-system", "name": _SERVICE, "port": port},
    }
    if again:
        await api.merge(f"{_REGISTRY}/{_NAME}", {"spec": spec})
        return
    registration = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    await bring(api, _REGISTRY, registration | {"metadata": {"name": _NAME}, "spec": spec}, node)


async def _unreachable(api: Api) -> str:
    """Why the API server does not reach it; empty when it does."""
    end, said = monotonic() + _PATIENCE_SECONDS, ""
    while monotonic() < end:
        status = (await api.get(f"{_REGISTRY}/{_NAME}")).get("status") or {}
        available = next((one for one in status.get("conditions") or [] if one["type"] == "Available"), None)
        if available and available["status"] == "True":
            return ""
        said = str((available or {}).get("message") or said)
        await asyncio.sleep(0.3)
    return said or f"the API server did not say that it is available within {_PATIENCE_SECONDS:g} s"
