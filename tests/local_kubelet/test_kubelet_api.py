"""The kubelet's API client against a small server: credentials, list and watch, missed changes."""

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from local.kubernetes.kubelet.api import Api, ApiError, Mirror, ignoring, read_kubeconfig


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def kubeconfig(directory: Path, server: str, user: dict[str, str], cluster: dict[str, str] | None = None) -> Path:
    path = directory / "kubeconfig"
    body = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(body))
    return path


async def served(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> tuple[web.AppRunner, int]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, int(runner.addresses[0][1])


def test_a_client_certificate_is_presented(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    own = authority.issue_cert("node@example.org")

    def encoded(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.json_response({"seen": bool(request.transport.get_extra_info("peercert"))})

    async def run() -> None:
        runner, port = await served(handler, context)
        user = {
            "client-certificate-data": encoded(own.cert_chain_pems[0].bytes()),
            "client-key-data": encoded(own.private_key_pem.bytes()),
        }
        trusted = {"certificate-authority-data": encoded(authority.cert_pem.bytes())}
        credentials = read_kubeconfig(kubeconfig(tmp_path, f"https://127.0.0.1:{port}", user, trusted))
        async with Api(credentials) as api:
            assert await api.get("/x") == {"seen": True}
        await runner.cleanup()

    asyncio.run(run())


def test_a_kubeconfig_without_credentials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a token nor a client certificate"):
        read_kubeconfig(kubeconfig(tmp_path, "http://127.0.0.1:1", {}))


def test_errors_carry_the_servers_reason(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t"
        status = {"kind": "Status", "reason": "AlreadyExists", "message": "it is there"}
        return web.json_response(status, status=409)

    async def run() -> None:
        runner, port = await served(handler)
        async with Api(read_kubeconfig(kubeconfig(tmp_path, f"http://127.0.0.1:{port}", {"token": "t"}))) as api:
            with pytest.raises(ApiError, match="409 AlreadyExists: it is there"):
                await api.create("/x", {})
            with ignoring(409):
                await api.create("/x", {})
            with pytest.raises(ApiError), ignoring(404):
                await api.create("/x", {})
        await runner.cleanup()

    asyncio.run(run())


def test_a_mirror_follows_and_notices_what_it_missed(tmp_path: Path) -> None:
    """First list: a and b. The watch changes a, then expires (410). The second list has c and no b: both are told."""
    lists = [[item("a", 1), item("b", 2)], [item("a", 5), item("c", 6)]]
    changed: list[tuple[str, str]] = []
    relisted = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            found = lists.pop(0) if len(lists) > 1 else lists[0]
            return web.json_response({"kind": "XList", "metadata": {"resourceVersion": "9"}, "items": found})
        response = web.StreamResponse()
        await response.prepare(request)
        if len(lists) == 1 and not changed.count(("changed", "a")):
            event = json.dumps({"type": "MODIFIED", "object": item("a", 3)}).encode() + b"\n"
            await response.write(event[:10])
            await asyncio.sleep(0.01)
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}
            await response.write(event[10:] + json.dumps(gone).encode() + b"\n")
        else:
            await asyncio.sleep(5)
        return response

    def tell(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        kind = "added" if before is None else "removed" if after is None else "changed"
        changed.append((kind, (after or before or {})["metadata"]["name"]))
        if changed[-1] == ("added", "c"):
            relisted.set()
        if kind == "added":
            raise RuntimeError("a subscriber's bug stops nothing")

    async def run() -> None:
        runner, port = await served(handler)
        async with Api(read_kubeconfig(kubeconfig(tmp_path, f"http://127.0.0.1:{port}", {"token": "t"}))) as api:
            mirror = Mirror(api, "/x")
            mirror.subscribe(tell)
            following = asyncio.create_task(mirror.run())
            await asyncio.wait_for(relisted.wait(), 5)
            following.cancel()
            assert sorted(each["metadata"]["name"] for each in mirror.objects.values()) == ["a", "c"]
            assert mirror.find("c") == item("c", 6)
        await runner.cleanup()

    asyncio.run(run())
    assert changed[:3] == [("added", "a"), ("added", "b"), ("changed", "a")]
    assert set(changed[3:]) == {("removed", "b"), ("changed", "a"), ("added", "c")}
