"""Serve HTTP: find the route, ask for the key, call what answers.

A path that no route matches, or not with this method, is 404; a missing or wrong key is 401; an error nobody caught is
500 with an empty body, and its traceback is in the log. These are the answers of the Functions host.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from local.functions.runtime.rpc import Message, TypedData
from local.functions.runtime.worker import Function, InvocationFailed, Worker, text
from local.functions.trace import new_trace_parent
from local.functions.web.keys import Keys, Level
from local.functions.web.routes import RouteTable

log = logging.getLogger(__name__)

Endpoint = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
"""Answers a request, given its route parameters."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """An endpoint and the key level it asks for; `function` names the function whose own key is good too."""

    level: Level
    endpoint: Endpoint
    function: str = ""


class HttpServer:
    """The ASGI application."""

    def __init__(self, routes: RouteTable[Guarded], keys: Keys) -> None:
        self._routes = routes
        self._keys = keys

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = await self._answer(Request(scope, receive), scope)
        await response(scope, receive, send)

    async def _answer(self, request: Request, scope: Mapping[str, Any]) -> Response:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        found = self._routes.find(request.method, raw_path.decode("ascii", "replace").split("?")[0])
        if found is None:
            return Response(status_code=404)
        guarded, parameters = found
        presented = request.headers.get("x-functions-key") or request.query_params.get("code") or ""
        if not self._keys.allow(guarded.level, presented, guarded.function):
            return Response(status_code=401)
        try:
            return await guarded.endpoint(request, parameters)
        except Exception:
            log.exception("%s %s failed in the host", request.method, request.url.path)
            return Response(status_code=500)


class FunctionEndpoint:
    """Answers with an HTTP function of the app."""

    def __init__(self, worker: Worker, function: Function, client_configuration: str) -> None:
        self._worker = worker
        self._function = function
        self._clients = {name: text(client_configuration) for name in function.clients}

    async def __call__(self, request: Request, parameters: Mapping[str, str]) -> Response:
        """Invoke the function with the request and translate what it returns."""
        inputs = {self._function.trigger["name"]: await read_request(request, parameters)} | self._clients
        trace_parent = request.headers.get("traceparent") or new_trace_parent()
        try:
            returned = await self._worker.invoke(self._function, inputs, trace_parent=trace_parent)
        except InvocationFailed as error:
            log.error("the function %s raised %s\n%s", self._function.name, error, error.stack_trace)
            return Response(status_code=500)
        return build_response(returned)


async def read_request(request: Request, parameters: Mapping[str, str]) -> Message:
    """Translate a request for the worker; a header that came more than once is joined with commas."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return TypedData(
        http=Message(
            method=request.method,
            url=str(request.url),
            headers=headers,
            params=dict(parameters),
            query=dict(request.query_params),
            body=TypedData(bytes=await request.body()),
        )
    )


def build_response(returned: Message | None) -> Response:
    """Translate what a function returned: a response, or a bare value, or nothing."""
    if returned is None:
        return Response(status_code=204)
    http = returned.http
    if http is None:
        value = next((v for v in (returned.string, returned.json, returned.bytes) if v is not None), "")
        return Response(value, media_type="application/json" if returned.json is not None else "text/plain")
    body = http.body.bytes if http.body.bytes is not None else http.body.string or ""
    response = Response(body, status_code=int(http.status_code), headers=http.headers)
    for cookie in http.cookies or []:
        response.headers.append("set-cookie", _write_cookie(cookie))
    return response


def _write_cookie(cookie: Message) -> str:
    jar: SimpleCookie = SimpleCookie({cookie.name: cookie.value})
    morsel = jar[cookie.name]
    for attribute, field in (("domain", cookie.domain), ("path", cookie.path), ("max-age", cookie.max_age)):
        if field is not None and field.value not in ("", None):
            morsel[attribute] = int(field.value) if attribute == "max-age" else field.value
    for attribute, flag in (("secure", cookie.secure), ("httponly", cookie.http_only)):
        if flag is not None and flag.value:
            morsel[attribute] = True
    if cookie.same_site:
        morsel["samesite"] = cookie.same_site
    return morsel.OutputString()
