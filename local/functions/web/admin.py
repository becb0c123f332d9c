"""The host's own endpoints: is it there, what is in it, run a timer now. All but the ping want the master key.

Source: https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.functions.app_settings import is_disabled
from local.functions.runtime.worker import Function
from local.functions.triggers.timers import Timers
from local.functions.web.http import Endpoint, Guarded
from local.functions.web.keys import Level
from local.functions.web.routes import Route, parse_template

Parameters = Mapping[str, str]


class AdminApi:
    """The endpoints under /admin."""

    def __init__(self, functions: Sequence[Function], timers: Timers) -> None:
        self._functions = {function.name: function for function in functions}
        self._timers = timers
        self._started = time.monotonic()
        self._running: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route[Guarded]]:
        """List the routes."""
        return [
            _route("GET", "", self.ping, "anonymous"),
            _route("GET", "admin/host/ping", self.ping, "anonymous"),
            _route("GET", "admin/host/status", self.read_status),
            _route("GET", "admin/functions", self.list_functions),
            _route("POST", "admin/functions/{name}", self.run_timer),
        ]

    async def ping(self, _request: Request, _parameters: Parameters) -> Response:
        """Answer that the host is there."""
        return Response(status_code=200)

    async def read_status(self, _request: Request, _parameters: Parameters) -> Response:
        """Say how the host is: it serves only when the app is indexed, so it runs."""
        uptime = int((time.monotonic() - self._started) * 1000)
        return JSONResponse({"id": "local", "state": "Running", "processUptime": uptime, "errors": []})

    async def list_functions(self, _request: Request, _parameters: Parameters) -> Response:
        """List the functions with their bindings."""
        return JSONResponse(
            [
                {"name": name, "isDisabled": is_disabled(name), "config": {"bindings": [*function.bindings]}}
                for name, function in self._functions.items()
            ]
        )

    async def run_timer(self, _request: Request, parameters: Parameters) -> Response:
        """Run a timer now, even a disabled one, without waiting for it."""
        function = self._functions.get(parameters["name"])
        if function is None:
            return Response(status_code=404)
        if function.kind != "timerTrigger":
            return JSONResponse({"Message": f"{function.name} is not a timer; only timers are run this way"}, 400)
        task = asyncio.create_task(self._timers.fire_now(function.name))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Response(status_code=202)


def _route(method: str, template: str, endpoint: Endpoint, level: Level = "admin") -> Route[Guarded]:
    return Route(parse_template(template), frozenset({method}), Guarded(level, endpoint))
