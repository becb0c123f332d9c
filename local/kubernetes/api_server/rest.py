"""The API over HTTP: from a request to the registry and back.

Every refusal leaves as a `Status` object with the matching HTTP code. Paths, verbs and bodies are those of a real
kube-apiserver, as far as the kinds in `kinds.py` reach.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import web

from local.kubernetes.api_server import eviction, kubelet_proxy, listing, patching, reviews, scale
from local.kubernetes.api_server.access import Action, User, Users, refusal
from local.kubernetes.api_server.bodies import read_any, read_object, read_options
from local.kubernetes.api_server.kubelet_proxy import KubeletProxy
from local.kubernetes.api_server.request import Options, Target, parse_path
from local.kubernetes.api_server.watch import WatchRequest, watch
from local.kubernetes.model import status_errors
from local.kubernetes.model.kinds import (
    ACCESS_REVIEWS,
    DELETE_OPTIONS,
    EVICTION,
    POD_METRICS,
    SCALE,
    SUBJECT_REVIEWS,
    discovery_document,
)
from local.kubernetes.model.objects import Object, uid_of
from local.kubernetes.model.schema import SCHEMA_VERSION
from local.kubernetes.model.status_errors import ApiError, PageNotFound, bad_request
from local.kubernetes.registry.registry import Registry
from local.kubernetes.registry.store import Key

log = logging.getLogger(__name__)

_LARGEST_BODY_BYTES = 3 * 1024 * 1024  # Source: kube-apiserver's limit on request bodies
_HEALTH_PATHS = ("/readyz", "/livez", "/healthz")
_VERSION = {
    "major": "1",
    "minor": SCHEMA_VERSION.split(".")[1],
    "gitVersion": f"v{SCHEMA_VERSION}",
    "platform": "linux/amd64",
    **dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion"), ""),
}

type Respond = Callable[[web.Request, Target, Options, User], Awaitable[web.StreamResponse]]


class RestApi:
    """The HTTP face of a registry."""

    def __init__(self, registry: Registry, users: Users, kubelets: KubeletProxy) -> None:
        self._registry = registry
        self._users = users
        self._kubelets = kubelets
        self._collection: Mapping[str, Respond] = {"GET": self._list, "POST": self._create, "DELETE": self._delete_many}
        self._object: Mapping[str, Respond] = {
            "GET": self._get,
            "PUT": self._replace,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        self._subresources: Mapping[tuple[str, str], Respond] = {
            ("scale", "GET"): self._get_scale,
            ("scale", "PUT"): self._set_scale,
            ("scale", "PATCH"): self._set_scale,
            ("eviction", "POST"): self._evict,
            ("log", "GET"): self._logs,
            ("exec", "GET"): self._exec,
            ("exec", "POST"): self._exec,
            ("proxy", "GET"): self._proxy,
            ("status", "GET"): self._get,
            ("status", "PUT"): self._replace,
            ("status", "PATCH"): self._patch,
            ("finalize", "PUT"): self._replace,
        }

    def application(self) -> web.Application:
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except ApiError as error:
            return web.json_response(error.status(), status=error.code)
        except PageNotFound:
            return web.Response(text="404 page not found\n", status=404)
        except web.HTTPRequestEntityTooLarge:
            too_large = ApiError(413, f"Request entity too large: limit is {_LARGEST_BODY_BYTES}")
            return web.json_response(too_large.status(), status=too_large.code)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return web.json_response(ApiError(500, "the local cluster has a bug; see its log").status(), status=500)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        user = self._users.find(request.headers.get("Authorization"))
        if user is None:
            raise ApiError(401, "Unauthorized")
        path = request.path.rstrip("/")
        fixed = _fixed_answer(path)
        if fixed is not None:
            if not user.may_read(path):
                why = f'User "{user.name}" cannot get path "{request.path}"'
                raise ApiError(403, f"forbidden: {why}", details={})
            return fixed
        target = parse_path(request.path)
        options = Options(request.query, request.headers.get("User-Agent", ""))
        self._authorize(user, target.action(request.method, watch=options.is_watch), target)
        return await self._respond(request.method, target)(request, target, options, user)

    def _authorize(self, user: User, action: Action, target: Target) -> None:
        verbs = ("get", "create") if action.resource == "pods/exec" else (action.verb,)
        for verb in verbs:
            wanted = Action(verb, action.group, action.resource, action.namespace, action.name)
            if not user.may(wanted):
                raise status_errors.forbidden(target.resource, target.name, refusal(user, wanted))

    def _respond(self, method: str, target: Target) -> Respond:
        respond: Respond | None
        if target.resource in (ACCESS_REVIEWS, SUBJECT_REVIEWS):
            respond = self._review if method == "POST" else None
        elif target.resource is POD_METRICS:
            respond = self._pod_metrics if method == "GET" else None
        elif target.subresource:
            respond = self._subresources.get((target.subresource, method))
        else:
            respond = (self._object if target.name else self._collection).get(method)
        if respond is None:
            raise status_errors.method_not_allowed()
        return respond

    # ── collections ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _list(self, request: web.Request, target: Target, options: Options, _user: User) -> web.StreamResponse:
        if options.is_watch:
            return await self._watch(request, target, options)
        return _json(listing.list_objects(self._registry.store, target, options))

    async def _watch(self, request: web.Request, target: Target, options: Options) -> web.StreamResponse:
        wanted = WatchRequest(
            target.resource,
            options.picks(target),
            options.revision,
            options.number("timeoutSeconds"),
            bookmarks=options.flag("allowWatchBookmarks"),
            initial_events_end=options.flag("sendInitialEvents"),
        )
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError):  # the client has gone, which is how most watches end
            async for event in watch(self._registry.store, wanted):
                await response.write(json.dumps(event).encode() + b"\n")
        return response

    async def _create(self, request: web.Request, target: Target, options: Options, _user: User) -> web.StreamResponse:
        given, warnings = options.check(await read_object(request, target.resource), target.resource)
        created = self._registry.create(target.resource, target.namespace, given, options.writer)
        return _json(created, 201, warnings)

    async def _delete_many(self, request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        deletion = options.deletion(await read_options(request, DELETE_OPTIONS))
        return _json(listing.delete_objects(self._registry, target, options.picks(target), deletion))

    # ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _get(self, _request: web.Request, target: Target, _options: Options, _user: User) -> web.Response:
        return _json(self._registry.get(target.key))

    async def _replace(self, request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        given, warnings = options.check(await read_object(request, target.resource), target.resource)
        name = given.get("metadata", {}).get("name")
        if name != target.name:
            why = f"the name of the object ({name or ''}) does not match the name on the URL ({target.name})"
            raise bad_request(why)
        return _json(self._registry.update(target.key, given, options.writer, target.subresource), 200, warnings)

    async def _patch(self, request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        body = await read_any(request)
        if request.content_type == patching.APPLY:
            applied, is_new = patching.apply_object(self._registry, target, body, options)
            return _json(applied, 201 if is_new else 200)
        patched, warnings = patching.patch_object(self._registry, target, body, request.content_type, options)
        return _json(patched, 200, warnings)

    async def _delete(self, request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        obj, is_gone = self._registry.delete(target.key, options.deletion(await read_options(request, DELETE_OPTIONS)))
        if is_gone and not target.resource.returns_deleted_object:
            return _json(status_errors.success(target.resource, target.name, uid_of(obj)))
        return _json(obj)

    # ── subresources ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _get_scale(self, _request: web.Request, target: Target, _options: Options, _user: User) -> web.Response:
        return _json(scale.scale_of(self._registry.get(target.key)))

    async def _set_scale(self, request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        media_type = request.content_type if request.method == "PATCH" else None
        body = await read_any(request) if media_type else (await read_object(request, SCALE)).value
        return _json(scale.set_scale(self._registry, target, body, options, media_type=media_type))

    async def _evict(self, request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        deletion = options.deletion((await read_options(request, EVICTION)).get("deleteOptions") or {})
        return _json(eviction.evict(self._registry, target.key, deletion), 201)

    async def _logs(self, request: web.Request, target: Target, _options: Options, _user: User) -> web.StreamResponse:
        return await self._kubelets.logs(request, self._registry.get(target.key))

    async def _exec(self, request: web.Request, target: Target, _options: Options, _user: User) -> web.StreamResponse:
        return await self._kubelets.exec(request, self._registry.get(target.key))

    async def _proxy(self, request: web.Request, target: Target, _options: Options, _user: User) -> web.StreamResponse:
        name, port = kubelet_proxy.split_port(target.name)
        pod = self._registry.get(Key(target.resource, target.namespace, name))
        return await self._kubelets.pod_port(request, pod, port, target.rest)

    # ── what is not stored ───────────────────────────────────────────────────────────────────────────────────────

    async def _review(self, request: web.Request, target: Target, _options: Options, user: User) -> web.Response:
        body = await read_options(request, target.resource)
        if target.resource is ACCESS_REVIEWS:
            return _json(reviews.review_access(user, body), 201)
        return _json(reviews.review_subject(user), 201)

    async def _pod_metrics(self, _request: web.Request, target: Target, options: Options, _user: User) -> web.Response:
        items = [item for item in await self._kubelets.pod_metrics(target.namespace) if options.picks(target)(item)]
        if not target.name:
            return _json(listing.as_list(target.resource, items, {}))
        found = next((item for item in items if item["metadata"]["name"] == target.name), None)
        if found is None:
            raise status_errors.not_found(target.resource, target.name)
        return _json({"kind": target.resource.kind, "apiVersion": target.resource.api_version, **found})


def _fixed_answer(path: str) -> web.Response | None:
    """Answer the paths that are no resource: health, version, discovery."""
    if path in _HEALTH_PATHS:
        return web.Response(text="ok")
    if path == "/version":
        return _json(_VERSION)
    document = discovery_document(path)
    return None if document is None else _json(document)


def _json(body: Object, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    response = web.json_response(body, status=status)
    for warning in warnings or ():
        response.headers.add("Warning", f"299 - {json.dumps(warning)}")
    return response
