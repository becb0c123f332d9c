"""The roles and rules that Azure's Flexible Server has and a plain PostgreSQL has not.

- `azuresu` is the only superuser, and on Azure nobody is given its password. The administrator is an ordinary
  role: it may create roles and databases, read everybody's activity, end their sessions, and create extensions
  that are allow-listed.
- `CREATE EXTENSION` of anything outside `azure.extensions`, or by anybody else, fails with Azure's own words.
  Where the setting is absent, everything is allowed: a test that is not about the allow-list need not know of
  it.

Source: learn.microsoft.com/azure/postgresql: security-access-control, extensions/errors-extensions.
"""

from collections.abc import Mapping

import psycopg
from psycopg import sql

SUPERUSER = "azuresu"
ADMIN = "scaleout_admin"
APPLICATION = "openwebui"

_ALLOW_LIST = """
CREATE OR REPLACE FUNCTION pg_catalog.refuse_extensions_not_allow_listed() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed text := current_setting('azure.extensions', true);
    name text;
BEGIN
    IF allowed IS NULL OR session_user = 'azuresu' THEN RETURN; END IF;
    FOR name IN SELECT trim(both '"' from object_identity) FROM pg_event_trigger_ddl_commands()
                WHERE object_type = 'extension' LOOP
        IF NOT pg_has_role(session_user, 'azure_pg_admin', 'MEMBER') THEN
            RAISE EXCEPTION 'Only members of "azure_pg_admin" are allowed to use CREATE EXTENSION';
        END IF;
        IF lower(name) <> ALL (regexp_split_to_array(lower(allowed), '\\s*,\\s*')) THEN
            RAISE EXCEPTION 'extension "%" is not allow-listed for "azure_pg_admin" users in '
                'Azure Database for PostgreSQL', name;
        END IF;
    END LOOP;
END $$;
"""


def create_server_roles(connection: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    """Make the server's roles and the allow-list's guard; a second call changes nothing but the passwords."""
    with connection.transaction():
        _create_role(connection, "azure_pg_admin", "NOLOGIN")
        connection.execute("GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO azure_pg_admin WITH ADMIN OPTION")
        _create_role(connection, ADMIN, "LOGIN CREATEDB CREATEROLE REPLICATION", passwords[ADMIN])
        connection.execute(sql.SQL("GRANT azure_pg_admin TO {} WITH ADMIN OPTION").format(sql.Identifier(ADMIN)))
        create_owner(connection, APPLICATION, passwords[APPLICATION])


def create_owner(connection: psycopg.Connection, role: str, password: str) -> None:
    """Make an application's role; the administrator becomes a member, as the one who creates a role on Azure is."""
    _create_role(connection, role, "LOGIN", password)
    grant = sql.SQL("GRANT {} TO {} WITH ADMIN TRUE, INHERIT TRUE, SET TRUE")
    connection.execute(grant.format(sql.Identifier(role), sql.Identifier(ADMIN)))


def guard_extensions(connection: psycopg.Connection) -> None:
    """Install the allow-list's guard in the database connected to (databases made from a template inherit it)."""
    connection.execute(_ALLOW_LIST)
    if not connection.execute("SELECT 1 FROM pg_event_trigger WHERE evtname = 'azure_allow_list'").fetchone():
        connection.execute(
            "CREATE EVENT TRIGGER azure_allow_list ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION') "
            "EXECUTE FUNCTION pg_catalog.refuse_extensions_not_allow_listed()"
        )


def set_allowed_extensions(superuser_url: str, names: str) -> None:
    """Change `azure.extensions` (comma-separated names) in the running server, as Azure Resource Manager does."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL('ALTER SYSTEM SET "azure.extensions" = {}').format(sql.Literal(names)))
        connection.execute("SELECT pg_reload_conf()")
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        for _ in range(100):  # the reload is a signal: wait until a new session sees it
            if connection.execute('SHOW "azure.extensions"').fetchone() == (names,):
                return
            connection.execute("SELECT pg_sleep(0.02)")


def create_database(connection: psycopg.Connection, name: str, owner: str) -> None:
    """Make database `name` of `owner`, or leave the one that is there."""
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))


def _create_role(connection: psycopg.Connection, role: str, options: str, password: str = "") -> None:
    verb = "ALTER" if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() else "CREATE"
    statement = sql.SQL(f"{verb} ROLE {{}} {options}").format(sql.Identifier(role))
    if password:
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(password))
    connection.execute(statement)
