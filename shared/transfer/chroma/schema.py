"""What the tables of `chroma.sqlite3` look like in each version of chromadb, and the collections as all of them have
them.

Source: chromadb 0.4.24 – 1.5.9, migrations/sysdb, metadb and embeddings_queue.
"""

import json
import sqlite3
from typing import Any

from ..errors import NotAStore

DEFAULT_TENANT, DEFAULT_DATABASE = "default_tenant", "default_database"
SPACES = ("cosine", "l2", "ip")

_TABLES = {"collections", "segments", "embeddings", "embedding_metadata", "embeddings_queue", "max_seq_id"}


def tables_of(db: sqlite3.Connection) -> set[str]:
    """Return the names of the tables; NotAStore if one is missing that every version has."""
    tables = {name.decode() for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if missing := sorted(_TABLES - tables):
        raise NotAStore(
            f"chroma.sqlite3 lacks the tables {', '.join(missing)}",
            hint="--data is the directory that holds vector_db",
        )
    return tables


def columns_of(db: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns."""
    return {row[1].decode() for row in db.execute(f"pragma table_info({table})")}


def collection_rows(db: sqlite3.Connection, columns: set[str], tables: set[str]) -> list[dict[str, Any]]:
    """Return collections with their tenant and database, whatever the schema's age."""
    topic = "c.topic" if "topic" in columns else "null"
    if "databases" in tables and "database_id" in columns:
        owner = f"coalesce(d.tenant_id, '{DEFAULT_TENANT}'), coalesce(d.name, '{DEFAULT_DATABASE}')"
        join = "left join databases d on d.id = c.database_id"
    else:
        owner, join = f"'{DEFAULT_TENANT}', '{DEFAULT_DATABASE}'", ""
    names = ("id", "name", "dimension", "tenant", "database", "topic")
    rows = db.execute(f"select c.id, c.name, c.dimension, {owner}, {topic} from collections c {join} order by c.rowid")
    # `as_text`, written out: there may be thousands of collections, and they are read after the stop.
    return [dict(zip(names, [one.decode() if type(one) is bytes else one for one in row], strict=True)) for row in rows]


def configured_space(db: sqlite3.Connection, columns: set[str], collection: str) -> str | None:
    """Return the distance by a collection's configuration (0.6), else by its schema (1.x), which are long texts."""
    known = [one if one in columns else "null" for one in ("config_json_str", "schema_str")]
    row = db.execute(f"select {', '.join(known)} from collections where id = ?", (collection,)).fetchone()
    config, schema = map(as_text, row)
    space = None
    if config:
        found = json.loads(config)
        space = (found.get("hnsw") or found.get("hnsw_configuration") or {}).get("space")
    if space is None and schema:
        space = next((one for one in SPACES if f'"space":"{one}"' in schema.replace(" ", "")), None)
    return space


def as_text(value: Any) -> Any:
    """Decode what SQLite gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def version_hint(columns: set[str], tables: set[str]) -> str:
    """Return the version that the tables look like."""
    if "embedding_metadata_array" in tables:
        return "1.5"
    if "schema_str" in columns:
        return "1.x"
    if "config_json_str" in columns:
        return "0.6" if "embeddings_queue_config" in tables else "0.5"
    return "0.5" if "databases" in tables and "topic" not in columns else "0.4"
