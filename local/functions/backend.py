"""What decides which durable function runs when: our engine, or the real extension in its place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from durabletask.internal import orchestrator_service_pb2_grpc as stubs

from local.functions.durable_host.bridge import Bridge
from local.functions.durable_host.program import DurableHost
from local.functions.triggers.extension import DurableExtension, read_limits
from local.functions.triggers.invocation import DurableFunctions, Invoker

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]

type NewInvoker = Callable[[str], Invoker]
"""Makes the one that runs functions, given the address where the durable client is served."""


class Work(Protocol):
    """Takes durable work and has it done."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def drain(self, seconds: float) -> None:
        """Give what runs a last chance to end; the rest is delivered again."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An open one. `stub`: its gRPC interface, which listens at `address`."""

    address: str
    stub: Any
    invoker: Invoker
    work: Work


@contextlib.asynccontextmanager
async def open_engine(
    address: str, functions: DurableFunctions, new_invoker: NewInvoker, host_settings: Mapping[str, Any]
) -> AsyncIterator[Backend]:
    """Our engine, which listens at `address`, in a process of its own."""
    async with _connect(address) as stub:
        invoker = new_invoker(address)
        work = DurableExtension(functions, invoker, stub, limits=read_limits(host_settings))
        yield Backend(address, stub, invoker, work)


@contextlib.asynccontextmanager
async def open_durable_host(
    program: DurableHost, functions: DurableFunctions, new_invoker: NewInvoker
) -> AsyncIterator[Backend]:
    """The real extension, in a child of this process. What it asks for before it said where it listens waits."""
    invoker: asyncio.Future[Invoker] = asyncio.get_running_loop().create_future()
    bridge = Bridge(functions, invoker)
    try:
        address = await program.start(functions.all(), await bridge.open())
        invoker.set_result(new_invoker(address))
        async with _connect(address) as stub:
            yield Backend(address, stub, invoker.result(), program)
    finally:
        await program.drain(0)
        await bridge.close()


@contextlib.asynccontextmanager
async def _connect(address: str) -> AsyncIterator[Any]:
    new_stub: Callable[..., Any] = stubs.TaskHubSidecarServiceStub
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield new_stub(channel)
