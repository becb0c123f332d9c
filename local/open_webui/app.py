"""The routes: health, readiness, and enough of the API for validation and the prober."""

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from aiohttp import web

from local.open_webui.accounts import Accounts
from local.open_webui.chats import Chats
from local.open_webui.embedding import embed
from local.open_webui.files import Files
from local.open_webui.pools import Engines
from local.open_webui.redis_ping import ping
from local.open_webui.sessions import Signer
from local.open_webui.settings import VERSION, Settings
from local.open_webui.sockets import Sockets
from local.open_webui.vector_stores import Hit, VectorStore

log = logging.getLogger("open_webui")

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEALTH_PATHS = ("/health", "/ready", "/health/db")
_PUBLIC_FILES = "/static/"
_SLOWED_PATHS = ("/api/v1/chats/", "/api/v1/retrieval/")
_PROCESSING_SECONDS = 1
_DEFAULT_TOP_K = 3
_LARGEST_UPLOAD = 1 << 30


@dataclass(slots=True)
class App:
    """One replica."""

    settings: Settings
    engines: Engines
    store: VectorStore
    files: Files
    signer: Signer
    accounts: Accounts
    chats: Chats
    sockets: Sockets
    started: bool = False

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._middleware], client_max_size=_LARGEST_UPLOAD)
        application.add_routes(
            [
                web.get("/health", self.health),
                web.get("/ready", self.ready),
                web.get("/health/db", self.health_db),
                web.get("/api/version", self.version),
                web.get("/api/config", self.config),
                *self.accounts.routes(),
                *self.chats.routes(),
                *self.sockets.routes(),
                web.get("/api/v1/files/", self.list_files),
                web.post("/api/v1/files/", self.upload),
                web.get("/api/v1/files/search", self.search_files),
                web.get("/api/v1/files/{id}", self.file),
                web.get("/api/v1/files/{id}/process/status", self.file_status),
                web.get("/api/v1/files/{id}/content", self.content),
                web.delete("/api/v1/files/{id}", self.delete_file),
                web.get("/api/v1/knowledge/", self.list_knowledge),
                web.post("/api/v1/retrieval/query/doc", self.query),
                web.post("/api/v1/retrieval/query/collection", self.query_collections),
            ]
        )
        application.add_routes([web.static(_PUBLIC_FILES, self.settings.static_directory)])
        self.sockets.attach(application)
        return application

    @staticmethod
    def _is_open(path: str) -> bool:
        """Served without sign-in."""
        return path in _HEALTH_PATHS or path.startswith(_PUBLIC_FILES)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Say who answered from which store; turn away tokens of another key; answer for a database that is away."""
        try:
            if not self._is_open(request.path) and not self.signer.accepts(request.headers.get("Authorization", "")):
                response: web.StreamResponse = _answer(401, "Invalid token")
            else:
                if request.path.startswith(_SLOWED_PATHS):
                    await asyncio.sleep(self.settings.misbehaviour.delay_seconds())
                response = await handler(request)
        except web.HTTPException as error:
            response = _answer(error.status, error.text or error.reason)
        except (psycopg.Error, TimeoutError) as error:
            log.warning("%s %s failed: %s", request.method, request.path, str(error).strip())
            response = _answer(500, "Internal Server Error")
        if not response.prepared:
            response.headers["x-pod"] = self.settings.pod_name
            response.headers["x-store"] = self.store.name
        return response

    # -- health

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": True})

    async def ready(self, _: web.Request) -> web.Response:
        problem = await self._problem()
        return _answer(503, problem) if problem else web.json_response({"status": True})

    async def _problem(self) -> str | None:
        asked = self.settings.misbehaviour
        if not self.started:
            return "Startup not complete"
        if not asked.ready or asked.has_unready_file():
            return "Asked not to be ready"
        try:
            await self._ping_database()
        except (psycopg.Error, TimeoutError) as error:
            log.warning("Readiness check DB ping failed: %s", str(error).strip())
            return "Database not ready"
        if self.settings.redis_url:
            try:
                await ping(self.settings.redis_url)
            except (OSError, TimeoutError, ValueError) as error:
                log.warning("Readiness check Redis ping failed: %r", error)
                return "Redis not ready"
        try:
            with tempfile.NamedTemporaryFile(dir=self.settings.data_directory, prefix=".ready-"):
                return None
        except OSError as error:
            log.warning("Readiness check of the files failed: %s", error)
            return "Files not ready"

    async def _ping_database(self) -> None:
        async with self.engines.sync.connection() as connection:
            await connection.execute("select 1")

    async def health_db(self, _: web.Request) -> web.Response:
        await self._ping_database()
        return web.json_response({"status": True})

    # -- about

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": VERSION, "deployment_id": ""})

    async def config(self, _: web.Request) -> web.Response:
        body = {"status": True, "name": "Open WebUI", "version": VERSION, "onboarding": False}
        return web.json_response(body | {"features": {"auth": True, "enable_signup": False}})

    # -- files and knowledge

    async def list_files(self, _: web.Request) -> web.Response:
        return web.json_response(await self.files.list())

    async def search_files(self, request: web.Request) -> web.Response:
        """Files by a pattern of their name; to others than administrators their own."""
        user = await self.accounts.user(request)
        sees_all = user["role"] == "admin" and self.settings.administrators_see_all
        owner = None if sees_all else user["id"]
        query = request.query
        found = await self.files.search(query["filename"], owner, int(query.get("limit") or 100))
        if not found:
            return _answer(404, "No files found matching the pattern.")
        return web.json_response(found)

    async def file_status(self, request: web.Request) -> web.Response:
        """Said to be processing at first, as an upload is that the real one embeds after its answer."""
        row = await self._find_file(request)
        status = (row["data"] or {}).get("status", "pending")
        fresh = status == "completed" and time.time() < row["created_at"] + _PROCESSING_SECONDS
        return web.json_response({"status": "processing" if fresh else status})

    async def file(self, request: web.Request) -> web.Response:
        return web.json_response(await self._find_file(request))

    async def _find_file(self, request: web.Request) -> dict[str, Any]:
        row = await self.files.find(request.match_info["id"])
        if row is None:
            raise web.HTTPNotFound(text="We could not find what you're looking for :/")
        return row

    async def content(self, request: web.Request) -> web.StreamResponse:
        row = await self._find_file(request)
        path = self.files.path_of(row)
        if not path.is_file():
            return _answer(404, "We could not find what you're looking for :/")
        content_type = (row["meta"] or {}).get("content_type") or "application/octet-stream"
        return web.Response(body=path.read_bytes(), headers={"Content-Type": content_type})

    async def upload(self, request: web.Request) -> web.Response:
        part = (await request.post()).get("file")
        if not isinstance(part, web.FileField):
            return _answer(422, "a multipart field 'file' is required")
        owner = await self._uploader(request)
        row = await self.files.add(part.filename, part.file.read(), part.content_type, owner)
        return web.json_response({"status": True, **row})

    async def _uploader(self, request: web.Request) -> str:
        """Whoever asks; with a token that is nobody's, the first administrator."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and (user := await self.accounts.user_of(token)):
            return str(user["id"])
        async with self.engines.asynchronous.connection() as connection:
            found = await connection.execute("select id from \"user\" order by role <> 'admin', id limit 1")
            first = await found.fetchone()
        return first[0] if first else ""

    async def delete_file(self, request: web.Request) -> web.Response:
        await self.files.delete(await self._find_file(request))
        return web.json_response({"message": "File deleted successfully"})

    async def list_knowledge(self, _: web.Request) -> web.Response:
        async with self.engines.asynchronous.connection() as connection:
            found = await connection.execute("select id, name, description from knowledge order by created_at")
            rows = [dict(zip(("id", "name", "description"), row, strict=True)) for row in await found.fetchall()]
        return web.json_response({"items": rows, "total": len(rows)})

    # -- retrieval

    async def query(self, request: web.Request) -> web.Response:
        """Search one collection; `id:<chunk id>` searches with that chunk's own vector."""
        form = await _json(request)
        collection, text = str(form.get("collection_name", "")), str(form.get("query", ""))
        if not collection or not text:
            return _answer(422, "collection_name and query are required")
        async with self.engines.asynchronous.connection() as connection:
            limit = int(form.get("k") or await self._top_k(connection))
            vector = await self._vector(collection, text)  # the real route holds its session over the search, too
            if vector is None:
                return _answer(400, f"collection {collection} has no chunk {text.removeprefix('id:')}")
            hits = await self.store.search(collection, vector, limit)
        return web.json_response(search_result(hits))

    async def query_collections(self, request: web.Request) -> web.Response:
        """Search several collections, of which one's own uploads are the only ones that a user may read here."""
        user, form = await self.accounts.user(request), await _json(request)
        names, text = list(form.get("collection_names") or []), str(form.get("query", ""))
        if user["role"] != "admin" and not await self.files.all_belong_to(user["id"], names):
            return _answer(
                403, "You do not have permission to access this resource. Please contact your administrator."
            )
        async with self.engines.asynchronous.connection() as connection:
            limit = int(form.get("k") or await self._top_k(connection))
        hits = [hit for name in names for hit in await self.store.search(name, embed(text), limit)]
        return web.json_response(search_result(sorted(hits, key=lambda hit: -hit.score)[:limit]))

    async def _top_k(self, connection: psycopg.AsyncConnection[Any]) -> int:
        row = await (await connection.execute("select value from config where key = 'rag.top_k'")).fetchone()
        return int(row[0]) if row is not None else _DEFAULT_TOP_K

    async def _vector(self, collection: str, text: str) -> list[float] | None:
        if text.startswith("id:"):
            return await self.store.vector_of(collection, text.removeprefix("id:"))
        return embed(text)


def search_result(hits: list[Hit]) -> dict[str, list[list[Any]]]:
    """Shape hits as Open WebUI's SearchResult: one list for the one query, scores called distances."""
    return {
        "ids": [[hit.id for hit in hits]],
        "documents": [[hit.text for hit in hits]],
        "metadatas": [[hit.metadata for hit in hits]],
        "distances": [[hit.score for hit in hits]],
    }


def _answer(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise web.HTTPBadRequest(text="the body is not JSON") from error
    if not isinstance(body, dict):
        raise web.HTTPUnprocessableEntity(text="the body is not an object")
    return body
