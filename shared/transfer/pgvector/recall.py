"""Measures, per collection, how many of the true ten nearest neighbours a search through the index finds."""

import numpy as np
import psycopg

from ..rows.copy_binary import VectorColumn
from .top_k import K, search


def measure_recall(connection: "psycopg.Connection", column: VectorColumn, samples: int) -> dict[str, float]:
    """Return recall@10 by collection, for stored vectors sampled from the largest and some of the smaller collections.

    The index is asked as Open WebUI asks it: relaxed iterative scans. Source: PGVECTOR_ITERATIVE_SCAN, default
    relaxed_order.
    """
    collections = connection.execute(
        "select collection_name from document_chunk group by 1 having count(*) >= %s order by count(*) desc", (K,)
    ).fetchall()
    names = [name for (name,) in collections]
    chosen = names[:5] + names[5 :: max(1, len(names) // 5)][:5]
    connection.rollback()
    return {name: _recall(connection, name, column, max(3, samples // max(1, len(chosen)))) for name in chosen}


def _recall(connection: "psycopg.Connection", name: str, column: VectorColumn, samples: int) -> float:
    rows = connection.execute(
        "select vector::text from document_chunk where collection_name = %s order by md5(id) limit %s", (name, samples)
    ).fetchall()
    found = wanted = 0
    for (text,) in rows:
        stored = np.array(text.strip("[]").split(","), np.float32)
        query = (
            stored
            + np.random.default_rng(1).normal(size=stored.shape).astype(np.float32)
            * (stored != 0)
            * 0.2
            * np.abs(stored).mean()
        )
        exact = search(connection, name, query, column, exact=True)
        connection.rollback()
        connection.execute("set local hnsw.iterative_scan = relaxed_order")
        connection.execute("set local ivfflat.iterative_scan = relaxed_order")
        limit = exact[-1][1] + 1e-6
        found += sum(distance <= limit for _, distance in search(connection, name, query, column, exact=False))
        connection.rollback()
        wanted += len(exact)
    return round(found / wanted, 4) if wanted else 1.0
