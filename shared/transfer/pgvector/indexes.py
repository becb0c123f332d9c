"""Builds the indexes of document_chunk after the load, side by side, each in its own session.

Names and definitions are Open WebUI's, so its start finds them and makes no other. An index that existed before the
load is stale (an ivfflat index built on an empty table finds 0.18 of the neighbours) or of another method (start
fails), so a vector index is always made anew. A measured recall below the limit takes the vector index away again:
exact search is then the plan.
"""

import threading
import time
from typing import Any

import psycopg

from ..errors import TransferError, TransientError
from ..progress import Progress, silent
from ..rows.copy_binary import VectorColumn
from . import document_chunk
from .database import connected
from .index_plan import IndexPlan, choose_index
from .recall import measure_recall

COLLECTION_INDEX = "idx_document_chunk_collection_name"
TEXT_INDEX = "idx_document_chunk_text_search"
VECTOR_INDEX = "idx_document_chunk_vector"
RECALL_WANTED = 0.99
_AT_MOST = (
    "select set_config('max_parallel_maintenance_workers',"
    " least({helpers}, current_setting('max_parallel_maintenance_workers')::int)::text, true)"
)
_UNDER_WAY = TransientError(
    "an earlier attempt is still building the indexes", hint="run the same command again when it has ended"
)


def plan_from_table(connection: "psycopg.Connection", column: VectorColumn) -> IndexPlan:
    """Choose an index from what the table holds and what the server allows."""
    counts = document_chunk.counts(connection)
    row = connection.execute("select pg_size_bytes(current_setting('shared_buffers'))").fetchone()
    memory = min(2 << 30, max(256 << 20, row[0] if row else 0))
    return choose_index(
        sum(counts.values()), max(counts.values(), default=0), column.dimension, memory, column=column.name
    )


def build_indexes(
    url: str, *, plan: IndexPlan | None = None, samples: int = 20, progress: Progress = silent
) -> dict[str, Any]:
    """Build what the plan says and measure the recall; return seconds by index and the settings Open WebUI needs."""
    started = time.perf_counter()
    with connected(url) as connection:
        column = document_chunk.require_table(connection)
        plan = plan or plan_from_table(connection, column)
        existing = _definitions(connection)
    statements = _statements(plan, column, existing)
    seconds = _run_side_by_side(url, statements, plan.maintenance_work_mem, progress)
    with connected(url, autocommit=True) as connection:
        if VECTOR_INDEX in existing and plan.method == "none":
            connection.execute(f"drop index if exists {VECTOR_INDEX}")
        connection.execute("vacuum (analyze) document_chunk")  # also lets counts read the index alone
    with connected(url) as connection:
        recall = measure_recall(connection, column, samples) if plan.method != "none" else {}
        lowest = min(recall.values(), default=1.0)
        if plan.method != "none" and lowest < RECALL_WANTED:
            connection.execute(f"drop index if exists {VECTOR_INDEX}")
            plan = IndexPlan(
                "none",
                lists=32768,
                maintenance_work_mem=plan.maintenance_work_mem,
                reason=f"{plan.method} found {lowest:.3f} of the neighbours",
            )
            lowest = 1.0
    return {
        "plan": plan.as_json(),
        "seconds_by_index": seconds,
        "recall_at_10": lowest,
        "recall_by_collection": recall,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _definitions(connection: "psycopg.Connection") -> dict[str, str]:
    return dict(
        connection.execute(
            "select i.relname, pg_get_indexdef(x.indexrelid) || case when x.indisvalid then '' else '"
            " INVALID' end from pg_index x"
            " join pg_class i on i.oid = x.indexrelid where x.indrelid = to_regclass('document_chunk')"
        ).fetchall()
    )


def _statements(plan: IndexPlan, column: VectorColumn, existing: dict[str, str]) -> dict[str, list[str]]:
    """Return what each session has to do, by index; an index that is right already is left alone."""
    wanted = {
        COLLECTION_INDEX: f"create index {COLLECTION_INDEX} on document_chunk (collection_name)",
        TEXT_INDEX: (
            f"create index {TEXT_INDEX} on document_chunk using gin (to_tsvector('simple', coalesce(text, '')))"
        ),
    }
    if plan.method != "none":
        parameters = (
            f"m = {plan.m}, ef_construction = {plan.ef_construction}"
            if plan.method == "hnsw"
            else f"lists = {plan.lists}"
        )
        wanted[VECTOR_INDEX] = (
            f"create index {VECTOR_INDEX} on document_chunk using {plan.method} (vector"
            f" {column.name}_cosine_ops) with ({parameters})"
        )
    needed = {}
    for name, create in wanted.items():
        there = existing.get(name)
        if there is None:
            needed[name] = [create]
        elif name == VECTOR_INDEX or "INVALID" in there:
            needed[name] = [f"drop index if exists {name}", create]
    for name, helpers in _most_helpers(plan).items():
        if name in needed:
            needed[name].insert(0, _AT_MOST.format(helpers=helpers))
    return needed


def _most_helpers(plan: IndexPlan) -> dict[str, int]:
    """Return how many processes may help a build at most, where the server's own number is not the best. Pure.

    ivfflat's k-means and insertions are one process's work: helpers hardly hasten it, and take the processor from the
    text index. That one in turn must leave something to the vector index beside it: small servers have two cores.
    """
    if plan.method == "none":
        return {}
    return {TEXT_INDEX: 1} | ({VECTOR_INDEX: 0} if plan.method == "ivfflat" else {})


def _run_side_by_side(url: str, statements: dict[str, list[str]], memory: str, progress: Progress) -> dict[str, float]:
    seconds: dict[str, float] = {}
    failures: list[TransferError] = []
    threads = [
        threading.Thread(
            target=_build,
            args=(url, name, some),
            kwargs={"memory": memory, "seconds": seconds, "failures": failures},
            daemon=True,
        )
        for name, some in statements.items()
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        progress("build indexes", len(seconds), len(threads), "indexes")
        threads[0].join(0.25)
        threads.append(threads.pop(0))
    progress("build indexes", len(seconds), len(threads), "indexes")
    if failures:
        raise failures[0]
    return seconds


def _build(
    url: str,
    name: str,
    statements: list[str],
    *,
    memory: str,
    seconds: dict[str, float],
    failures: list[TransferError],
) -> None:
    started = time.perf_counter()
    try:
        with connected(url) as connection:
            connection.execute(f"set local maintenance_work_mem = '{memory}'")
            # A build whose client was killed ends, too, instead of blocking the next one.
            connection.execute("set local client_connection_check_interval = '2s'")
            for statement in statements:
                connection.execute(statement)
    except TransferError as error:
        built = isinstance(error.__cause__, (psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation))
        failures.append(_UNDER_WAY if built else error)
    seconds[name] = round(time.perf_counter() - started, 3)
