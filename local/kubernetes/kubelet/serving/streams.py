"""The kubelet's own HTTPS server, which the API server passes logs and exec on to, and where usage is read.

It listens on 127.0.0.1 and asks for no credentials: whoever may use this machine's loopback address can already do
what the pods can.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import WSMsgType, web

from local.kubernetes.kubelet.containers import Container
from local.kubernetes.kubelet.kubelet import Kubelet
from local.kubernetes.kubelet.logs import Wanted, since_seconds
from local.kubernetes.kubelet.options import ADDRESS
from local.kubernetes.kubelet.process.spawn import StartError
from local.kubernetes.kubelet.serving import metrics_api
from local.kubernetes.kubelet.serving.metrics import VolumeMeter, of_containers
from local.kubernetes.kubelet.serving.usage import UsageMeter
from local.kubernetes.model import selectors
from shared.rendering.prometheus_text import FORMAT

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32768


class Streams:
    """The server's routes."""

    def __init__(self, kubelet: Kubelet, usage: UsageMeter) -> None:
        self._kubelet, self._usage, self._volumes = kubelet, usage, VolumeMeter()

    def routes(self) -> list[web.RouteDef]:
        container = "{namespace}/{pod}/{container}"
        return [
            web.get("/healthz", self._health),
            web.get(f"/containerLogs/{container}", self._logs),
            web.route("*", f"/exec/{container}", self._exec),
            web.get("/metrics", self._metrics),
            web.get("/metrics/cadvisor", self._cadvisor),
            web.get("/stats/summary", self._summary),
            web.get(metrics_api.ROOT, self._metrics_resources),
            web.get(f"{metrics_api.ROOT}/pods", self._pod_metrics),
            web.get(f"{metrics_api.ROOT}/namespaces/{{namespace}}/pods", self._pod_metrics),
            web.get(f"{metrics_api.ROOT}/namespaces/{{namespace}}/pods/{{pod}}", self._one_pods_metrics),
        ]

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _summary(self, _: web.Request) -> web.Response:
        return web.json_response(self._usage.summary())

    async def _metrics(self, _: web.Request) -> web.Response:
        return _exposition(await asyncio.to_thread(self._volumes.read, self._kubelet.pods))

    async def _cadvisor(self, _: web.Request) -> web.Response:
        return _exposition(of_containers(self._usage.summary()["pods"]))

    async def _metrics_resources(self, _: web.Request) -> web.Response:
        return web.json_response(metrics_api.resources())

    async def _pod_metrics(self, request: web.Request) -> web.Response:
        wanted = selectors.parse_labels(request.query.get("labelSelector", ""))
        namespace = request.match_info.get("namespace")
        items = self._usage.pod_metrics(namespace, lambda labels: selectors.matches(wanted, labels))
        listed = {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetricsList", "metadata": {}, "items": items}
        return web.json_response(listed)

    async def _one_pods_metrics(self, request: web.Request) -> web.Response:
        place = request.match_info
        items = self._usage.pod_metrics(place["namespace"], lambda _: True)
        found = next((item for item in items if item["metadata"]["name"] == place["pod"]), None)
        if found is None:
            raise web.HTTPNotFound(text=f"pod {place['namespace']}/{place['pod']} is not measured on this node")
        return web.json_response({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics"} | found)

    def _find(self, request: web.Request) -> Container:
        place = request.match_info
        found = self._kubelet.find(place["namespace"], place["pod"], place["container"])
        if found is None:
            name = f"{place['container']} of pod {place['namespace']}/{place['pod']}"
            raise web.HTTPNotFound(text=f"container {name} is not on this node")
        return found

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        container, previous = self._find(request), request.query.get("previous") == "true"
        log = container.previous_log if previous else container.log
        if log is None:
            which = f'previous terminated container "{container.name}"' if previous else f'container "{container.name}"'
            raise web.HTTPBadRequest(text=f"{which} has no log: {container.status.state}")
        try:
            wanted = read_wanted(request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        async for part in log.read(wanted):
            await response.write(part)
        await response.write_eof()
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        container, query = self._find(request), request.query
        socket = web.WebSocketResponse(protocols=_PROTOCOLS, max_msg_size=0)
        if not socket.can_prepare(request).ok:
            raise web.HTTPBadRequest(text="this kubelet serves exec over WebSocket only, not SPDY")
        stdin = query.get("input", query.get("stdin")) in ("1", "true")
        command = query.getall("command", [])
        try:
            process = await container.enter(command, stdin=stdin)
        except StartError as error:
            raise web.HTTPInternalServerError(text=f"cannot exec in container {container.name}: {error}") from error
        await socket.prepare(request)
        feeding = asyncio.create_task(_feed(socket, process))
        try:
            await asyncio.gather(_pump(process.stdout, socket, _STDOUT), _pump(process.stderr, socket, _STDERR))
            code = await process.wait()
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(bytes([_STATUS]) + json.dumps(exit_status(code)).encode())
                await socket.close()
        finally:
            feeding.cancel()
            container.leave(process)
        return socket


def _exposition(text: str) -> web.Response:
    return web.Response(text=text, headers={"Content-Type": FORMAT})


async def _pump(stream: asyncio.StreamReader | None, socket: web.WebSocketResponse, channel: int) -> None:
    assert stream is not None
    while data := await stream.read(_CHUNK):
        with contextlib.suppress(
            ConnectionError
        ):  # nobody listens any more, but the command must not block on a full pipe
            await socket.send_bytes(bytes([channel]) + data)


async def _feed(socket: web.WebSocketResponse, process: asyncio.subprocess.Process) -> None:
    """Pass on standard input; when the client goes away, end the command."""
    async for message in socket:
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            continue
        data = message.data.encode() if isinstance(message.data, str) else message.data
        if process.stdin is None or not data:
            continue
        with contextlib.suppress(ConnectionError):
            if data[0] == _STDIN:
                process.stdin.write(data[1:])
                await process.stdin.drain()
            elif data[:2] == bytes([_CLOSE, _STDIN]):  # v5 only: half-close
                process.stdin.close()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def exit_status(code: int) -> dict[str, Any]:
    """Build what the status channel says.

    Source: k8s.io/apimachinery/pkg/util/remotecommand (NonZeroExitCodeReason).
    """
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    exit_code = code if code > 0 else 128 - code
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {exit_code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """Read the query of a log request; raises ValueError."""

    def number(name: str) -> int | None:
        return int(query[name]) if name in query else None

    since = datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else None
    if (seconds := number("sinceSeconds")) is not None:
        since = since_seconds(seconds)
    return Wanted(
        tail_lines=number("tailLines"),
        since=since,
        limit_bytes=number("limitBytes"),
        timestamps=query.get("timestamps") == "true",
        follow=query.get("follow") == "true",
    )


async def serve(streams: Streams, tls: ssl.SSLContext, port: int) -> tuple[web.AppRunner, int]:
    """Start the server; returns what stops it, and its port."""
    application = web.Application()
    application.add_routes(streams.routes())
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, ADDRESS, port, ssl_context=tls)
    await site.start()
    return runner, int(runner.addresses[0][1])
