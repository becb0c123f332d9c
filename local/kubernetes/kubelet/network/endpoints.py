"""Where a Service's connections go: the ready pods that its selector finds, and the carrying itself."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Mapping

from local.kubernetes.kubelet.api import Object

_CHUNK = 65536


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def endpoints(
    pods: Iterable[Object], namespace: str, selector: Mapping[str, str], target: int | str
) -> list[tuple[str, int]]:
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


async def carry(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter], pod: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Carry both directions until the pod has said everything, also to a client that has no more to say."""
    asking = asyncio.create_task(_carry_one_way(client[0], pod[1]))
    try:
        await _carry_one_way(pod[0], client[1])
    except OSError:
        reset(client[1])
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for writer in (pod[1], client[1]):
            writer.close()


async def _carry_one_way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset, as if nothing had listened."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
