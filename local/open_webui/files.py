"""Uploaded files: a row in table `file`, the bytes in `DATA_DIR/uploads`, the chunks in collection `file-<id>`.

`file.path` holds the path as containers see it, so that it stays right when the claim behind the mount is another one.
"""

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Json

from local.open_webui.embedding import embed
from local.open_webui.pools import ConnectionPool
from local.open_webui.settings import Settings, in_the_container, on_this_machine
from local.open_webui.vector_stores import Chunk, VectorStore

type Row = dict[str, Any]

_CHUNK_CHARACTERS = 1000
_LIST = "select id, user_id, hash, filename, path, data, meta, created_at, updated_at from file"
_INSERT = """
    insert into file (id, user_id, hash, filename, path, data, meta, created_at, updated_at)
    values (%(id)s, %(user_id)s, %(hash)s, %(filename)s, %(path)s, %(data)s, %(meta)s, %(created_at)s, %(updated_at)s)
"""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one Open WebUI."""

    settings: Settings
    pool: ConnectionPool
    store: VectorStore

    async def list(self) -> list[Row]:
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(_LIST + " order by created_at, id")
            return await cursor.fetchall()

    async def find(self, file: str) -> Row | None:
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(_LIST + " where id = %s", (file,))
            return await cursor.fetchone()

    async def search(self, pattern: str, owner: str | None, limit: int) -> Sequence[Row]:
        """Files whose name fits a pattern with wildcards; `owner`: only this user's."""
        name = pattern.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_").replace("*", "%").replace("?", "_")
        where = " where filename ilike %s and (%s::text is null or user_id = %s) order by created_at desc, id limit %s"
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(_LIST + where, (name, owner, owner, limit))
            return await cursor.fetchall()

    async def all_belong_to(self, user: str, collections: Sequence[str]) -> bool:
        """Whether each is the collection of a file of this user."""
        files = [name.removeprefix("file-") for name in collections if name.startswith("file-")]
        async with self.pool.connection() as connection:
            found = await connection.execute(
                "select count(distinct id) from file where user_id = %s and id = any(%s)", (user, files)
            )
            row = await found.fetchone()
        return row is not None and row[0] == len(set(collections))

    def path_of(self, row: Row) -> Path:
        """Return where a file's bytes lie on this machine."""
        return on_this_machine(row["path"] or "", self.settings.mounts)

    async def add(self, name: str, content: bytes, content_type: str, user: str) -> Row:
        """Store an upload: bytes, row, chunks."""
        file, now = str(uuid.uuid4()), int(time.time())
        path = self.settings.data_directory / "uploads" / f"{file}_{Path(name).name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        meta = {"name": name, "content_type": content_type, "size": len(content), "file_hash": digest, "data": {}}
        row = {
            "id": file,
            "user_id": user,
            "hash": digest,
            "filename": name,
            "path": in_the_container(path, self.settings.mounts),
            "data": {"status": "completed", "content": content.decode("utf-8", "replace").replace("\0", "")},
            "meta": meta | {"collection_name": f"file-{file}"},
            "created_at": now,
            "updated_at": now,
        }
        await self.store.add(f"file-{file}", _chunks(row))
        values = row | {"data": Json(row["data"]), "meta": Json(row["meta"])}
        async with self.pool.connection() as connection:
            await connection.execute(_INSERT, values)
        return row

    async def delete(self, row: Row) -> None:
        """Delete a file's row, chunks and bytes."""
        async with self.pool.connection() as connection:
            await connection.execute("delete from file where id = %s", (row["id"],))
        await self.store.delete_collection(f"file-{row['id']}")
        self.path_of(row).unlink(missing_ok=True)


def _chunks(row: Row) -> list[Chunk]:
    text = row["data"]["content"] or " "
    metadata = {"file_id": row["id"], "name": row["filename"], "source": row["filename"], "hash": row["hash"]}
    metadata |= {"created_by": row["user_id"]}
    return [
        Chunk(str(uuid.uuid4()), piece, embed(piece), metadata | {"start_index": start})
        for start in range(0, len(text), _CHUNK_CHARACTERS)
        if (piece := text[start : start + _CHUNK_CHARACTERS])
    ]
