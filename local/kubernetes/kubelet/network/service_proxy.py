"""What kube-proxy does: every Service's ports, served on a loopback address and spread over its ready pods in turn.

A ClusterIP that is a loopback address (this project's API server hands such out) is served as it is. For any other,
for a headless Service, and where another rehearsal on this machine already serves that address, one is made up; the
names in pods' environments are rewritten to the address that is served.

Each port is also served on a free port of 127.0.0.1, which stays the same while the Service has the port.
`services.json` holds them: `{"namespace/name:port": "http://127.0.0.1:12345"}`. With no ready pod a connection is
reset at once.
"""

import asyncio
import ipaddress
import itertools
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from local.kubernetes.kubelet.api import Api, Mirror, Object
from local.kubernetes.kubelet.background import Background
from local.kubernetes.kubelet.network.endpoints import carry, endpoints, reset

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ServedPort:
    """One port of a Service, its sockets, and whose turn it is."""

    target: int | str
    selector: dict[str, str]
    servers: list[asyncio.Server] = field(default_factory=list)
    url: str = ""
    turn: int = 0

    def close(self) -> None:
        for server in self.servers:
            server.close()


@dataclass(slots=True)
class ServedService:
    """A Service that is served, where, and on which ports."""

    namespace: str
    cluster_ip: str
    address: str
    ports: dict[int, ServedPort] = field(default_factory=dict)


class ServiceProxy:
    """Serves the Services that have a selector."""

    def __init__(self, api: Api, background: Background, file: Path, *, services: Mirror, pods: Mirror) -> None:
        self._api, self._background, self._file, self._pods = api, background, file, pods
        self._served: dict[tuple[str, str], ServedService] = {}
        self._made_up = _made_up_addresses()
        self._one_at_a_time = asyncio.Lock()
        self._write()
        services.subscribe(self._on_service)

    def addresses(self) -> dict[tuple[str, str], str]:
        """Return where each Service is reached: (namespace, name) → address, and ("", ClusterIP) → another address."""
        moved = {
            ("", each.cluster_ip): each.address for each in self._served.values() if each.cluster_ip != each.address
        }
        return moved | {key: service.address for key, service in self._served.items()}

    async def refresh(self, namespace: str) -> None:
        """Serve the Services of a namespace that the watch has not told of yet."""
        listed = await self._api.get(f"/api/v1/namespaces/{namespace}/services")
        for service in listed.get("items") or []:
            if (namespace, service["metadata"]["name"]) not in self._served:
                await self._serve(service)

    def _on_service(self, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and before["spec"] == after["spec"]:
            return
        item = after or before
        assert item is not None
        work = self._serve(item) if after is not None else self._drop(item)
        self._background.start(work, f"service {item['metadata']['name']}")

    async def _serve(self, service: Object) -> None:
        """Open the ports that a Service has come to have, close the ones it has lost."""
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        spec = service["spec"]
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            await self._drop(service)
            return
        wanted = {port["port"]: port.get("targetPort") or port["port"] for port in spec.get("ports") or []}
        async with self._one_at_a_time:
            served = self._served.get((namespace, name))
            if served is None:
                given = spec.get("clusterIP") or "None"
                served = ServedService(namespace, given, self._choose_address(given))
            for number in served.ports.keys() - wanted.keys():
                served.ports.pop(number).close()
            for number, target in wanted.items():
                port = served.ports.setdefault(number, ServedPort(target, spec["selector"]))
                port.target, port.selector = target, spec["selector"]
                if not port.servers:
                    await self._open(served, number, port)
            self._served[namespace, name] = served
            self._write()

    async def _drop(self, service: Object) -> None:
        async with self._one_at_a_time:
            served = self._served.pop((service["metadata"]["namespace"], service["metadata"]["name"]), None)
            if served is not None:
                for port in served.ports.values():
                    port.close()
                self._write()

    def _choose_address(self, given: str) -> str:
        if given != "None" and ipaddress.ip_address(given).is_loopback:
            return given
        return next(self._made_up)

    async def _open(self, service: ServedService, number: int, port: ServedPort) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._forward(service.namespace, port, (reader, writer))

        local = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.servers.append(local)
        port.url = f"http://127.0.0.1:{local.sockets[0].getsockname()[1]}"
        try:
            port.servers.append(await asyncio.start_server(connected, service.address, number))
        except PermissionError as error:  # below 1024 and not root
            log.warning("port %s of a service is served on %s only: %s", number, port.url, error)
        except OSError as error:
            taken, service.address = service.address, next(self._made_up)
            log.warning("%s:%s is taken, so %s stands in for it: %s", taken, number, service.address, error)
            port.servers.append(await asyncio.start_server(connected, service.address, number))

    def _write(self) -> None:
        urls = {
            f"{namespace}/{name}:{number}": port.url
            for (namespace, name), service in self._served.items()
            for number, port in service.ports.items()
        }
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(urls, indent=1, sort_keys=True) + "\n")
        fresh.replace(self._file)

    async def _forward(
        self, namespace: str, port: ServedPort, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        """Carry one connection to the next ready pod that accepts it."""
        ready = endpoints(self._pods.objects.values(), namespace, port.selector, port.target)
        for _ in ready:
            address = ready[port.turn % len(ready)]
            port.turn += 1
            try:
                pod = await asyncio.open_connection(*address)
            except OSError:
                continue
            await carry(client, pod)
            return
        reset(client[1])

    async def close(self) -> None:
        for service in self._served.values():
            for port in service.ports.values():
                port.close()
        self._file.unlink(missing_ok=True)


def _made_up_addresses() -> Iterator[str]:
    """Yield addresses beside the API server's 127.96.0.0/12; others for kubelets that run side by side."""
    process = os.getpid()
    first = ipaddress.IPv4Address(f"127.{112 + (process >> 8) % 14}.{process % 256}.1")
    return (str(first + offset) for offset in itertools.count())
