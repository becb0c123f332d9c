"""The ledger's tables: who makes them, who may write them, and whether they are there.

They live in the schema `scaleout` of the database that holds `document_chunk`. An administrator creates them
(`SCHEMA_SQL`, `grant_sql`); the application's role only writes rows. What the rows mean is told in `ledger`.
"""

import psycopg
from psycopg import sql

from ..errors import ConfigurationError

SCHEMA = "scaleout"

SCHEMA_SQL = """
create schema if not exists scaleout;
create table if not exists scaleout.run (
    id text primary key,
    started_at timestamptz not null default now(),
    created_table boolean not null default false,
    log_head jsonb,
    verified_at timestamptz,
    verified_batch bigint
);
create table if not exists scaleout.collection (
    run text not null references scaleout.run on delete cascade,
    id text not null,
    name text not null,
    dimension integer not null,
    watermark bigint not null,
    primary key (run, id)
);
create table if not exists scaleout.batch (
    number bigint generated always as identity primary key,
    run text not null references scaleout.run on delete cascade,
    collection text not null,
    kind text not null,
    first_key bigint,
    last_key bigint,
    rows bigint not null,
    digest numeric not null,
    written numeric,
    ids text[] not null,
    left_out jsonb not null default '[]',
    finished_at timestamptz not null default now(),
    unique (run, collection, kind, first_key)
);
alter table scaleout.batch alter column ids set storage external;
"""


def grant_sql(role: str) -> str:
    """Return the statements that let the application's role write the ledger."""
    name = sql.Identifier(role).as_string(None)
    return (
        f"grant usage on schema {SCHEMA} to {name};\n"
        f"grant select, insert, update, delete on all tables in schema {SCHEMA} to {name};\n"
        f"grant usage on all sequences in schema {SCHEMA} to {name};\n"
    )


def exists(connection: "psycopg.Connection") -> bool:
    """Tell whether the ledger's tables are there."""
    found = connection.execute("select to_regclass('scaleout.batch') is not null").fetchone()
    return bool(found and found[0])


def require(connection: "psycopg.Connection") -> None:
    """Check that the ledger is there; create it when the role may (a copy outside a migration)."""
    if exists(connection):
        return
    try:
        with connection.transaction():
            connection.execute(SCHEMA_SQL)
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "the schema scaleout (the ledger) is missing and this role may not create it",
            hint=(
                "as the server's administrator run shared.transfer.ledger.ledger_schema.SCHEMA_SQL and grant_sql(<the"
                " application's role>)"
            ),
        ) from error
