"""The database's sessions, read by the guard: one connection, opened and closed at each tick.

The address is Open WebUI's own, from its DATABASE_URL; the login is the administrator's, who sees everybody's sessions.
Both are kept for some minutes and read again at once when they do not work, so that a rotated password or a changed
URL is picked up, and a tick costs neither the key vault nor the cluster anything.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import psycopg

from shared.adapters.postgres import explained
from shared.errors import ConfigurationError, MigrationError, TransientError
from shared.guard.ports import NoConnectionLeft
from shared.guard.readings import Connections
from shared.guard.sessions import GUARD_APPLICATION, SESSIONS_SQL, to_connections
from shared.model.survey import DatabaseAddress
from shared.sizing.connection_budget import ServerLimits

KEPT = timedelta(minutes=5)
CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT = "-c statement_timeout=5000 -c default_transaction_read_only=on"

LIMITS_SQL = """
select current_setting('max_connections')::int,
       coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
       current_setting('superuser_reserved_connections')::int
"""

FULL = ("remaining connection slots are reserved", "too many clients already", "too many connections for")
"""libpq gives a failed connection no SQLSTATE, so 53300 is known by its sentences. Source: PostgreSQL, proc.c."""


class PostgresSessions:
    """`shared.guard.ports.ConnectionStatistics`. `address` and `login` (user, password) are asked when needed."""

    def __init__(
        self,
        address: Callable[[], DatabaseAddress | None],
        login: Callable[[], tuple[str, str]],
        options: Mapping[str, Any],
        *,
        application: str,
        login_kept: timedelta = KEPT,
    ) -> None:
        self._address = _Kept(address, KEPT)
        self._login = _Kept(login, login_kept)
        self._options = options
        self._application = application

    def read_connections(self) -> Connections:
        """Read on a connection of its own, which is closed before this returns."""
        try:
            return self._read()
        except MigrationError as error:
            if not isinstance(error, NoConnectionLeft):
                self._address.forget()
                self._login.forget()
            raise

    def _read(self) -> Connections:
        address = self._address.value()
        if address is None:
            raise ConfigurationError("Open WebUI has no PostgreSQL DATABASE_URL", hint="See docs/guard.md.")
        user, password = self._login.value()
        where = f"{address.host}:{address.port}/{address.name}"
        try:
            with psycopg.connect(
                host=address.host,
                port=address.port,  # the server itself: PgBouncer would show its own sessions
                dbname=address.name,
                user=user,
                password=password,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name=GUARD_APPLICATION,
                options=STATEMENT_TIMEOUT,
                autocommit=True,
                **self._options,
            ) as connection:
                return _ask(connection, address.role, self._application, pgbouncer=address.pooled)
        except psycopg.Error as error:
            raise _refused(error, where, user) from error


class _Kept[T]:
    """A value that is read when it is needed, and again when it is old or was forgotten."""

    def __init__(self, read: Callable[[], T], kept: timedelta) -> None:
        self._read = read
        self._kept = kept
        self._found: tuple[T, float] | None = None

    def value(self) -> T:
        found = self._found
        if found is None or time.monotonic() - found[1] >= self._kept.total_seconds():
            found = self._found = (self._read(), time.monotonic())
        return found[0]

    def forget(self) -> None:
        self._found = None


def _ask(connection: psycopg.Connection[Any], role: str, application: str, *, pgbouncer: bool) -> Connections:
    began = time.perf_counter()
    connection.execute("select 1")
    latency = timedelta(seconds=time.perf_counter() - began)
    limits = connection.execute(LIMITS_SQL.encode()).fetchone()
    rows = connection.execute(SESSIONS_SQL.encode(), {"role": role, "application": application}).fetchall()
    if limits is None:
        raise TransientError("PostgreSQL did not say its limits")
    most, reserved, superuser = limits
    return to_connections(rows, ServerLimits(most, reserved, superuser, pgbouncer=pgbouncer), latency)


def _refused(error: psycopg.Error, where: str, user: str) -> MigrationError:
    text = " ".join(str(error).split())
    if error.sqlstate == "53300" or any(sentence in text for sentence in FULL):
        return NoConnectionLeft(f"PostgreSQL at {where} has no connection left (SQLSTATE 53300)")
    return explained(error, where, user)
