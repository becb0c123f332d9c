"""Accounts: who asks, and what an administrator may do with users.

A token is one that this stand-in issued, or an API key in table `api_key`. Passwords of accounts that it made are
checked; those that came with the database are not, because nobody knows them.

Source: Open WebUI 0.12.4, routers/auths.py, routers/users.py and utils/auth.py.
"""

import hashlib
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from psycopg.rows import dict_row

from local.open_webui.pools import ConnectionPool
from local.open_webui.sessions import Signer

type Row = dict[str, Any]

_PAGE = 30
_MARK = "standin$"
_BY_ID = 'select id, name, email, role from "user" where id = %s'
_BY_KEY = 'select u.id, name, email, role from "user" u join api_key k on k.user_id = u.id where k.key = %s'
_LIST = 'select id, name, email, role, created_at from "user" where name ilike %s or email ilike %s'


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users of one Open WebUI."""

    pool: ConnectionPool
    signer: Signer

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/api/v1/auths/signin", self.sign_in),
            web.post("/api/v1/auths/add", self.add),
            web.get("/api/v1/users/", self.list),
            web.delete("/api/v1/users/{id}", self.delete),
        ]

    async def sign_in(self, request: web.Request) -> web.Response:
        form = await request.json()
        email = str(form.get("email", "")).lower()
        statement = (
            'select u.id, u.name, u.role, a.password from "user" u left join auth a on a.id = u.id '
            "where lower(u.email) = %s"
        )
        user = await self._one(statement, email)
        if user is None or not _fits(str(form.get("password", "")), user["password"] or ""):
            return web.json_response({"detail": "The email or password provided is incorrect."}, status=400)
        return web.json_response(self._session(user | {"email": email}))

    async def add(self, request: web.Request) -> web.Response:
        """Make a user, as an administrator."""
        await self.administrator(request)
        form = await request.json()
        email, password = str(form["email"]).lower(), str(form["password"])
        if await self._one('select id from "user" where lower(email) = %s', email):
            text = "Uh-oh! This email is already registered."
            return web.json_response({"detail": text}, status=400)
        user, now = str(uuid.uuid4()), int(time.time())
        row = {"id": user, "name": form["name"], "email": email, "role": form.get("role") or "pending"}
        async with self.pool.connection() as connection:
            await connection.execute(
                "insert into auth (id, email, password, active) values (%s, %s, %s, true)",
                (user, email, _hashed(password)),
            )
            await connection.execute(
                'insert into "user" (id, name, email, role, profile_image_url, last_active_at, updated_at, created_at) '
                "values (%(id)s, %(name)s, %(email)s, %(role)s, '/user.png', %(now)s, %(now)s, %(now)s)",
                row | {"now": now},
            )
        return web.json_response(self._session(row))

    async def list(self, request: web.Request) -> web.Response:
        """One page of the users whose name or address contains the query."""
        await self.administrator(request)
        pattern = f"%{request.query.get('query', '')}%"
        skip = (max(1, int(request.query.get("page") or 1)) - 1) * _PAGE
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(f"{_LIST} order by created_at desc, id", (pattern, pattern))
            found = await cursor.fetchall()
        return web.json_response({"users": found[skip : skip + _PAGE], "total": len(found)})

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a user with his chats; his files stay, as with the real one."""
        asking, user = await self.administrator(request), request.match_info["id"]
        if asking["id"] == user:
            return web.json_response({"detail": "This action is prohibited."}, status=403)
        async with self.pool.connection() as connection:
            await connection.execute("delete from chat where user_id = %s", (user,))
            await connection.execute("delete from auth where id = %s", (user,))
            gone = await connection.execute('delete from "user" where id = %s', (user,))
        if gone.rowcount == 0:
            return web.json_response({"detail": "Oops! Something went wrong while deleting the user."}, status=500)
        return web.json_response(True)

    async def administrator(self, request: web.Request) -> Row:
        """Who asks; raises 401 unless it is an administrator."""
        user = await self.user(request)
        if user["role"] != "admin":
            raise web.HTTPUnauthorized(text="You do not have permission to access this resource.")
        return user

    async def user(self, request: web.Request) -> Row:
        """Who asks; raises 401 when the token is nobody's."""
        user = await self.user_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if user is None:
            raise web.HTTPUnauthorized(text="Invalid token")
        return user

    async def user_of(self, token: str) -> Row | None:
        """Whose token this is."""
        if token.startswith("sk-"):
            enabled = await self._one("select value from config where key = %s", "auth.enable_api_keys")
            return await self._one(_BY_KEY, token) if enabled and enabled["value"] is True else None
        signed = self.signer.user_of(token)
        return await self._one(_BY_ID, signed) if signed else None

    def _session(self, user: Row) -> Row:
        session = {"token": self.signer.issue(user["id"]), "token_type": "Bearer"}
        return session | {key: user[key] for key in ("id", "email", "name", "role")}

    async def _one(self, statement: str, value: str) -> Row | None:
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(statement, (value,))
            return await cursor.fetchone()


def _hashed(password: str, salt: str = "") -> str:
    """A quick hash: what a real one costs (a quarter of a second of a core) is left out of a stand-in."""
    salt = salt or secrets.token_hex(4)
    return f"{_MARK}{salt}${hashlib.sha256((salt + password).encode()).hexdigest()}"


def _fits(password: str, stored: str) -> bool:
    return not stored.startswith(_MARK) or stored == _hashed(password, stored.split("$")[1])
