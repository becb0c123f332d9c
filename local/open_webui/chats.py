"""A user's chats: made and listed.

Source: Open WebUI 0.12.4, routers/chats.py.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from psycopg.rows import dict_row
from psycopg.types.json import Json

from local.open_webui.accounts import Accounts
from local.open_webui.pools import ConnectionPool

_PAGE = 60


@dataclass(frozen=True, slots=True)
class Chats:
    """The chats of one Open WebUI."""

    pool: ConnectionPool
    accounts: Accounts

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get("/api/v1/chats/", self.list), web.post("/api/v1/chats/new", self.new)]

    async def list(self, request: web.Request) -> web.Response:
        user = await self.accounts.user(request)
        skip = (max(1, int(request.query.get("page") or 1)) - 1) * _PAGE
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(
                "select id, title, updated_at, created_at from chat where user_id = %s "
                "order by updated_at desc, id limit %s offset %s",
                (user["id"], _PAGE, skip),
            )
            return web.json_response(await cursor.fetchall())

    async def new(self, request: web.Request) -> web.Response:
        user, chat = await self.accounts.user(request), (await request.json())["chat"]
        now = int(time.time())
        row = {"id": str(uuid.uuid4()), "user_id": user["id"], "title": chat.get("title") or "New Chat"}
        row |= {"created_at": now, "updated_at": now}
        async with self.pool.connection() as connection:
            await connection.execute(
                "insert into chat (id, user_id, title, chat, created_at, updated_at) values "
                "(%(id)s, %(user_id)s, %(title)s, %(chat)s, %(created_at)s, %(updated_at)s)",
                row | {"chat": Json(chat)},
            )
        return web.json_response(row | {"chat": chat, "archived": False, "pinned": False, "meta": {}})
