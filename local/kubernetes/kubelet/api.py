"""The Kubernetes API, as little of it as a kubelet needs: plain JSON objects, and mirrors fed by list and watch."""

import asyncio
import base64
import contextlib
import json
import logging
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

log = logging.getLogger(__name__)

type Object = dict[str, Any]
type OnChange = Callable[[Object | None, Object | None], None]
"""Called with an object before and after a change: None before when it is new, None after when it is gone."""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the API server is and how to prove who we are, from the current context of a kubeconfig."""

    server: str
    tls: ssl.SSLContext | None
    headers: Mapping[str, str]


def read_kubeconfig(path: Path) -> Credentials:
    """Read a kubeconfig with a token or a client certificate; raises ValueError naming what is missing."""
    config = yaml.safe_load(path.read_text())
    contexts = {entry["name"]: entry["context"] for entry in config.get("contexts") or []}
    context = contexts.get(config.get("current-context"))
    if context is None:
        raise ValueError(f"{path} has no current context")
    cluster = next(entry["cluster"] for entry in config["clusters"] if entry["name"] == context["cluster"])
    user = next(entry["user"] for entry in config["users"] if entry["name"] == context["user"])
    tls = _tls(cluster, user, path.parent) if cluster["server"].startswith("https:") else None
    token = user.get("token") or _read(user.get("tokenFile"), path.parent)
    if not token and not _pem(user, "client-certificate", path.parent):
        raise ValueError(f"{path} has neither a token nor a client certificate for its current user")
    return Credentials(cluster["server"].rstrip("/"), tls, {"Authorization": f"Bearer {token}"} if token else {})


def _tls(cluster: Object, user: Object, base: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority", base))
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", base), _pem(user, "client-key", base)
    if certificate and key:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:  # ssl loads certificates from files only
            pem.write(certificate + "\n" + key)
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _pem(entry: Object, key: str, base: Path) -> str | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return _read(entry.get(key), base)


def _read(path: str | None, base: Path) -> str | None:
    return (base / path).read_text().strip() if path else None


class Api:
    """An authenticated session with one API server; paths are the API's own, bodies and answers are plain JSON."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Api":
        connector = aiohttp.TCPConnector(ssl=self._credentials.tls or True, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=dict(self._credentials.headers), timeout=timeout
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "the session is entered first"
        return self._session

    @property
    def server(self) -> str:
        return self._credentials.server

    async def request(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json", **query: str
    ) -> Object:
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method, self.server + path, params=query, data=data, headers={"Content-Type": kind}
        ) as response:
            text = await response.text()
            if response.status >= 400:
                raise api_error(response.status, text)
            answer: Object = json.loads(text) if text else {}
            return answer

    async def get(self, path: str, **query: str) -> Object:
        return await self.request("GET", path, None, **query)

    async def create(self, path: str, body: Object) -> Object:
        return await self.request("POST", path, body)

    async def delete(self, path: str, body: Object | None = None) -> Object:
        return await self.request("DELETE", path, body)

    async def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch: lists are replaced whole, null removes."""
        return await self.request("PATCH", path, body, "application/merge-patch+json")

    async def create_missing(self, path: str, body: Object) -> None:
        """Create an object unless one of its name is there already."""
        with ignoring(409):
            await self.create(path, body)


def api_error(status: int, text: str) -> ApiError:
    """Translate an answer's body, a Status object or anything else, into an error."""
    try:
        body = json.loads(text)
        return ApiError(status, str(body.get("reason", "")), str(body.get("message", "")))
    except (ValueError, AttributeError):
        return ApiError(status, "", text[:200])


@contextlib.contextmanager
def ignoring(*statuses: int) -> Any:
    """Let API errors with these statuses pass: 404 of something already gone, 409 of something already there."""
    try:
        yield
    except ApiError as error:
        if error.status not in statuses:
            raise


@dataclass(slots=True)
class Mirror:
    """The objects of one collection, kept like the server's by list and watch; subscribers hear of every difference.

    A missed deletion is noticed at the next list, because that is compared with what was held.
    """

    api: Api
    path: str
    objects: dict[str, Object] = field(default_factory=dict)  # by uid
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    _subscribers: list[OnChange] = field(default_factory=list)

    def subscribe(self, on_change: OnChange) -> None:
        self._subscribers.append(on_change)

    def find(self, name: str, namespace: str | None = None) -> Object | None:
        for item in self.objects.values():
            if item["metadata"]["name"] == name and item["metadata"].get("namespace") == namespace:
                return item
        return None

    async def run(self) -> None:
        """List, then watch, for ever; starts over with a list after any error."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._watch(version)
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.warning("watching %s starts over: %r", self.path, error)
                await asyncio.sleep(0.5)

    async def _list(self) -> str:
        listed = await self.api.get(self.path)
        found = {item["metadata"]["uid"]: item for item in listed.get("items") or []}
        for uid in self.objects.keys() - found.keys():
            self._change(uid, None)
        for uid, item in found.items():
            self._change(uid, item)
        self.synced.set()
        return str(listed["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """Follow one watch to its end and return the version reached."""
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": "300"}
        async with self.api.session.get(self.api.server + self.path, params=query) as response:
            if response.status != 200:
                raise api_error(response.status, await response.text())
            pending = b""
            async for chunk in response.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in filter(None, lines):
                    version = self._event(json.loads(line))
        return version

    def _event(self, event: Object) -> str:
        item = event["object"]
        if event["type"] == "ERROR":
            raise ApiError(int(item.get("code", 0)), str(item.get("reason", "")), str(item.get("message", "")))
        if event["type"] != "BOOKMARK":
            self._change(item["metadata"]["uid"], None if event["type"] == "DELETED" else item)
        return str(item["metadata"]["resourceVersion"])

    def _change(self, uid: str, after: Object | None) -> None:
        before = self.objects.pop(uid, None)
        if after is not None:
            self.objects[uid] = after
        if before is None and after is None:
            return
        for tell in self._subscribers:
            try:
                tell(before, after)
            except Exception:  # one subscriber's bug must not stop the watch of the others
                log.exception("a subscriber of %s failed", self.path)
