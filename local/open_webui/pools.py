"""The connections that Open WebUI holds: one pool for each of its three SQLAlchemy engines (sync, async, pgvector).

SQLAlchemy opens lazily; here a pool opens its whole size at once, the most that the real one keeps idle, and the
overflow when queries come in together. So the connection budget is tried at its worst from the first minute.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool

from local.open_webui.settings import Misbehaviour, Pool, Settings

type ConnectionPool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]

APPLICATION_NAME = "open-webui"
_OVERFLOW_IDLE_SECONDS = 2.0  # SQLAlchemy closes an overflow connection when it comes back
_CONNECT_SECONDS = 10.0
_CHECKOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Engines:
    """The three engines' pools."""

    sync: ConnectionPool
    asynchronous: ConnectionPool
    pgvector: ConnectionPool | None


async def open_engines(settings: Settings, stack: AsyncExitStack) -> Engines:
    """Open every pool to its size; raises psycopg's errors when the server will not have so many."""
    sync = await _open(settings.database_url, settings.database_pool, stack)
    asynchronous = await _open(settings.database_url, settings.database_pool, stack)
    if settings.vector_database != "pgvector":
        return Engines(sync, asynchronous, None)
    return Engines(sync, asynchronous, await _open(settings.pgvector_url, settings.pgvector_pool, stack))


async def _open(url: str, size: Pool, stack: AsyncExitStack) -> ConnectionPool:
    arguments: dict[str, Any] = {
        "conninfo": url,
        "kwargs": {"application_name": APPLICATION_NAME},
        "open": False,
        "timeout": _CHECKOUT_SECONDS,
    }
    pool: ConnectionPool
    if size.size == 0:
        pool = AsyncNullConnectionPool(min_size=0, max_size=None, **arguments)
    else:
        arguments |= {"min_size": size.size, "max_size": size.most, "max_idle": _OVERFLOW_IDLE_SECONDS}
        pool = AsyncConnectionPool(check=AsyncConnectionPool.check_connection, **arguments)
    await stack.enter_async_context(pool)
    if size.size:
        await pool.wait(_CONNECT_SECONDS)
    return pool


async def misbehave(settings: Settings, asked: Misbehaviour, stack: AsyncExitStack) -> None:
    """Hold the connections that tests ask for beside the pools."""
    for number in range(asked.leaked_connections + asked.idle_in_transaction):
        connection = await psycopg.AsyncConnection.connect(
            settings.database_url, application_name=APPLICATION_NAME, autocommit=number < asked.leaked_connections
        )
        stack.push_async_callback(connection.close)
        await connection.execute("select 1")
        await asyncio.sleep(0)
