"""Open WebUI's database as its administrator: facts, extensions, the ledger's schema.

A connection is opened for each call and closed after it, with a fresh password, so that a rotated secret is picked up
and no connection of the budget is held while a Job works for minutes. With Entra the password is a token, asked of the
credential at every connection; the credential gives the same one again for as long as it is valid.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import (
    FeatureNotSupported,
    InsufficientPrivilege,
    InvalidCatalogName,
    InvalidPassword,
    TooManyConnections,
    UndefinedFile,
)
from psycopg.rows import dict_row

from shared.errors import ConfigurationError, MigrationError, PermissionMissing, TransientError
from shared.model.survey import ChunkTable, DatabaseAddress, DatabaseFacts
from shared.sizing.connection_budget import ServerLimits
from shared.transfer.ledger import ledger_schema

CONNECT_TIMEOUT_SECONDS = 10
APPLICATION_NAME = "scaleout"


class PostgresDatabases:
    """`shared.model.ports.Databases`: `password` is asked at every connection, `user` is the administrator's login."""

    def __init__(
        self,
        user: Callable[[], str],
        password: Callable[[], str],
        options: Mapping[str, Any],
        admit: Callable[[DatabaseAddress], DatabaseAddress],
    ) -> None:
        self._user = user
        self._password = password
        self._options = options
        """libpq options, such as sslmode and sslrootcert."""
        self._admit = admit

    def verify_login(self) -> None:
        self._password()

    def as_admin(self, address: DatabaseAddress) -> "PostgresDatabase":
        """ConfigurationError where the address is not that of the server that the request names."""
        return PostgresDatabase(self._admit(address), self._user, self._password, self._options)


class PostgresDatabase:
    """`shared.model.ports.Database` through psycopg."""

    def __init__(
        self, address: DatabaseAddress, user: Callable[[], str], password: Callable[[], str], options: Mapping[str, Any]
    ) -> None:
        self._address = address
        self._user = user
        self._password = password
        self._options = options

    def read_facts(self, role: str) -> DatabaseFacts:
        with self._connection() as connection:
            return DatabaseFacts(
                version=str(_one(connection, "show server_version")),
                limits=_read_limits(connection),
                sessions=int(_one(connection, OTHER_SESSIONS, (role,))),
                extensions=dict(connection.execute("select extname, extversion from pg_extension").fetchall()),
                available_extensions=_available(connection),
                chunk_table=_read_chunk_table(connection),
                ledger_exists=_one(connection, "select to_regnamespace('scaleout') is not null"),
                grants=_read_grants(connection, role),
            )

    def read_chunk_table(self) -> ChunkTable | None:
        with self._connection() as connection:
            return _read_chunk_table(connection)

    def enable_extension(self, name: str) -> None:
        with self._connection() as connection:
            connection.execute(sql.SQL("create extension if not exists {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("alter extension {} update").format(sql.Identifier(name)))

    def drop_extension(self, name: str) -> None:
        with self._connection() as connection:
            connection.execute(sql.SQL("drop extension if exists {}").format(sql.Identifier(name)))

    def drop_empty_chunk_table(self) -> bool:
        with self._connection() as connection:
            if _one(connection, "select to_regclass('public.document_chunk') is null"):
                return True
            connection.execute("lock table public.document_chunk in access exclusive mode")
            if _one(connection, "select exists (select 1 from public.document_chunk)"):
                return False
            connection.execute("drop table public.document_chunk")
            return True

    def create_ledger(self, role: str) -> None:
        with self._connection() as connection:
            connection.execute(ledger_schema.SCHEMA_SQL.encode())
            connection.execute(ledger_schema.grant_sql(role))

    def drop_ledger(self) -> None:
        with self._connection() as connection:
            connection.execute("drop schema if exists scaleout cascade")

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        where = f"{self._address.host}:{self._address.port}/{self._address.name}"
        try:
            with psycopg.connect(
                host=self._address.host,
                port=self._address.port,
                dbname=self._address.name,
                user=self._user(),
                password=self._password(),
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name=APPLICATION_NAME,
                **self._options,
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise explained(error, where, self._user()) from error


OTHER_SESSIONS = """
select count(*) from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid() and usename is distinct from %s
"""

GRANTS = """
with application as (select to_regrole(quote_ident(%(role)s)) as role)
select has_database_privilege(current_database(), 'create') as create_in_database,
       case when to_regrole('azure_pg_admin') is null then has_database_privilege(current_database(), 'create')
            else pg_has_role('azure_pg_admin', 'member') end as create_extension,
       coalesce(pg_has_role(role, 'member'), false) as act_for_application,
       coalesce(has_schema_privilege(role, 'public', 'create'), false) as application_creates,
       pg_has_role('pg_read_all_stats', 'usage') as see_sessions
from application
"""
"""Source: learn.microsoft.com/azure/postgresql/security/security-access-control, azure_pg_admin; a plain PostgreSQL has
no such role, and there `vector` needs what the extension's control file asks for."""

CHUNK_TABLE = """
select format_type(a.atttypid, a.atttypmod), a.atttypmod, pg_get_userbyid(c.relowner),
       array(select indexrelid::regclass::text from pg_index where indrelid = c.oid order by 1)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'vector'
where c.oid = to_regclass('public.document_chunk')
"""


def _one(connection: psycopg.Connection[Any], query: str, parameters: tuple[Any, ...] = ()) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None


def _read_limits(connection: psycopg.Connection[Any]) -> ServerLimits:
    """Source: facts §5, the true limits come from the server, not from the SKU."""
    return ServerLimits(
        max_connections=int(_one(connection, "show max_connections")),
        reserved_connections=int(
            _one(connection, "select coalesce(current_setting('reserved_connections', true), '0')")
        ),
        superuser_reserved_connections=int(_one(connection, "show superuser_reserved_connections")),
    )


def _available(connection: psycopg.Connection[Any]) -> dict[str, str]:
    wanted = "select name, default_version from pg_available_extensions where name in ('vector', 'uuid-ossp')"
    return dict(connection.execute(wanted).fetchall())


def _read_grants(connection: psycopg.Connection[Any], role: str) -> dict[str, bool]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return dict(cursor.execute(GRANTS.encode(), {"role": role}).fetchone() or {})


def _read_chunk_table(connection: psycopg.Connection[Any]) -> ChunkTable | None:
    row = connection.execute(CHUNK_TABLE).fetchone()
    if row is None:
        return None
    rows = int(_one(connection, "select count(*) from public.document_chunk"))
    return ChunkTable(rows, int(row[1]), str(row[0]).partition("(")[0], str(row[2]), tuple(row[3]))


def explained(error: psycopg.Error, where: str, user: str) -> MigrationError:
    text = " ".join(str(error).split())
    if isinstance(error, InvalidPassword) or "password authentication failed" in text:
        return ConfigurationError(
            f"PostgreSQL at {where} refused the password of {user}",
            hint="Put the administrator's current password into the key vault secret that the request names; with "
            "SCALEOUT_POSTGRES_AUTH=entra, make the app's identity an Entra administrator of the server.",
        )
    if isinstance(error, InvalidCatalogName) or ("database" in text and "does not exist" in text):
        return ConfigurationError(f"there is no such database at {where}", hint="Correct target.database.")
    if isinstance(error, FeatureNotSupported | UndefinedFile) or "not allow-listed" in text:
        hint = "Allow it with the server parameter azure.extensions, or use a server version that has it."
        return ConfigurationError(f"PostgreSQL at {where} does not offer the extension: {text}", hint=hint)
    if isinstance(error, InsufficientPrivilege):
        return PermissionMissing(f"{user} may not do this at {where}: {text}", hint="Use an azure_pg_admin login.")
    return _of_the_connection(error, where, user, text)


def _of_the_connection(error: psycopg.Error, where: str, user: str, text: str) -> MigrationError:
    if isinstance(error, TooManyConnections) or "remaining connection slots" in text:
        return TransientError(f"PostgreSQL at {where} has no connection left for {user}")
    if isinstance(error, psycopg.OperationalError):
        return TransientError(f"cannot reach PostgreSQL at {where}: {text}", hint="Check its firewall and its state.")
    return ConfigurationError(f"PostgreSQL at {where}: {text}")
