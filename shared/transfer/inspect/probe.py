"""What one replica sees: run inside each replica, its answers must be the same everywhere."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..pgvector import document_chunk
from ..pgvector.database import connected, vectors_url
from ..pgvector.top_k import search
from .inspection import embedding_models


def probe(data: Path, samples: int) -> dict[str, Any]:
    """Return digests of the uploads' listing and of the nearest neighbours of sampled chunks. The same samples on every
    replica."""
    files, digest = _listing(data / "uploads")
    with connected(vectors_url()) as connection:
        column = document_chunk.require_table(connection)
        count = connection.execute("select count(*) from document_chunk").fetchone()
        sampled = connection.execute(
            "select id, collection_name, vector::text from document_chunk order by md5(id) limit %s", (samples,)
        ).fetchall()
        found = hashlib.sha256()
        self_first = True
        for one, collection, text in sampled:
            query = np.array(text.strip("[]").split(","), np.float32)
            nearest = search(connection, collection, query, column, exact=False, k=5)
            # Equal vectors tie: the chunk itself must be among those at distance zero.
            self_first = self_first and any(
                name == one for name, distance in nearest if distance <= nearest[0][1] + 1e-6
            )
            found.update(repr((one, sorted((round(distance, 5), name) for name, distance in nearest))).encode())
    return {
        "uploads": {"files": files, "digest": digest},
        "models": embedding_models(data),
        "rows": count[0] if count else 0,
        "sampled": len(sampled),
        "topk_digest": found.hexdigest()[:16],
        "topk_self_first": self_first,
        "host": os.uname().nodename,
    }


def _listing(folder: Path) -> tuple[int, str]:
    hashed = hashlib.sha256()
    count = 0
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            count += 1
            hashed.update(
                f"{path.relative_to(folder).as_posix()!r} {path.stat().st_size}\n".encode("utf-8", "surrogateescape")
            )
    return count, hashed.hexdigest()[:16]
