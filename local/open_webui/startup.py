"""What Open WebUI does before it serves: its schema's migration, and the checks of its vector table.

The migration takes no lock, as in the real one: two processes on a fresh database get in each other's way and one
crashes; on a migrated database it does nothing. Source: Open WebUI 0.12.4, `config.py` (run_migrations) and
`dbs/pgvector.py`.
"""

import asyncio

from local.open_webui.pools import Connection, connect
from local.open_webui.settings import Settings, StartError

REQUIRED_TABLES = ("alembic_version", "config", "user", "auth", "file", "knowledge", "chat")
_BETWEEN_STEPS_SECONDS = 0.05
_MIGRATIONS = (
    "create table config (key text primary key, value json not null, updated_at bigint)",
    """create table "user" (id text primary key, name text, email text, role text, profile_image_url text,
                            last_active_at bigint, updated_at bigint, created_at bigint)""",
    "create table api_key (id text primary key, user_id text, key text not null)",
    "create table auth (id text primary key, email text, password text, active boolean)",
    """create table file (id text primary key, user_id text, filename text, meta json, created_at bigint, hash text,
                          data json, updated_at bigint, path text)""",
    """create table knowledge (id text primary key, user_id text not null, name text not null, description text,
                               meta json, created_at bigint not null, updated_at bigint, data json)""",
    """create table chat (id text primary key, user_id text, title text, chat json, created_at bigint,
                           updated_at bigint)""",
    "create table alembic_version (version_num varchar(32) primary key)",
    "insert into alembic_version values ('0bd252b206fb')",
)
_TABLES = "select tablename from pg_tables where schemaname = current_schema()"
_COLUMN = """
    select format_type(atttypid, atttypmod), pg_get_userbyid(relowner), current_user
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where attrelid = to_regclass('document_chunk') and attname = 'vector' and not attisdropped
"""
_INDEX = """
    select amname from pg_class join pg_am on pg_am.oid = relam
    where pg_class.oid = to_regclass('idx_document_chunk_vector')
"""


async def prepare_database(settings: Settings) -> None:
    """Migrate or check the application's schema, then the vector table. Raises StartError."""
    async with await connect(settings.database_url, autocommit=True) as connection:
        await _prepare_application(connection, settings)
    if settings.vector_database == "pgvector":
        async with await connect(settings.pgvector_url, autocommit=True) as connection:
            await prepare_document_chunk(connection, settings)


async def _prepare_application(connection: Connection, settings: Settings) -> None:
    tables = {row[0] for row in await (await connection.execute(_TABLES)).fetchall()}
    if settings.migrate and "alembic_version" not in tables:
        for step in _MIGRATIONS:
            await connection.execute(step)
            await asyncio.sleep(_BETWEEN_STEPS_SECONDS)
        return
    if missing := [table for table in REQUIRED_TABLES if table not in tables]:
        hint = "" if settings.migrate else " and ENABLE_DB_MIGRATIONS is false"
        raise StartError(f'relation "{missing[0]}" does not exist (missing: {", ".join(missing)}){hint}')


async def prepare_document_chunk(connection: Connection, settings: Settings) -> None:
    """Check or create the table as Open WebUI's client does."""
    kind = "halfvec" if settings.half_precision else "vector"
    if settings.create_extension:
        await connection.execute("create extension if not exists vector")
    found = await (await connection.execute(_COLUMN)).fetchone()
    if found is None and await _exists(connection, "document_chunk"):
        raise StartError("The 'vector' column does not exist in the 'document_chunk' table.")
    if found is not None:
        column, owner, role = found
        check_column(column, kind, settings.dimension)
        check_owner(owner, role)
    await connection.execute(
        f"""create table if not exists document_chunk (id text primary key, vector {kind}({settings.dimension}),
            collection_name text not null, text text, vmetadata jsonb)"""
    )
    await _prepare_indexes(connection, settings, kind)


async def _exists(connection: Connection, table: str) -> bool:
    row = await (await connection.execute("select to_regclass(%s)", (table,))).fetchone()
    return row is not None and row[0] is not None


def check_column(column: str, kind: str, dimension: int) -> None:
    """Compare the table that is there with what is configured. Raises StartError with the real message's sense."""
    found_kind, _, rest = column.partition("(")
    if found_kind != kind:
        expected = {"vector": "Vector", "halfvec": "HALFVEC"}[kind]
        raise StartError(
            f"The 'vector' column type does not match the expected type ('{expected}') for VECTOR_LENGTH {dimension}."
        )
    found = int(rest.rstrip(")") or 0)
    if found not in (0, dimension):
        raise StartError(
            f"VECTOR_LENGTH {dimension} does not match existing vector column dimension {found}. "
            "Cannot change vector size after initialization without migrating the data."
        )


def check_owner(owner: str, role: str) -> None:
    """Refuse a table of another role: the real one fails on creating an index. Raises StartError."""
    if owner != role:
        raise StartError(f"must be owner of table document_chunk: it belongs to {owner}, not to {role}")


async def _prepare_indexes(connection: Connection, settings: Settings, kind: str) -> None:
    found = await (await connection.execute(_INDEX)).fetchone()
    method = settings.index_method
    if found is not None and found[0] != method:
        raise StartError(
            f"Existing pgvector index 'idx_document_chunk_vector' uses method '{found[0]}' but configuration now "
            f"requires '{method}'. Automatic rebuild is disabled to prevent long-running maintenance."
        )
    if found is None and (method == "hnsw" or await _enough_to_train(connection, settings)):
        options = f"lists = {settings.ivfflat_lists}"
        if method == "hnsw":
            options = f"m = {settings.hnsw_m}, ef_construction = {settings.hnsw_ef_construction}"
        await connection.execute(
            f"create index if not exists idx_document_chunk_vector on document_chunk "
            f"using {method} (vector {kind}_cosine_ops) with ({options})"
        )
    await connection.execute(
        "create index if not exists idx_document_chunk_text_search on document_chunk "
        "using gin (to_tsvector('simple', coalesce(text, '')))"
    )
    await connection.execute(
        "create index if not exists idx_document_chunk_collection_name on document_chunk (collection_name)"
    )


async def _enough_to_train(connection: Connection, settings: Settings) -> bool:
    """Tell whether an ivfflat index would have rows enough to find its centroids by."""
    wanted = 50 * settings.ivfflat_lists
    row = await (
        await connection.execute("select count(*) from (select 1 from document_chunk limit %s) as sample", (wanted,))
    ).fetchone()
    return row is not None and row[0] >= wanted
