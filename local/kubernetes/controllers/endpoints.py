"""Services to pods: Endpoints and one EndpointSlice with the ready pods that a Service selects."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Resource
from local.kubernetes.model.objects import (
    Object,
    controller_reference,
    is_finished,
    is_ready,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    status_of,
    uid_of,
)
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Event, Key


class EndpointsController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is SERVICES:
            yield event.key
        elif event.resource is PODS:
            for service in self._registry.store.all_of(SERVICES, event.key.namespace):
                if _selects(service, event.obj) or (event.previous and _selects(service, event.previous)):
                    yield key_of(SERVICES, service)

    def reconcile(self, key: Key) -> timedelta | None:
        service = self._registry.store.get(key)
        if service is None:
            self._remove(Key(ENDPOINTS, key.namespace, key.name))
            return None  # the slice goes with its owner
        if not service["spec"].get("selector"):
            return None  # someone else keeps its endpoints
        pods = [
            pod
            for pod in self._registry.store.all_of(PODS, key.namespace)
            if _selects(service, pod) and status_of(pod).get("podIP") and not is_finished(pod)
        ]
        self._keep(ENDPOINTS, service, {"metadata": {"name": key.name}, **_endpoints(service, pods)})
        self._keep(ENDPOINT_SLICES, service, _slice(service, pods))
        return None

    def _keep(self, resource: Resource, service: Object, wanted: Object) -> None:
        key = Key(resource, namespace_of(service), wanted["metadata"]["name"])
        if self._registry.store.get(key) is None:
            self._registry.create(resource, key.namespace, wanted, Writer(MANAGER))
            return
        content = {name: value for name, value in wanted.items() if name != "metadata"}
        self._registry.change(key, lambda obj: obj.update(content), MANAGER)

    def _remove(self, key: Key) -> None:
        if self._registry.store.get(key) is not None:
            self._registry.delete(key)


def _selects(service: Object, pod: Object) -> bool:
    selector = service["spec"].get("selector")
    return bool(selector) and selectors.matches(selectors.from_object({"matchLabels": selector}), labels_of(pod))


def _ports(service: Object, pod: Object) -> Iterator[Object]:
    """Return the service's ports as the pod serves them; a target may be the name of a container's port."""
    for port in service["spec"].get("ports") or ():
        number = _resolve(port["targetPort"], pod)
        if number is not None:
            name = {"name": port["name"]} if port.get("name") else {}
            yield {**name, "port": number, "protocol": port["protocol"]}


def _resolve(target: Any, pod: Object) -> int | None:
    if isinstance(target, int):
        return target
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    return next((port["containerPort"] for port in ports if port.get("name") == target), None)


def _address(service: Object, pod: Object) -> Object:
    reference = {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}
    address = {"ip": status_of(pod)["podIP"], "nodeName": pod["spec"].get("nodeName"), "targetRef": reference}
    return {**address, **_hostname(service, pod)}


def _hostname(service: Object, pod: Object) -> Object:
    """Return the name by which the Service's DNS knows the pod, as a StatefulSet's pods have it.

    Source: k8s.io/endpointslice, util/controller_utils.go, ShouldSetHostname.
    """
    spec = pod["spec"]
    is_governed = spec.get("hostname") and spec.get("subdomain") == name_of(service)
    return {"hostname": spec["hostname"]} if is_governed else {}


def _serves(pod: Object) -> bool:
    return is_ready(pod) and not is_terminating(pod)


def _endpoints(service: Object, pods: Sequence[Object]) -> Object:
    if not pods:
        return {"subsets": []}
    subset: Object = {"ports": list(_ports(service, pods[0]))}
    for name, chosen in (
        ("addresses", [_address(service, pod) for pod in pods if _serves(pod)]),
        ("notReadyAddresses", [_address(service, pod) for pod in pods if not _serves(pod) and not is_terminating(pod)]),
    ):
        if chosen:
            subset[name] = chosen
    return {"subsets": [subset]}


def _slice(service: Object, pods: Sequence[Object]) -> Object:
    labels = {"kubernetes.io/service-name": name_of(service), "endpointslice.kubernetes.io/managed-by": MANAGER}
    endpoints = [
        {
            "addresses": [status_of(pod)["podIP"]],
            "conditions": {"ready": _serves(pod), "serving": is_ready(pod), "terminating": is_terminating(pod)},
            "nodeName": pod["spec"].get("nodeName"),
            "targetRef": _address(service, pod)["targetRef"],
            **_hostname(service, pod),
        }
        for pod in pods
    ]
    return {
        "metadata": {
            "name": f"{name_of(service)}-{uid_of(service)[:5]}",
            "labels": labels,
            "ownerReferences": [controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": list(_ports(service, pods[0])) if pods else [],
    }
