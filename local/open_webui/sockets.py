"""Websockets, shared by the replicas through Redis, and completions by a model that the browser brings.

With `WEBSOCKET_MANAGER=redis` an event reaches a socket on whichever replica it is; without, two replicas know nothing
of each other's sockets, and a completion that the other one was asked for fails, as it does with the real one.

Source: Open WebUI 0.12.4, socket/main.py and utils/chat.py (generate_direct_chat_completion).
"""

import uuid
from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis
import socketio
from aiohttp import web

from local.open_webui.accounts import Accounts
from local.open_webui.settings import Settings

_POOL = "open-webui:session_pool"
_ANSWER_SECONDS = 30
type Authorization = dict[str, Any]


class Sockets:
    """One replica's sockets."""

    def __init__(self, settings: Settings, accounts: Accounts) -> None:
        self._accounts = accounts
        shared = settings.redis_url if settings.websocket_manager == "redis" else ""
        self._redis: Any = redis.Redis.from_url(shared, decode_responses=True) if shared else None
        self._sessions: dict[str, str] = {}
        self.server = socketio.AsyncServer(
            async_mode="aiohttp",
            transports=["websocket"],
            always_connect=True,
            cors_allowed_origins="*",
            client_manager=socketio.AsyncRedisManager(shared) if shared else None,
        )
        self.server.on("connect", self._connect)
        self.server.on("user-join", self._join)
        self.server.on("disconnect", self._leave)

    def attach(self, application: web.Application) -> None:
        self.server.attach(application, socketio_path="ws/socket.io")

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post(path, self.complete) for path in ("/api/chat/completions", "/api/v1/chat/completions")]

    async def close(self) -> None:
        await self.server.shutdown()
        if self._redis is not None:
            await self._redis.aclose()

    async def complete(self, request: web.Request) -> web.Response:
        """Ask the model behind the user's own socket; there is no other model."""
        user, form = await self._accounts.user(request), await request.json()
        model, session = form.get("model_item") or {}, str(form.get("session_id") or "")
        if not model.get("direct"):
            return web.json_response({"detail": "Model not found"}, status=404)
        if await self._owner(session) != user["id"]:
            return web.json_response({"detail": "Client session disconnected."}, status=400)
        channel = f"{user['id']}:{session}:{uuid.uuid4()}"
        asked = {"form_data": form, "model": model, "channel": channel, "session_id": session}
        event = {"chat_id": None, "message_id": None, "data": {"type": "request:chat:completion", "data": asked}}
        try:
            answer = await self.server.call("events", event, to=session, timeout=_ANSWER_SECONDS)
        except socketio.exceptions.TimeoutError:
            return web.json_response({"detail": "Client session disconnected."}, status=400)
        return web.json_response(answer)

    async def _connect(self, session: str, _: Any, auth: Authorization | None) -> None:
        await self._remember(session, auth)

    async def _join(self, session: str, data: dict[str, Any]) -> dict[str, Any] | None:
        user = await self._remember(session, data.get("auth"))
        return {"id": user["id"], "name": user["name"]} if user else None

    async def _remember(self, session: str, auth: Authorization | None) -> dict[str, Any] | None:
        user = await self._accounts.user_of(str((auth or {}).get("token") or ""))
        if user is not None and self._redis is not None:
            await self._redis.hset(_POOL, session, user["id"])
        elif user is not None:
            self._sessions[session] = user["id"]
        return user

    async def _leave(self, session: str, *_: Any) -> None:
        self._sessions.pop(session, None)
        if self._redis is not None:
            await self._redis.hdel(_POOL, session)

    async def _owner(self, session: str) -> str | None:
        if self._redis is None:
            return self._sessions.get(session)
        found: str | None = await self._redis.hget(_POOL, session)
        return found
