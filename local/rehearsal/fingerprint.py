"""What a plan must leave untouched, as digests: the database's contents, the claims' files, the cluster's objects."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

BLOCK = 1 << 20
TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema') order by 1, 2
"""
CATALOG = """
select 'extension', extname || ' ' || extversion from pg_extension
union all select 'schema', nspname from pg_namespace where nspname !~ '^pg_(toast|temp)'
union all select 'index', indexdef from pg_indexes where schemaname not in ('pg_catalog')
order by 1, 2
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Equal before and after means byte-equal."""

    database: str
    claims: str
    objects: str

    def differences(self, other: "Fingerprint") -> list[str]:
        return [name for name in ("database", "claims", "objects") if getattr(self, name) != getattr(other, name)]


def take(database_url: str, volumes: Path, objects: Iterable[Mapping[str, Any]]) -> Fingerprint:
    """Digest all three."""
    return Fingerprint(_database(database_url), _files(volumes), _objects(objects))


def _database(url: str) -> str:
    digest = hashlib.sha256()
    with psycopg.connect(url) as connection:
        for row in connection.execute(CATALOG):
            digest.update(repr(row).encode())
        for schema, table in connection.execute(TABLES).fetchall():
            digest.update(f"{schema}.{table}".encode())
            query = sql.SQL("copy (select * from {} t order by t::text) to stdout").format(
                sql.Identifier(schema, table)
            )
            with connection.cursor().copy(query) as rows:
                for block in rows:
                    digest.update(block)
    return digest.hexdigest()


def _files(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _objects(objects: Iterable[Mapping[str, Any]]) -> str:
    """Status is the cluster's own; everything else is compared, resourceVersion of the spec's writers excluded."""
    kept = []
    for found in objects:
        metadata = {k: v for k, v in found["metadata"].items() if k not in {"resourceVersion", "managedFields"}}
        kept.append({k: v for k, v in found.items() if k not in {"status", "metadata"}} | {"metadata": metadata})
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
