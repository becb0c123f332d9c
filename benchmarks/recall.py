"""Recall of every index that Open WebUI could have, on one table with small and large collections."""

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from shared.transfer.copy_binary import VectorColumn
from shared.transfer.database import connected
from shared.transfer.index_plan import IndexPlan
from shared.transfer.indexes import VECTOR_INDEX, plan_from_table
from shared.transfer.recall import measure_recall

SAMPLES = 30


@dataclass(frozen=True)
class Candidate:
    """An index by the name the table gives it; None for exact search."""

    name: str
    sql: str | None


def measure(url: str, column: VectorColumn, rows: int) -> list[dict[str, Any]]:
    """Build each candidate and measure recall@10 and build time."""
    root = max(10, int(rows**0.5))
    using = f"create index {VECTOR_INDEX} on document_chunk using"
    candidates = (
        Candidate("exact search (btree)", None),
        Candidate(
            "ivfflat (100), Open WebUI's default", f"{using} ivfflat (vector vector_cosine_ops) with (lists = 100)"
        ),
        Candidate(f"ivfflat ({root})", f"{using} ivfflat (vector vector_cosine_ops) with (lists = {root})"),
        Candidate("hnsw (16, 64)", f"{using} hnsw (vector vector_cosine_ops) with (m = 16, ef_construction = 64)"),
    )
    with connected(url, autocommit=True) as connection:
        connection.execute(f"drop index if exists {VECTOR_INDEX}")
    found = [_measure_one(url, column, candidate) for candidate in candidates]
    with connected(url) as connection:
        plan = plan_from_table(connection, column)
    return [*found, _chosen(found, plan)]


def _measure_one(url: str, column: VectorColumn, candidate: Candidate) -> dict[str, Any]:
    started = time.perf_counter()
    with connected(url) as connection:
        if candidate.sql:
            connection.execute("set local maintenance_work_mem = '1GB'")
            connection.execute(candidate.sql)
    built = time.perf_counter() - started
    with connected(url) as connection:
        recalls = measure_recall(connection, column, SAMPLES)
        connection.rollback()
        milliseconds = _search_milliseconds(connection)
        connection.execute(f"drop index if exists {VECTOR_INDEX}")
    return {
        "index": candidate.name,
        "lowest": min(recalls.values(), default=1.0),
        "mean": round(sum(recalls.values()) / max(1, len(recalls)), 4),
        "build_seconds": round(built, 1) if candidate.sql else 0.0,
        "milliseconds": milliseconds,
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


def _chosen(found: list[dict[str, Any]], plan: IndexPlan) -> dict[str, Any]:
    """Return the plan's line: exact search when it says none."""
    same = next(one for one in found if one["index"].startswith("exact" if plan.method == "none" else plan.method))
    return {**same, "index": f"**the plan: {'exact search' if plan.method == 'none' else plan.method}**"}
