"""What the API server passes on to a pod's node: logs, exec, usage; and to the pod itself: its HTTP port.

The kubelet is found as a real API server finds it: the pod's node, its InternalIP and the port in its status. Its
certificate is not checked, which is what kube-apiserver does without --kubelet-certificate-authority.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from local.kubernetes.model.kinds import NODES, POD_METRICS
from local.kubernetes.model.objects import Object, name_of, namespace_of, status_of
from local.kubernetes.model.status_errors import ApiError, bad_request
from local.kubernetes.registry.store import Key, Store

EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_LOG_OPTIONS = ("tailLines", "follow", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes")
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_CONNECT_SECONDS = 5.0
_METRICS_SECONDS = 5.0


class KubeletProxy:
    """Connections to kubelets and pods, over one client session."""

    def __init__(self, store: Store) -> None:
        self._store = store
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)

    async def close(self) -> None:
        await self._session.close()

    async def logs(self, request: web.Request, pod: Object) -> web.StreamResponse:
        container = choose_container(pod, request.query.get("container", ""))
        url = f"{self._kubelet_of(pod)}/containerLogs/{namespace_of(pod)}/{name_of(pod)}/{container}"
        options = {name: request.query[name] for name in _LOG_OPTIONS if name in request.query}
        async with _reached(self._session.get(url, params=options)) as answer:
            return await _pass_on(request, answer)

    async def exec(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Join the client's WebSocket to the kubelet's.

        The kubelet is asked first, so its refusal is still an HTTP answer.
        """
        container = choose_container(pod, request.query.get("container", ""))
        url = f"{self._kubelet_of(pod)}/exec/{namespace_of(pod)}/{name_of(pod)}/{container}"
        wanted = [("command", part) for part in request.query.getall("command", [])]
        wanted += [(_STREAMS[name], "1") for name in _STREAMS if request.query.get(name, "") in ("true", "True", "1")]
        offered = request.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "").split(",")
        protocols = [name for name in EXEC_PROTOCOLS if name in offered]
        if not protocols:
            raise bad_request(f"unable to upgrade: none of {', '.join(EXEC_PROTOCOLS)} was offered")
        connecting = self._session.ws_connect(url, params=wanted, protocols=protocols, max_msg_size=0)
        async with _reached(connecting) as kubelet:
            client = web.WebSocketResponse(protocols=[kubelet.protocol or protocols[0]], max_msg_size=0)
            await client.prepare(request)
            await _join(client, kubelet)
            return client

    async def pod_port(self, request: web.Request, pod: Object, port: int, path: str) -> web.StreamResponse:
        """Pass a GET on to a port of the pod, as `…/pods/<name>:<port>/proxy/<path>` does.

        Source: registry/core/pod/strategy.go, `ResourceLocation`. The real one refuses loopback addresses, too.
        """
        address = status_of(pod).get("podIP")
        if not address:
            raise bad_request("address not allowed")
        url = f"http://{address}:{port}/{path}"
        async with _reached(self._session.get(url, params=request.query)) as answer:
            return await _pass_on(request, answer, checked=False)

    async def pod_metrics(self, namespace: str) -> list[Object]:
        """Gather the usage of all pods from all nodes; a node that does not answer has none."""
        nodes = [name_of(node) for node in self._store.all_of(NODES)]
        gathered = await asyncio.gather(*(self._node_metrics(node) for node in nodes))
        items = [item for items in gathered for item in items if namespace in ("", item["metadata"]["namespace"])]
        return sorted(items, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]))

    async def _node_metrics(self, node: str) -> Sequence[Object]:
        try:
            url = f"{self._address_of(node)}/apis/{POD_METRICS.api_version}/pods"
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(_METRICS_SECONDS)) as answer:
                if answer.status != 200:
                    return ()
                found: Mapping[str, Any] = await answer.json()
                return found.get("items") or ()
        except (ApiError, aiohttp.ClientError, TimeoutError, ValueError):
            return ()

    def _kubelet_of(self, pod: Object) -> str:
        node = pod["spec"].get("nodeName")
        if not node:
            raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
        return self._address_of(node)

    def _address_of(self, name: str) -> str:
        node = self._store.get(Key(NODES, "", name))
        status = status_of(node) if node else {}
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port")
        address = next((a["address"] for a in status.get("addresses", ()) if a["type"] == "InternalIP"), None)
        if not port or not address:
            raise ApiError(500, f"no preferred addresses found; known addresses of node {name}: []")
        return f"https://{address}:{port}"


def choose_container(pod: Object, wanted: str) -> str:
    """Return the container that a request means: the one it names, or the only one beside init containers."""
    spec, name = pod["spec"], name_of(pod)
    containers = [str(container["name"]) for container in spec["containers"]]
    init_containers = [str(container["name"]) for container in spec.get("initContainers") or ()]
    if wanted and wanted not in containers + init_containers:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    if wanted or len(containers) == 1:
        return wanted or containers[0]
    choices = f"[{' '.join(containers)}]"
    if init_containers:
        choices += f" or one of the init containers: [{' '.join(init_containers)}]"
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: {choices}")


def split_port(name: str, pod_port: int = 80) -> tuple[str, int]:
    """Read the name in a proxy path: `pod`, `pod:8080` or `http:pod:8080`."""
    parts = name.split(":")
    if len(parts) == 3:
        parts = parts[1:]
    port = parts[1] if len(parts) == 2 else ""
    return parts[0], int(port) if port.isdigit() else pod_port


@asynccontextmanager
async def _reached(connecting: Any) -> AsyncIterator[Any]:
    """Turn what goes wrong on the way to a kubelet into the API server's own errors."""
    try:
        async with connecting as answer:
            yield answer
    except aiohttp.WSServerHandshakeError as error:
        code = error.status if error.status in (400, 403, 404) else 500
        raise ApiError(code, f"unable to upgrade: {error.message}") from error
    except aiohttp.ClientConnectionError as error:
        raise ApiError(500, f"error dialing backend: {error}", "InternalError") from error


async def _pass_on(request: web.Request, answer: aiohttp.ClientResponse, *, checked: bool = True) -> web.StreamResponse:
    """Stream an answer to the client; when `checked`, a refusal becomes a Status with the same code."""
    if checked and answer.status != 200:
        text = (await answer.text()).strip()
        raise ApiError(answer.status if answer.status in (400, 404) else 500, text)
    response = web.StreamResponse(status=answer.status)
    response.content_type = answer.content_type
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    return response


async def _join(client: web.WebSocketResponse, kubelet: aiohttp.ClientWebSocketResponse) -> None:
    """Pass messages both ways until the kubelet has nothing more to say or the client is gone."""
    to_kubelet = asyncio.create_task(_copy(client, kubelet))
    to_client = asyncio.create_task(_copy(kubelet, client))
    try:
        await asyncio.wait({to_client, to_kubelet}, return_when=asyncio.FIRST_COMPLETED)
        if to_kubelet.done() and not to_client.done():
            await kubelet.close()
        await to_client
    finally:
        to_kubelet.cancel()
        to_client.cancel()
    await client.close()


type _Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _copy(source: _Socket, sink: _Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
