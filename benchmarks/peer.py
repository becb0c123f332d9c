"""The peer: what people do today. `collection.get` page by page, and Open WebUI's own insert.

    python -m benchmarks.peer STORE URL ROWS [--indexes]

Prints one JSON line. With `--indexes` the table has Open WebUI's btree and GIN from the start, as it makes them, and
the vector index is made at the end, as its next start would.
Source: open_webui/retrieval/vector/dbs/pgvector.py 0.12.4, `DocumentChunk` and `PgvectorClient.insert`.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import Column, Text, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker

from benchmarks.stores import client_of

WIDTH = 1536
PAGE = 1000
Base: Any = declarative_base()


class DocumentChunk(Base):
    """Open WebUI's table."""

    __tablename__ = "document_chunk"
    id = Column(Text, primary_key=True)
    vector = Column(Vector(dim=WIDTH), nullable=True)
    collection_name = Column(Text, nullable=False)
    text = Column(Text, nullable=True)
    vmetadata = Column(MutableDict.as_mutable(JSONB), nullable=True)


def main() -> None:
    """Copy the first ROWS rows and print rows, seconds and memory."""
    store, url, limit, indexes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), "--indexes" in sys.argv
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_pre_ping=True)
    Base.metadata.create_all(engine)
    session = scoped_session(sessionmaker(autocommit=False, autoflush=False, bind=engine, expire_on_commit=False))
    if indexes:
        session.execute(text("create index idx_document_chunk_collection_name on document_chunk (collection_name)"))
        session.execute(
            text(
                "create index idx_document_chunk_text_search on document_chunk"
                " using gin (to_tsvector('simple', coalesce(text, '')))"
            )
        )
        session.commit()
    started = time.perf_counter()
    rows = copy(store, session, limit)
    if indexes:
        session.execute(text("set local maintenance_work_mem = '1GB'"))
        session.execute(
            text(
                "create index idx_document_chunk_vector on document_chunk"
                " using ivfflat (vector vector_cosine_ops) with (lists = 100)"
            )
        )
        session.commit()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "rows_per_second": rows / seconds, "peak_mb": round(peak)}))


def copy(store: Path, session: Any, limit: int) -> int:
    """Read with chromadb, insert as Open WebUI does."""
    rows = 0
    client = client_of(store)
    for one in client.list_collections():
        collection = client.get_collection(one.name, embedding_function=None)
        for offset in range(0, collection.count(), PAGE):
            got = collection.get(limit=PAGE, offset=offset, include=["embeddings", "documents", "metadatas"])
            chunks = [
                DocumentChunk(
                    id=chunk,
                    vector=vector.tolist() + [0.0] * (WIDTH - len(vector)),
                    collection_name=one.name,
                    text=document,
                    vmetadata=metadata,
                )
                for chunk, vector, document, metadata in zip(
                    got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True
                )
            ]
            session.bulk_save_objects(chunks)
            session.commit()
            rows += len(chunks)
            if rows >= limit:
                return rows
    return rows


if __name__ == "__main__":
    main()
