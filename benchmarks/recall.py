"""Recall of every index that Open WebUI could have, on one table with small and large collections."""

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from shared.transfer.pgvector.database import connected
from shared.transfer.pgvector.indexes import VECTOR_INDEX, build_indexes
from shared.transfer.pgvector.recall import measure_recall
from shared.transfer.rows.copy_binary import VectorColumn

SAMPLES = 30


@dataclass(frozen=True)
class Candidate:
    """An index by the name the table gives it; None for exact search."""

    name: str
    sql: str | None


_USING = f"create index {VECTOR_INDEX} on document_chunk using"
EXACT = Candidate("exact search (btree)", None)
IVFFLAT = Candidate(
    "ivfflat (100), Open WebUI's default", f"{_USING} ivfflat (vector vector_cosine_ops) with (lists = 100)"
)
IVFFLAT_ROOT = Candidate("ivfflat (√rows)", f"{_USING} ivfflat (vector vector_cosine_ops) with (lists = {{root}})")
HNSW = Candidate("hnsw (16, 64)", f"{_USING} hnsw (vector vector_cosine_ops) with (m = 16, ef_construction = 64)")


def measure(url: str, column: VectorColumn, candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
    """Build each candidate and measure recall@10 and build time; last, what the product builds by itself."""
    with connected(url, autocommit=True) as connection:
        connection.execute(f"drop index if exists {VECTOR_INDEX}")
    return [*(_measure_one(url, column, candidate) for candidate in candidates), _measure_plan(url, column)]


def _measure_plan(url: str, column: VectorColumn) -> dict[str, Any]:
    """Let the product plan, build, measure, and take back what finds too little."""
    built = build_indexes(url)
    plan = built["plan"]
    chosen = {
        "none": "exact search",
        "hnsw": f"hnsw ({plan['m']}, {plan['ef_construction']})",
        "ivfflat": f"ivfflat ({plan['lists']})",
    }[plan["method"]]
    return {
        **_found(url, column, f"**the plan: {chosen}**"),
        "build_seconds": round(built["seconds_by_index"].get(VECTOR_INDEX, 0.0), 1),
        "reason": plan["reason"],
    }


def _measure_one(url: str, column: VectorColumn, candidate: Candidate) -> dict[str, Any]:
    started = time.perf_counter()
    with connected(url) as connection:
        if candidate.sql:
            row = connection.execute("select greatest(10, sqrt(count(*))::int) from document_chunk").fetchone()
            connection.execute("set local maintenance_work_mem = '1GB'")
            connection.execute(candidate.sql.format(root=row[0] if row else 10))
    built = time.perf_counter() - started
    found = _found(url, column, candidate.name)
    with connected(url) as connection:
        connection.execute(f"drop index if exists {VECTOR_INDEX}")
    return {**found, "build_seconds": round(built, 1) if candidate.sql else 0.0}


def _found(url: str, column: VectorColumn, name: str) -> dict[str, Any]:
    with connected(url) as connection:
        recalls = measure_recall(connection, column, SAMPLES)
        connection.rollback()
        return {
            "index": name,
            "lowest": min(recalls.values(), default=1.0),
            "mean": round(sum(recalls.values()) / max(1, len(recalls)), 4),
            "milliseconds": _search_milliseconds(connection),
        }


def _search_milliseconds(connection: "psycopg.Connection") -> float:
    """Return the median time of a search in the largest collection."""
    row = connection.execute(
        "select collection_name, (array_agg(vector::text))[1:15] from document_chunk"
        " group by 1 order by count(*) desc limit 1"
    ).fetchone()
    if row is None:
        return 0.0
    times = []
    for text in row[1]:
        started = time.perf_counter()
        connection.execute(
            "select id from document_chunk where collection_name = %s order by vector <=> %s::vector limit 10",
            (row[0], text),
        ).fetchall()
        times.append(time.perf_counter() - started)
    return round(sorted(times)[len(times) // 2] * 1000, 1)
