"""Entra logins to the PostgreSQL that plays the server: a token is a password until it expires.

The service checks a token's signature; a plain PostgreSQL cannot. So whenever a token for PostgreSQL is given out, it
becomes the password of the identity's role, valid until the token expires and no longer: an expired, foreign or made-up
token is refused by PostgreSQL itself. One thing is stricter than the service: an earlier token stops working when the
next one is given out. The role is a member of azure_pg_admin, as an Entra administrator is.
Source: learn.microsoft.com/azure/postgresql/security/security-entra-concepts, security-entra-configure.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import psycopg
from psycopg import sql

RESOURCE = "https://ossrdbms-aad.database.windows.net"


def accept_token(superuser_url: str, roles: Iterable[str], token: str, expires: float) -> None:
    """Let these Entra administrators sign in with this token; `expires` in seconds since the epoch."""
    until = datetime.fromtimestamp(expires, UTC).isoformat()
    with psycopg.connect(superuser_url) as connection:
        for role in roles:
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            name = sql.Identifier(role)
            if not known:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(name))
                connection.execute(sql.SQL("GRANT azure_pg_admin TO {} WITH ADMIN OPTION").format(name))
            statement = sql.SQL("ALTER ROLE {} PASSWORD {} VALID UNTIL {}")
            connection.execute(statement.format(name, sql.Literal(token), sql.Literal(until)))
