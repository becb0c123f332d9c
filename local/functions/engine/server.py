"""Serve the engine in its own process, on loopback only."""

import asyncio
import json
import logging
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import grpc
from durabletask.internal import orchestrator_service_pb2_grpc as stubs

from local.functions.engine.hub import Hub
from local.functions.engine.service import EngineService
from local.functions.engine.store import Store
from shared.errors import ConfigurationError

log = logging.getLogger(__name__)

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a history carries every result of an orchestration
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second engine on the same port is an error, not a silent split
]


def open_store(path: Path, hub: Hub) -> Store:
    """Open the engine's file. Raises ConfigurationError when another engine holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Store(path, hub)
    except sqlite3.DatabaseError as error:
        hint = "Stop the engine that uses this file, delete the file if it is old, or give another one with --db."
        raise ConfigurationError(f"{path} cannot be opened: {error}", hint=hint) from error


async def serve(path: Path, port: int, hub: Hub) -> None:
    """Serve until SIGTERM or SIGINT; say `ready` on stdout once calls are answered."""
    store = open_store(path, hub)
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    add_to_server: Callable[..., None] = stubs.add_TaskHubSidecarServiceServicer_to_server
    add_to_server(EngineService(store), server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        hint = "Stop what listens there, or choose another --port."
        raise ConfigurationError(f"port {port} on 127.0.0.1 cannot be used: {error}", hint=hint) from error
    await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("ready", json.dumps({"address": f"127.0.0.1:{bound}"}), flush=True)
    await stop.wait()
    await server.stop(grace=0.2)
    store.close()
