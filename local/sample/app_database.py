"""The application database that belongs to a made store: the shipped sample's schema and accounts, with other
files in it."""

import gzip
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from local.sample.sql_dump import read_statements
from local.sample.store import StoredFile

ADMIN_ID = (
    "f02b5025-fa85-43b2-b544-8765a6ac5a5a"  # the shipped sample's administrator; the password is in its expected.json
)
CREATED_AT = 1_795_347_212
_KEPT = ("alembic_version", "auth", "config", "user")
_SHIPPED = Path(__file__).parent / "data" / "openwebui-app.sql.gz"

Row = Sequence[str | int | None]


def write_app_sql(target: Path, knowledge: Sequence[str], stored: Iterable[StoredFile]) -> None:
    """Write a plain dump with the rows of `file`, `knowledge` and `knowledge_file` that the vectors belong to."""
    files = list(stored)
    made: Mapping[str, Sequence[Row]] = {
        "file": [_file(file) for file in files],
        "knowledge": [
            (name, ADMIN_ID, f"Knowledge base {n}", "made", "null", CREATED_AT, CREATED_AT, None)
            for n, name in enumerate(knowledge)
        ],
        "knowledge_file": [
            (_name_of(file), ADMIN_ID, file.knowledge_id, file.id, CREATED_AT, CREATED_AT, None) for file in files
        ],
    }
    with gzip.open(_SHIPPED, "rt", encoding="utf-8") as shipped, target.open("w", encoding="utf-8") as out:
        for statement in read_statements(shipped):
            out.write(statement.text + "\n")
            if statement.rows is None:
                continue
            table = statement.text.split("(")[0].removeprefix("COPY public.").strip(' "')
            out.writelines(statement.rows if table in _KEPT else map(_line, made.get(table, ())))
            out.write("\\.\n\n")


def _file(file: StoredFile) -> Row:
    meta = {
        "name": file.name,
        "content_type": "text/plain",
        "size": len(file.content.encode()),
        "file_hash": file.checksum,
        "collection_name": file.knowledge_id,
    }
    data = {"status": "completed", "content": file.content[:2000]}
    path = f"/app/backend/data/uploads/{file.id}_{file.name}"
    return (
        file.id, ADMIN_ID, file.name, json.dumps(meta), CREATED_AT, file.checksum, json.dumps(data), CREATED_AT, path
    )  # fmt: skip


def _name_of(file: StoredFile) -> str:
    return str(uuid.uuid5(uuid.UUID(file.knowledge_id), file.id))


def _line(row: Row) -> str:
    """Write a row in COPY's text format."""
    return "\t".join("\\N" if value is None else _escape(str(value)) for value in row) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
