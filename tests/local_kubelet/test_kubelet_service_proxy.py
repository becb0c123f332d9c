"""The proxy of Services with real sockets: turns, resets, taken addresses, ports that stay."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from local.kubernetes.kubelet.api import Api, Credentials, Mirror
from local.kubernetes.kubelet.background import Background
from local.kubernetes.kubelet.network.service_proxy import ServiceProxy

NETWORK = f"127.{80 + os.getpid() % 16}.{os.getpid() // 16 % 256}"
CLUSTER_IP = f"{NETWORK}.200"


def pod(name: str, ip: str, app: str = "web", ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ollama", "uid": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": ready}]},
    }


def service(app: str = "web", cluster_ip: str = CLUSTER_IP, port: int = 8080) -> dict[str, Any]:
    spec = {"selector": {"app": app}, "clusterIP": cluster_ip, "ports": [{"port": port, "targetPort": "http"}]}
    return {"metadata": {"name": "web", "namespace": "ollama", "uid": "s"}, "spec": spec}


async def say(host: str, port: int) -> bytes:
    """Send a line, end our side, return all that comes back."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"hello\n")
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


class World:
    """Three pods that answer with their name, and a proxy."""

    def __init__(self, directory: Path) -> None:
        api = Api(Credentials("http://127.0.0.1:1", None, {}))
        self.file = directory / "services.json"
        self.services, self.pods = Mirror(api, "/services"), Mirror(api, "/pods")
        self.background = Background()
        self.proxy = ServiceProxy(api, self.background, self.file, services=self.services, pods=self.pods)
        self._servers: list[asyncio.Server] = []

    async def serve_pods(self) -> None:
        for number in (1, 2, 3):
            name, ip = f"p{number}", f"{NETWORK}.{number}"
            self._servers.append(await asyncio.start_server(self._answers(name), ip, 8080))
            self.pods.objects[name] = pod(name, ip)

    def _answers(self, name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = await reader.read()  # to the end: a client that has ended its side still hears the answer
            writer.write(asked.strip() + b" from " + name.encode())
            writer.close()

        return answer

    async def change(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        self.proxy._on_service(before, after)
        await asyncio.gather(*self.background._tasks)

    @property
    def local_port(self) -> int:
        return int(json.loads(self.file.read_text())["ollama/web:8080"].rpartition(":")[2])

    async def close(self) -> None:
        await self.proxy.close()
        for server in self._servers:
            server.close()


def played(directory: Path, scene: Callable[[World], Awaitable[None]]) -> None:
    async def play() -> None:
        world = World(directory)
        await world.serve_pods()
        try:
            await asyncio.wait_for(scene(world), 20)
        finally:
            await world.close()

    asyncio.run(play())


def test_pods_take_turns_and_unready_ones_are_left_out(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await world.change(None, service())
        for host, port in ((CLUSTER_IP, 8080), ("127.0.0.1", world.local_port)):
            answers = [await say(host, port) for _ in range(6)]
            assert sorted(answers) == [b"hello from p%d" % number for number in (1, 1, 2, 2, 3, 3)]
        world.pods.objects["p2"] = pod("p2", f"{NETWORK}.2", ready="False")
        assert {await say(CLUSTER_IP, 8080) for _ in range(4)} == {b"hello from p1", b"hello from p3"}

    played(tmp_path, scene)


def test_a_pod_that_does_not_accept_is_passed_over(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await world.change(None, service())
        world._servers[0].close()
        assert {await say(CLUSTER_IP, 8080) for _ in range(4)} == {b"hello from p2", b"hello from p3"}

    played(tmp_path, scene)


def test_without_a_ready_pod_a_connection_is_reset(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await world.change(None, service(app="nobody"))
        try:
            assert await say(CLUSTER_IP, 8080) == b""
        except ConnectionError:
            return
        raise AssertionError("the connection was closed in order, as if somebody had answered nothing")

    played(tmp_path, scene)


def test_a_services_local_port_stays_while_its_selector_changes(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        first, second = service(), service(app="other")
        await world.change(None, first)
        port = world.local_port
        world.pods.objects["p3"] = pod("p3", f"{NETWORK}.3", app="other")
        await world.change(first, second)
        assert world.local_port == port
        assert {await say("127.0.0.1", port) for _ in range(3)} == {b"hello from p3"}
        await world.change(second, None)
        assert json.loads(world.file.read_text()) == {}
        try:
            await say("127.0.0.1", port)
        except ConnectionError:
            return
        raise AssertionError("the port of a deleted Service is still served")

    played(tmp_path, scene)


def test_an_address_that_is_taken_or_not_ours_to_serve_is_replaced(tmp_path: Path) -> None:
    """Two rehearsals hand out the same ClusterIPs; a real cluster's are not loopback addresses at all."""

    async def scene(world: World) -> None:
        taken = await asyncio.start_server(world._answers("stranger"), CLUSTER_IP, 8080)
        before: dict[str, Any] | None = None
        for given in (CLUSTER_IP, "10.0.0.7", "None"):
            after = service(cluster_ip=given)
            await world.change(before, None) if before else None
            await world.change(None, after)
            addresses = world.proxy.addresses()
            served = addresses["ollama", "web"]
            assert served not in (CLUSTER_IP, "10.0.0.7")
            assert addresses.get(("", given), served) == served
            assert (await say(served, 8080)).startswith(b"hello from p")
            before = after
        taken.close()

    played(tmp_path, scene)
