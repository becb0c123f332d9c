"""What kube-proxy does: every Service's ports, served on a loopback address and spread over its ready pods in turn.

A ClusterIP that is a loopback address (this project's API server hands such out) is served as it is; for any other,
and for a headless Service, a loopback address is made up and names in pods' environments are rewritten to it. Each
port is also served on a free port of 127.0.0.1, written to `services.json` as `{"namespace/name:port":
"http://127.0.0.1:12345"}`. With no ready pod a connection is reset at once.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import json
import logging
import socket
from dataclasses import dataclass, field
from pathlib import Path

from local.kubelet.api import Api, Mirror, Object
from local.kubelet.background import Background

log = logging.getLogger(__name__)

_CHUNK = 65536


@dataclass(slots=True)
class ServedPort:
    """One port of a Service and the sockets that serve it."""

    namespace: str
    service: str
    number: int
    target: int | str
    selector: dict[str, str]
    servers: list[asyncio.Server] = field(default_factory=list)
    url: str = ""
    turn: int = 0


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def endpoints(pods: list[Object], namespace: str, selector: dict[str, str], target: int | str) -> list[tuple[str, int]]:
    """List where a Service's port can be reached now: its ready pods, in a stable order."""
    found = []
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        labels = pod["metadata"].get("labels") or {}
        if pod["metadata"]["namespace"] != namespace or not selector.items() <= labels.items() or not is_ready(pod):
            continue
        port = _target_port(pod, target)
        if port is not None:
            found.append((pod["status"]["podIP"], port))
    return found


def _target_port(pod: Object, target: int | str) -> int | None:
    if isinstance(target, int):
        return target
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or []]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == target), None)


class ServiceProxy:
    """Serves the Services that have a selector."""

    def __init__(self, api: Api, background: Background, file: Path, *, services: Mirror, pods: Mirror) -> None:
        self._api, self._background, self._file, self._pods = api, background, file, pods
        self._made_up = (str(ipaddress.IPv4Address("127.97.0.1") + offset) for offset in itertools.count())
        self._addresses: dict[tuple[str, str], str] = {}
        self._served: dict[tuple[str, str], list[ServedPort]] = {}
        self._lock = asyncio.Lock()
        services.subscribe(self._on_service)

    def addresses(self) -> dict[tuple[str, str], str]:
        """Return where each Service is reached: (namespace, name) → address."""
        return dict(self._addresses)

    async def refresh(self, namespace: str) -> None:
        """Learn of the Services of a namespace that the watch has not told of yet."""
        listed = await self._api.get(f"/api/v1/namespaces/{namespace}/services")
        for service in listed.get("items") or []:
            self._address(service)

    def _address(self, service: Object) -> str | None:
        spec, key = service["spec"], (service["metadata"]["namespace"], service["metadata"]["name"])
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return None
        given = spec.get("clusterIP") or "None"
        if given != "None" and ipaddress.ip_address(given).is_loopback:
            self._addresses[key] = given
        elif key not in self._addresses:
            self._addresses[key] = next(self._made_up)
        return self._addresses[key]

    def _on_service(self, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and before["spec"] == after["spec"]:
            return
        item = after or before
        assert item is not None
        self._background.start(self._serve(item, gone=after is None), f"service {item['metadata']['name']}")

    async def _serve(self, service: Object, *, gone: bool) -> None:
        """Open what a Service needs and close what it had."""
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        async with self._lock:
            ports = []
            if gone:
                self._addresses.pop((namespace, name), None)
            elif self._address(service) is not None:
                for spec in service["spec"].get("ports") or []:
                    target = spec.get("targetPort") or spec["port"]
                    port = ServedPort(namespace, name, spec["port"], target, service["spec"]["selector"])
                    ports.append(port)
            for old in self._served.pop((namespace, name), []):
                for server in old.servers:
                    server.close()
            if ports:
                self._served[namespace, name] = ports
                for port in ports:
                    await self._open(port, self._addresses[namespace, name])
            self._write()

    async def _open(self, port: ServedPort, address: str) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._forward(port, reader, writer)

        local = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.servers.append(local)
        port.url = f"http://127.0.0.1:{local.sockets[0].getsockname()[1]}"
        try:
            port.servers.append(await asyncio.start_server(connected, address, port.number))
        except OSError as error:  # a port below 1024 without the right to it, or somebody else has it
            log.warning(
                "service %s/%s is not served on %s:%s: %s", port.namespace, port.service, address, port.number, error
            )

    def _write(self) -> None:
        ports = itertools.chain.from_iterable(self._served.values())
        urls = {f"{port.namespace}/{port.service}:{port.number}": port.url for port in ports}
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(urls, indent=1, sort_keys=True) + "\n")
        fresh.replace(self._file)

    async def _forward(self, port: ServedPort, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to the next ready pod that accepts it."""
        ready = endpoints(list(self._pods.objects.values()), port.namespace, port.selector, port.target)
        for _ in ready:
            address = ready[port.turn % len(ready)]
            port.turn += 1
            try:
                pod_reader, pod_writer = await asyncio.open_connection(*address)
            except OSError:
                continue
            await _carry_both(reader, writer, pod_reader, pod_writer)
            return
        _reset(writer)

    async def close(self) -> None:
        for port in itertools.chain.from_iterable(self._served.values()):
            for server in port.servers:
                server.close()
        self._file.unlink(missing_ok=True)


async def _carry_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pod_reader: asyncio.StreamReader,
    pod_writer: asyncio.StreamWriter,
) -> None:
    """Carry both directions until the pod has said everything, also to a client that has no more to say."""
    asking = asyncio.create_task(_carry(reader, pod_writer))
    try:
        await _carry(pod_reader, writer)
    except OSError:
        _reset(writer)
    finally:
        asking.cancel()
        for each in (pod_writer, writer):
            each.close()
        await asyncio.gather(asking, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset, as if nothing had listened."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
