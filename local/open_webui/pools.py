"""The connections that Open WebUI holds: a pool for each of its three SQLAlchemy engines (sync, async, pgvector).

Each behaves as SQLAlchemy's QueuePool does: a connection is tried before it is lent, a dead one is replaced, overflow
is closed when it comes back, and when the server refuses a connection the caller hears so at once. One thing is done
on purpose: a pool opens its whole size at the start, the most that the real one keeps idle, so the connection budget
is tried at its worst from the first minute.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from local.open_webui.settings import Misbehaviour, Pool, Settings

type Connection = psycopg.AsyncConnection[Any]

APPLICATION_NAME = "open-webui"
_CHECKOUT_SECONDS = 30.0


async def connect(url: str, *, autocommit: bool = False) -> Connection:
    return await psycopg.AsyncConnection.connect(url, application_name=APPLICATION_NAME, autocommit=autocommit)


class ConnectionPool:
    """One engine's connections. A size of 0 is no pool: a connection for every use, as many as there are uses."""

    def __init__(self, url: str, size: Pool) -> None:
        self._url, self._size = url, size
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(size.most or 1_000_000)

    async def fill(self) -> None:
        """Open the pool's size; raises psycopg.OperationalError when the server will not have so many."""
        while len(self._idle) < self._size.size:
            self._idle.append(await connect(self._url))

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, committed at the end of the block.

        Raises TimeoutError when none comes free in 30 s and psycopg.OperationalError when the server refuses one.
        """
        async with asyncio.timeout(_CHECKOUT_SECONDS):
            await self._free.acquire()
        try:
            lent = await self._check_out()
            try:
                async with lent.transaction():
                    yield lent
            finally:
                await self._take_back(lent)
        finally:
            self._free.release()

    async def _check_out(self) -> Connection:
        while self._idle:
            candidate = self._idle.pop()
            try:
                await candidate.execute("select 1")
                await candidate.rollback()
            except psycopg.OperationalError:
                await candidate.close()
            else:
                return candidate
        return await connect(self._url)

    async def _take_back(self, lent: Connection) -> None:
        if lent.closed or len(self._idle) >= self._size.size:
            await lent.close()
        else:
            self._idle.append(lent)


@dataclass(frozen=True, slots=True)
class Engines:
    """The three engines' pools."""

    sync: ConnectionPool
    asynchronous: ConnectionPool
    pgvector: ConnectionPool | None


async def open_engines(settings: Settings, stack: AsyncExitStack) -> Engines:
    """Open every pool to its size; raises psycopg.OperationalError when the server will not have so many."""
    pools = [ConnectionPool(settings.database_url, settings.database_pool) for _ in ("sync", "async")]
    if settings.vector_database == "pgvector":
        pools.append(ConnectionPool(settings.pgvector_url, settings.pgvector_pool))
    for pool in pools:
        stack.push_async_callback(pool.close)
        await pool.fill()
    return Engines(pools[0], pools[1], pools[2] if len(pools) > 2 else None)


async def misbehave(settings: Settings, asked: Misbehaviour, stack: AsyncExitStack) -> None:
    """Hold the connections that tests ask for beside the pools."""
    for number in range(asked.leaked_connections + asked.idle_in_transaction):
        connection = await connect(settings.database_url, autocommit=number < asked.leaked_connections)
        stack.push_async_callback(connection.close)
        await connection.execute("select 1")
