"""The Functions host: index the app, then serve its HTTP routes, timers and durable functions until asked to stop.

Start-up is all or nothing: bad keys, faults, routes or an app the worker rejects end the process with an error before
it says `ready`. At SIGTERM it stops taking work, gives what runs a moment, and leaves the rest to be delivered again.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import uvicorn

from local.functions.app_settings import is_disabled, load_settings, read_host_settings
from local.functions.backend import Backend, Work, open_durable_host, open_engine
from local.functions.durable_host.program import DurableHost, Setting, find_program
from local.functions.faults import Faults
from local.functions.runtime.worker import Function, InvocationFailed, Worker, encoded, text
from local.functions.trace import new_trace_parent
from local.functions.triggers.durable_client import client_configuration
from local.functions.triggers.invocation import DurableFunctions, Invoker, sort_durable
from local.functions.triggers.timers import Timers
from local.functions.web.admin import AdminApi
from local.functions.web.http import FunctionEndpoint, Guarded, HttpServer
from local.functions.web.keys import load_keys, read_level
from local.functions.web.management import ManagementApi
from local.functions.web.routes import Route, RouteTable, parse_template
from shared.errors import ConfigurationError

log = logging.getLogger(__name__)

DRAIN_SECONDS = 1.5
"""What running functions are given at SIGTERM; an activity that is cut off is delivered again."""

SERVED = frozenset({"httpTrigger", "timerTrigger", "orchestrationTrigger", "activityTrigger", "entityTrigger"})


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What the command line says. `engine`: its address; or `storage`: the real extension's, as a connection string."""

    app: Path
    engine: str
    storage: str
    port: int
    keys: Path
    faults: Path | None
    timers: Path


def run_host(options: HostOptions) -> None:
    """Serve until SIGTERM or SIGINT, then end the process. Raises ConfigurationError before it is ready."""
    ready, sys.stdout = sys.stdout, sys.stderr  # what functions print must not follow the ready line
    load_settings(options.app)
    host = Host(options)
    for chatty in ("azure.functions", "uvicorn", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(host.serve(ready))
    logging.shutdown()
    os._exit(1 if host.broken else 0)  # threads of functions that still run would hold the process


class Host:
    """One host with one app."""

    def __init__(self, options: HostOptions) -> None:
        self._settings = read_host_settings(options.app)
        self._keys = load_keys(options.keys)
        self._faults = Faults(options.faults)
        self._options = options
        self._listener = _listen(options.port)
        self._url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._worker = Worker(options.app.resolve())
        self._client = self._durable_address = ""
        self.broken = False

    async def serve(self, ready: TextIO) -> None:
        """Index the app, open what runs durable functions, say `ready`, serve, drain."""
        functions = await self._worker.start()
        for function in functions:
            if function.kind not in SERVED:
                log.warning("the function %s is not run here: this host has no %s", function.name, function.kind)
        enabled = [function for function in functions if not is_disabled(function.name)]
        durable = sort_durable(enabled)
        async with self._open_backend(durable) as backend:
            self._client, self._durable_address = backend.invoker.client, backend.address
            management = ManagementApi(backend.stub, self._client, durable.orchestrators.__contains__)
            timers = Timers([f for f in functions if f.kind == "timerTrigger"], self._fire, self._options.timers)
            admin = AdminApi(functions, timers)
            table = RouteTable([*management.routes(), *admin.routes(), *self._app_routes(enabled)])
            await self._serve(HttpServer(table, self._keys), backend.work, timers, ready)

    def _open_backend(self, durable: DurableFunctions) -> contextlib.AbstractAsyncContextManager[Backend]:
        options = self._options
        if options.engine:
            return open_engine(options.engine, durable, self._new_invoker, self._settings)
        setting = Setting(find_program(), options.storage, options.app.resolve() / "host.json", options.keys.parent)
        return open_durable_host(DurableHost(setting), durable, self._new_invoker)

    def _new_invoker(self, address: str) -> Invoker:
        hub = self._settings.get("extensions", {}).get("durableTask", {}).get("hubName", "TestHubName")
        client = client_configuration(self._url, address, hub, self._keys.system)
        return Invoker(self._worker, client, self._faults)

    async def _serve(self, server: HttpServer, work: Work, timers: Timers, ready: TextIO) -> None:
        background = [asyncio.create_task(work.run()), asyncio.create_task(timers.run(is_disabled))]
        for task in background:
            task.add_done_callback(self._stop_when_broken)
        try:
            await self._serve_http(server, ready)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await work.drain(DRAIN_SECONDS)

    def _stop_when_broken(self, task: asyncio.Task[None]) -> None:
        """End the host when a part of it has failed: half a host would look alive and do nothing."""
        if not task.cancelled() and (error := task.exception()):
            log.critical("the host has a bug and ends", exc_info=error)
            self.broken = True
            signal.raise_signal(signal.SIGTERM)

    async def _serve_http(self, server: HttpServer, ready: TextIO) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # uvicorn handles it, and raises it again when it has stopped
        config = uvicorn.Config(server, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2)
        config.load()
        announcement = f"ready {json.dumps({'url': self._url, 'durable': self._durable_address})}"
        await _AnnouncingServer(config, lambda: print(announcement, file=ready, flush=True)).serve([self._listener])

    def _app_routes(self, functions: Sequence[Function]) -> list[Route[Guarded]]:
        prefix = self._settings.get("extensions", {}).get("http", {}).get("routePrefix", "api").strip("/")
        return [self._app_route(prefix, function) for function in functions if function.kind == "httpTrigger"]

    def _app_route(self, prefix: str, function: Function) -> Route[Guarded]:
        trigger = function.trigger
        template = parse_template(f"{prefix}/{str(trigger.get('route') or function.name).strip('/')}")
        methods = frozenset(str(method).upper() for method in trigger.get("methods") or ())
        endpoint = FunctionEndpoint(self._worker, function, self._client)
        return Route(template, methods, Guarded(read_level(trigger.get("authLevel")), endpoint, function.name))

    async def _fire(self, function: Function, document: str) -> None:
        """Invoke a timer function; what it raises is logged, and the timer goes on."""
        inputs = {function.trigger["name"]: encoded(document)} | {name: text(self._client) for name in function.clients}
        try:
            await self._worker.invoke(function, inputs, trace_parent=new_trace_parent())
        except InvocationFailed as error:
            log.error("the timer %s raised %s\n%s", function.name, error, error.stack_trace)


class _AnnouncingServer(uvicorn.Server):
    """Calls back once requests are answered."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce it."""
        await super().startup(sockets)
        self._announce()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        hint = "Stop what listens there, or choose another --port."
        raise ConfigurationError(f"port {port} on 127.0.0.1 cannot be used: {error}", hint=hint) from error
    listener.listen(128)
    return listener
