"""Pods, and the templates of what makes them: containers, volumes, probes, ports, variables, resources.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.36, ValidatePodSpec and what it calls.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from local.kubernetes.model.objects import Object
from local.kubernetes.model.quantities import parse_quantity
from local.kubernetes.model.status_errors import Cause
from local.kubernetes.registry.validation import names
from local.kubernetes.registry.validation.rules import Causes

_LAST_PORT = 65535
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_TIMES = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
# In the order in which the server looks at them: the first one found is kept, each further one is refused.
_VOLUME_SOURCES = (
    *("emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi"),
    *("glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc"),
    *("flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk"),
    *("storageos", "projected", "scaleIO", "csi", "ephemeral", "image"),
)
_VALUE_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_VARIABLE_NAME = re.compile(r"[ -<>-~]+")
_VARIABLE_NAME_RULE = (
    "a valid environment variable name must consist only of printable ASCII characters other than '=' "
    "(e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[ -<>-~]+')"
)
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!-)(?!.*--)[-a-z0-9]{1,15}(?<!-)")


def pod_spec(spec: Object, path: str) -> Causes:
    volumes: list[str] = []
    for index, volume in enumerate(spec.get("volumes") or []):
        causes = list(_volume(volume, volumes, f"{path}.volumes[{index}]"))
        yield from causes
        if not causes:  # what is refused cannot be mounted
            volumes.append(str(volume.get("name")))
    if not spec.get("containers"):
        yield Cause.required(f"{path}.containers")
    taken: list[str] = []
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or []):
            yield from _container(container, volumes, taken, f"{path}.{kind}[{index}]")


def _volume(volume: Object, taken: Collection[str], path: str) -> Causes:
    sources = [name for name in _VOLUME_SOURCES if name in volume]
    for name in sources[1:]:
        yield Cause.forbidden(f"{path}.{name}", "may not specify more than 1 volume type")
    if not sources:
        yield Cause.required(path, "must specify a volume type")
    yield from _name(volume.get("name"), taken, f"{path}.name")
    if not (volume.get("persistentVolumeClaim") or {"claimName": True}).get("claimName"):
        yield Cause.required(f"{path}.persistentVolumeClaim.claimName")


def _name(name: Any, taken: Collection[str], path: str) -> Causes:
    if not name:
        yield Cause.required(path)
    elif not names.LABEL.fullmatch(name):
        yield Cause.invalid(path, name, names.LABEL_RULE)
    elif name in taken:
        yield Cause.duplicate(path, name)


def _container(container: Object, volumes: Collection[str], taken: list[str], path: str) -> Causes:
    yield from _name(container.get("name"), taken, f"{path}.name")
    taken.append(str(container.get("name")))
    if not container.get("image"):
        yield Cause.required(f"{path}.image")
    yield from _ports(container.get("ports") or [], f"{path}.ports")
    for index, variable in enumerate(container.get("env") or []):
        yield from _variable(variable, f"{path}.env[{index}]")
    yield from _mounts(container.get("volumeMounts") or [], volumes, f"{path}.volumeMounts")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            yield from _probe(container[name], f"{path}.{name}", once=name != "readinessProbe")
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _ports(ports: Sequence[Object], path: str) -> Causes:
    named: list[str] = []
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            if not _PORT_NAME.fullmatch(name):
                yield Cause.invalid(f"{where}.name", name, "must be no more than 15 characters")
            if name in named:
                yield Cause.duplicate(f"{where}.name", name)
            named.append(name)
        if not port.get("containerPort"):
            yield Cause.required(f"{where}.containerPort")
        else:
            yield from port_number(port["containerPort"], f"{where}.containerPort")
        if port["protocol"] not in _PROTOCOLS:
            yield Cause.unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS)


def port_number(port: Any, path: str) -> Causes:
    if isinstance(port, int) and not 1 <= port <= _LAST_PORT:
        yield Cause.invalid(path, port, f"must be between 1 and {_LAST_PORT}, inclusive")


def _variable(variable: Object, path: str) -> Causes:
    name = variable.get("name")
    if not name:
        yield Cause.required(f"{path}.name")
    elif not _VARIABLE_NAME.fullmatch(name):
        yield Cause.invalid(f"{path}.name", name, _VARIABLE_NAME_RULE)
    if "valueFrom" not in variable:
        return
    sources = variable["valueFrom"].keys() & set(_VALUE_SOURCES)
    where = f"{path}.valueFrom"
    if not sources:
        choices = ", ".join(f"`{source}`" for source in _VALUE_SOURCES[:-1])
        yield Cause.invalid(where, "", f"must specify one of: {choices} or `{_VALUE_SOURCES[-1]}`")
    elif variable.get("value"):
        yield Cause.invalid(where, "", "may not be specified when `value` is not empty")
    elif len(sources) > 1:
        yield Cause.invalid(where, "", "may not have more than one field specified at a time")


def _mounts(mounts: Sequence[Object], volumes: Collection[str], path: str) -> Causes:
    taken: list[str] = []
    for index, mount in enumerate(mounts):
        where, name, place = f"{path}[{index}]", mount.get("name"), mount.get("mountPath")
        if not name:
            yield Cause.required(f"{where}.name")
        elif name not in volumes:
            yield Cause(f"{where}.name", f'Not found: "{name}"', "FieldValueNotFound")
        if not place:
            yield Cause.required(f"{where}.mountPath")
        elif place in taken:
            yield Cause.invalid(f"{where}.mountPath", place, "must be unique")
        taken.append(str(place))


def _probe(probe: Object, path: str, *, once: bool) -> Causes:
    """`once`: a success counts at once, which for this probe is the only choice."""
    handlers = [name for name in _HANDLERS if name in probe]
    if not handlers:
        yield Cause.required(path, "must specify a handler type")
    for name in handlers[:1]:
        yield from _handler(name, probe[name], f"{path}.{name}")
    for name in handlers[1:]:
        yield Cause.forbidden(f"{path}.{name}", "may not specify more than 1 handler type")
    for name in _TIMES:
        if probe.get(name, 0) < 0:
            yield Cause.invalid(f"{path}.{name}", probe[name], "must be greater than or equal to 0")
    if once and probe.get("successThreshold", 1) != 1:
        yield Cause.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _handler(kind: str, handler: Object, path: str) -> Causes:
    if kind == "exec":
        if not handler.get("command"):
            yield Cause.required(f"{path}.command")
        return
    if kind == "httpGet" and not handler.get("path"):
        yield Cause.required(f"{path}.path")
    yield from port_number(handler.get("port", 0), f"{path}.port")
    if kind == "httpGet" and handler["scheme"] not in ("HTTP", "HTTPS"):
        yield Cause.unsupported(f"{path}.scheme", handler["scheme"], ["HTTP", "HTTPS"])


def _resources(resources: Object, path: str) -> Causes:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in sorted(limits.keys() & requests.keys()):
        if parse_quantity(requests[name]) > parse_quantity(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield Cause.invalid(f"{path}.requests", requests[name], why)
