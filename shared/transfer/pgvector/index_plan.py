"""Decides which vector index document_chunk gets, so that searches find what exact search finds. Pure.

Open WebUI filters by collection before it orders by distance. Up to a few thousand rows a collection, PostgreSQL reads
the collection through the btree and sorts: exact, and faster than any vector index would be. A vector index only helps
large collections, and costs recall: on 100,000 rows ivfflat(100) finds 0.85 of the true neighbours after the load (0.18
when built on the empty table), ivfflat(√n) 0.85–0.96, hnsw 0.93–0.98. So the plan keeps exact search until a collection
is so large that it would take longer than a person notices, and then takes the index with parameters that measure at
least 0.99, in Open WebUI's own limits.

Source: measurements in docs/benchmarks.md; open_webui pgvector.py (PGVECTOR_INDEX_METHOD, PGVECTOR_HNSW_M,
PGVECTOR_HNSW_EF_CONSTRUCTION, PGVECTOR_IVFFLAT_LISTS; an ivfflat index is only made at start once there are 50 × lists
rows; start fails when the index found has another method than configured).
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

# Exact search reads about 0.6 µs a dimension and row, from memory. Source: 512 ms for 50,000 rows × 1536
# (docs/benchmarks.md).
_EXACT_SECONDS_A_VALUE = 6.7e-9
_PATIENCE_SECONDS = 0.35
_MAX_INDEXED = {"vector": 2000, "halfvec": 4000}


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What to build, why, and the settings Open WebUI needs so that its start accepts it and makes nothing else.

    `method` is none, hnsw or ivfflat. `maintenance_work_mem` is for the session that builds.
    """

    method: str
    m: int = 16
    ef_construction: int = 64
    lists: int = 100
    maintenance_work_mem: str = "256MB"
    reason: str = ""

    def settings(self) -> dict[str, str]:
        """Return the environment that Open WebUI needs."""
        if self.method == "hnsw":
            return {
                "PGVECTOR_INDEX_METHOD": "hnsw",
                "PGVECTOR_HNSW_M": str(self.m),
                "PGVECTOR_HNSW_EF_CONSTRUCTION": str(self.ef_construction),
            }
        if self.method == "ivfflat":
            return {"PGVECTOR_INDEX_METHOD": "ivfflat", "PGVECTOR_IVFFLAT_LISTS": str(self.lists)}
        # Open WebUI has no "none": it makes ivfflat once 50 × lists rows exist. So many lists are never reached.
        return {"PGVECTOR_INDEX_METHOD": "ivfflat", "PGVECTOR_IVFFLAT_LISTS": str(self.lists)}

    def as_json(self) -> dict[str, Any]:
        """Return it for a result line and for `--plan`."""
        return {**asdict(self), "settings": self.settings()}

    @staticmethod
    def from_json(text: str) -> "IndexPlan":
        """Read `--plan`; unknown keys are ignored."""
        given = json.loads(text)
        return IndexPlan(**{key: given[key] for key in IndexPlan.__slots__ if key in given})


def choose_index(
    rows: int, largest_collection: int, dimension: int, memory_bytes: int, *, column: str = "vector"
) -> IndexPlan:
    """Choose from the row counts, the column's dimension (padding included) and the memory a build may use."""
    exact_seconds = largest_collection * dimension * _EXACT_SECONDS_A_VALUE
    memory = f"{max(64, min(memory_bytes // (1 << 20), 8192))}MB"
    never = 32768  # pgvector's most lists: Open WebUI would make an index from 1,638,400 rows on
    if dimension > _MAX_INDEXED[column]:
        return IndexPlan(
            "none", lists=never, maintenance_work_mem=memory, reason=f"{column}({dimension}) cannot be indexed"
        )
    if exact_seconds <= _PATIENCE_SECONDS:
        return IndexPlan(
            "none",
            lists=never,
            maintenance_work_mem=memory,
            reason=(
                f"exact search of the largest collection ({largest_collection:,} rows) takes about"
                f" {exact_seconds * 1000:.0f} ms; recall 1.0"
            ),
        )
    element = 4 if column == "vector" else 2
    graph_bytes = rows * (dimension * element + 16 * 2 * 8 * 2)
    m, ef = (24, 200) if graph_bytes <= memory_bytes else (16, 128)
    return IndexPlan(
        "hnsw",
        m=m,
        ef_construction=ef,
        maintenance_work_mem=memory,
        reason=(
            f"exact search of the largest collection ({largest_collection:,} rows) would take about"
            f" {exact_seconds:.1f} s"
        ),
    )
