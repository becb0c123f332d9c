"""Asking our server what the real one was asked: in a store of its own, over HTTP, at the same moment."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from fix_recordings import Case, Object, managed

from local.kubernetes.api_server.access import Tokens, Users
from local.kubernetes.api_server.request import parse_path
from local.kubernetes.api_server.rest import RestApi
from local.kubernetes.model.kinds import NAMESPACES, find_kind
from local.kubernetes.model.status_errors import ApiError, PageNotFound
from local.kubernetes.registry.registry import Registry
from local.kubernetes.registry.store import Key, Store

_TOKEN = "replay"
_LATER = "2026-11-26T12:00:00Z"  # when a case says nothing of the time: after all that was recorded
_MISSING_NAMESPACE = "no-such-namespace"


class Stage:
    """Our API over one store, without controllers: nothing happens but what is asked."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "state.db")
        self._now = _LATER
        registry = Registry(self.store, lambda: datetime.fromisoformat(self._now))
        self._runner = web.AppRunner(RestApi(registry, Users.of(Tokens(_TOKEN, "")), None).application())  # type: ignore[arg-type]

    async def __aenter__(self) -> "Stage":
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self._runner.addresses[0][1]}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()
        self.store.close()

    def place(self, obj: Object) -> None:
        """Put an object into the store exactly as it is, with its resourceVersion, if its kind is served."""
        resource = find_kind(obj["apiVersion"], obj["kind"])
        if resource is None:
            return
        metadata = obj["metadata"]
        namespace = metadata.get("namespace")
        if namespace and self.store.get(Key(NAMESPACES, "", namespace)) is None:
            self.place(_namespace(namespace))
        self.store.revision = int(metadata.get("resourceVersion", "1")) - 1
        self.store.put(resource, deepcopy(obj))

    async def ask(self, case: Case) -> tuple[int, Any]:
        """Send the request of a case; returns the code and the body."""
        self.store.revision = max(self.store.revision, 1_000_000)
        self._now = max((entry.get("time", "") for entry in managed(case.after)), default="") or _LATER
        headers = {"Authorization": f"Bearer {_TOKEN}", "User-Agent": f"{case.client}/1.0"}
        headers |= {"Content-Type": case.content} if case.content else {}
        body = None if case.request is None else json.dumps(case.request)
        async with self._session.request(case.method, case.path, data=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text


async def replay(case: Case, folder: Path) -> tuple[int, Any]:
    """Set the stage of a case and ask it; returns the code and the body."""
    async with Stage(folder) as stage:
        for obj in (*case.beside, *_standing(case)):
            stage.place(obj)
        _place_namespace(stage, case)
        if case.asked_first:
            await stage.ask(case.asked_first)
        return await stage.ask(case)


def _place_namespace(stage: Stage, case: Case) -> None:
    try:
        namespace = parse_path(case.path.partition("?")[0]).namespace
    except (ApiError, PageNotFound):
        return
    if namespace not in ("", _MISSING_NAMESPACE) and stage.store.get(Key(NAMESPACES, "", namespace)) is None:
        stage.place(_namespace(namespace))


def _namespace(name: str) -> Object:
    metadata = {"name": name, "uid": name, "labels": {"kubernetes.io/metadata.name": name}}
    status = {"phase": "Active"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {}, "status": status}


def _standing(case: Case) -> Iterator[Object]:
    """Return what stands in the cluster: `before`; of a GET what it answers, and things that it must leave out."""
    if case.method != "GET" or case.code != 200:
        if case.before:
            yield case.before
        return
    listed = case.after.get("items")
    kind = case.after["kind"].removesuffix("List")
    items = [case.after] if listed is None else [{**one, "kind": kind} for one in listed]
    for item in items:
        shown = {"apiVersion": case.after["apiVersion"], **item}
        yield shown
        yield {**shown, "metadata": {**shown["metadata"], "namespace": "elsewhere"}}
        if "labelSelector" in case.path:
            name = f"{shown['metadata']['name']}-without-labels"
            yield {**shown, "metadata": {**shown["metadata"], "name": name, "labels": {}}}


# ── comparing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ADDRESS = re.compile(r"(10|127)(\.\d+){3}")
# Two refusals quote Go structs and whole documents, which nobody reads; what is said of them is compared.
_STRUCT = re.compile(
    r'(spec\.template\.spec: |^)Invalid value: \{.*"(containers|Containers)":.*\}: (?=field is immutable)'
)
_DOCUMENT = re.compile(r'Invalid value: "\{.*\}": (?=json: cannot unmarshal)')


def comparable(answer: Any) -> Any:
    """Return an answer without what no two clusters have in common."""
    if not isinstance(answer, dict):
        return answer
    metadata = answer.get("metadata") or {}
    text = json.dumps(answer)
    if metadata.get("uid"):
        text = text.replace(metadata["uid"], "<uid>")
    if "generateName" in metadata and "creationTimestamp" in metadata:
        text = text.replace(metadata["name"], f"{metadata['generateName']}<generated>")
    return _without_volatile(json.loads(text))


def _without_volatile(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _without_volatile(child, key) for key, child in value.items() if key != "resourceVersion"}
    if isinstance(value, list):
        return [_without_volatile(child, name) for child in value]
    if not isinstance(value, str):
        return value
    if _TIME.fullmatch(value):
        return "<time>"
    if name in ("clusterIP", "clusterIPs") and _ADDRESS.fullmatch(value):
        return "<address>"
    return _DOCUMENT.sub("<document>: ", _STRUCT.sub("<struct>: ", value)) if name == "message" else value


def differences(real: Any, ours: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each difference, and both values."""
    if isinstance(real, dict) and isinstance(ours, dict):
        for name in sorted(real.keys() | ours.keys()):
            yield from differences(real.get(name, ...), ours.get(name, ...), f"{path}.{name}")
    elif isinstance(real, list) and isinstance(ours, list) and len(real) == len(ours):
        for index, pair in enumerate(zip(real, ours, strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif real != ours or type(real) is not type(ours):
        yield path, f"{path}: the real one {_shown(real)}, ours {_shown(ours)}"


def _shown(value: Any) -> str:
    return "has nothing" if value is ... else f"has {json.dumps(value)[:1000]}"
