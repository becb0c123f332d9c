"""The way back from the program to the app: a POST runs one durable function in the worker.

    POST /bridge/FUNCTION   what the function is given
    200 {"ok": true, "kind": "json" | "string", "value": …}
        {"ok": false, "message": "Type: text", "stack": …}

The value of an orchestrator or an entity is protobuf in base64, that of an activity JSON or a bare string.
"""

import asyncio
import json

from aiohttp import web

from local.functions.faults import Outcome
from local.functions.runtime.worker import InvocationFailed
from local.functions.triggers.invocation import DurableFunctions, Invoker

LARGEST_BODY = 1 << 30
"""Bytes: a request carries a whole history."""


class Bridge:
    """Serves the functions on loopback, on a port of its own."""

    def __init__(self, functions: DurableFunctions, invoker: asyncio.Future[Invoker]) -> None:
        self._invoker = invoker
        self._functions = {function.name: function for function in functions.all()}
        self._called = {function.name: name for name, function in functions.activities.items()}
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_post("/bridge/{name}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def open(self) -> str:
        """Begin to serve; returns the URL before a function's name."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/bridge"

    async def close(self) -> None:
        """Stop; functions that run are cut off, and are delivered again."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        outcome = await self._run(request.match_info["name"], await request.text())
        if outcome.failed:
            message = f"{outcome.error_type}: {outcome.message}"
            return web.json_response({"ok": False, "message": message, "stack": outcome.stack_trace})
        return web.json_response(
            {"ok": True, "kind": "string" if outcome.is_text else "json", "value": outcome.result}, dumps=json.dumps
        )

    async def _run(self, name: str, given: str) -> Outcome:
        function, invoker = self._functions[name], await asyncio.shield(self._invoker)
        if name in self._called:
            return await invoker.act(function, self._called[name], given)
        try:
            return Outcome(await invoker.exchange(function, given), is_text=True)
        except InvocationFailed as error:
            return Outcome(None, error.error_type, error.message, error.stack_trace)
