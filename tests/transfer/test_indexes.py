"""The index plan as a table, and indexes on a real PostgreSQL."""

from pathlib import Path

import pytest

from shared.transfer.pgvector.index_plan import IndexPlan, choose_index
from shared.transfer.pgvector.indexes import COLLECTION_INDEX, TEXT_INDEX, VECTOR_INDEX, build_indexes
from tests.transfer.conftest import Target
from tests.transfer.test_copy import make_store

GIB = 1 << 30


@pytest.mark.parametrize(
    ("rows", "largest", "dimension", "method"),
    [
        (0, 0, 1536, "none"),
        (2_619, 1_170, 1536, "none"),
        (300_000, 20_000, 1536, "none"),
        (300_000, 100_000, 384, "none"),
        (300_000, 200_000, 384, "hnsw"),
        (100_000, 60_000, 1536, "hnsw"),
        (100_000, 60_000, 2001, "none"),
    ],
)
def test_takes_an_index_only_where_exact_search_is_felt(rows: int, largest: int, dimension: int, method: str) -> None:
    plan = choose_index(rows, largest, dimension, GIB)
    assert plan.method == method
    assert plan.reason


def test_its_settings_keep_open_webui_from_making_another_index() -> None:
    none = choose_index(1000, 1000, 1536, GIB).settings()
    assert none["PGVECTOR_INDEX_METHOD"] == "ivfflat"
    assert int(none["PGVECTOR_IVFFLAT_LISTS"]) * 50 > 1_000_000
    hnsw = choose_index(100_000, 100_000, 1536, GIB)
    assert hnsw.settings()["PGVECTOR_HNSW_M"] == str(hnsw.m)


def test_less_memory_means_a_smaller_graph() -> None:
    assert choose_index(900_000, 900_000, 1536, GIB).m < choose_index(100_000, 100_000, 1536, GIB).m


def test_a_plan_survives_json() -> None:
    plan = IndexPlan("hnsw", m=24, ef_construction=200, reason="why")
    assert (
        IndexPlan.from_json('{"method": "hnsw", "m": 24, "ef_construction": 200, "reason": "why", "settings": {}}')
        == plan
    )


def definitions(target: Target) -> dict[str, str]:
    with target.connect() as connection:
        return dict(
            connection.execute(
                "select indexname, indexdef from pg_indexes where tablename = 'document_chunk'"
            ).fetchall()
        )


def test_builds_open_webuis_indexes(target: Target, tmp_path: Path) -> None:
    target.copy(make_store(tmp_path / "store"))
    result = build_indexes(target.url)
    found = definitions(target)
    assert set(found) == {"document_chunk_pkey", COLLECTION_INDEX, TEXT_INDEX}
    assert "to_tsvector('simple'::regconfig, COALESCE(text, ''::text))" in found[TEXT_INDEX]
    assert set(result["seconds_by_index"]) == {COLLECTION_INDEX, TEXT_INDEX}
    assert build_indexes(target.url)["seconds_by_index"] == {}


def test_a_stale_vector_index_is_made_anew_or_removed(target: Target, tmp_path: Path) -> None:
    with target.connect() as connection:
        connection.execute(f"create index {VECTOR_INDEX} on document_chunk using ivfflat (vector vector_cosine_ops)")
        before = connection.execute(f"select '{VECTOR_INDEX}'::regclass::oid").fetchone()
    target.copy(make_store(tmp_path / "store"))
    result = build_indexes(target.url, plan=IndexPlan("hnsw", m=16, ef_construction=64))
    assert "hnsw" in definitions(target)[VECTOR_INDEX]
    assert result["recall_at_10"] >= 0.99
    with target.connect() as connection:
        assert connection.execute(f"select '{VECTOR_INDEX}'::regclass::oid").fetchone() != before
    build_indexes(target.url)
    assert VECTOR_INDEX not in definitions(target)


def test_an_index_that_finds_too_little_is_taken_away(target: Target, tmp_path: Path) -> None:
    target.copy(make_store(tmp_path / "store", rows=1000, dimension=16))
    result = build_indexes(target.url, plan=IndexPlan("ivfflat", lists=200))
    assert (result["plan"]["method"] == "none") == (VECTOR_INDEX not in definitions(target))
    assert result["recall_at_10"] >= 0.99
