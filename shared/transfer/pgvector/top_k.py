"""Exact nearest neighbours, at the source with numpy and at the target with SQL, for sampled queries."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from ..chroma.catalog import Collection
from ..chroma.sources import Source
from ..errors import VerificationFailed
from ..progress import Progress, silent
from ..rows.cleaning import clean
from ..rows.copy_binary import VectorColumn

K = 10
_ROWS_A_COLLECTION = 5000
_SLICE_ROWS = 1000
_QUERIES_OF_ONE = 3  # their distances are kept, so a single large collection gets few
_TOLERANCE = 1e-5
_HALF_TOLERANCE = 2e-3


def check_top_k(
    connection: "psycopg.Connection",
    source: Source,
    collections: tuple[Collection, ...],
    column: VectorColumn,
    *,
    samples: int,
    progress: Progress = silent,
) -> int:
    """Compare the top ten of sampled stored vectors; return how many.

    Raises VerificationFailed with the collection and the query's id. Asked are the largest collections of at most 5,000
    rows, so that reading them takes little; if there is none, the smallest of the larger ones.
    """
    filled = sorted((one for one in collections if one.rows and one.dimension), key=lambda one: -one.rows)
    asked = [one for one in filled if one.rows <= _ROWS_A_COLLECTION][:samples] or filled[-1:]
    each = max(1, samples // max(1, len(asked))) if filled and asked != filled[-1:] else _QUERIES_OF_ONE
    checked = 0
    for at, collection in enumerate(asked):
        for query in _sampled_queries(source, collection, each):
            _compare(connection, collection, query, column)
            checked += 1
        progress("compare searches", at + 1, len(asked), "collections")
    return checked


@dataclass(frozen=True, slots=True)
class _Query:
    """A stored vector to search for, and how far every row of its collection is from it."""

    id: str
    vector: NDArray[np.float32]
    distances: dict[str, float]


def _sampled_queries(source: Source, collection: Collection, count: int) -> list[_Query]:
    """Sample rows, and measure their distances to all rows of the collection, a slice at a time."""
    keys = source.keys(collection)
    if not len(keys):
        return []
    chosen = np.unique(np.random.default_rng(len(keys)).choice(keys, min(count, len(keys)), replace=False))
    sampled, _ = clean(source.read(collection, chosen))
    queries = [_Query(one.decode(), vector, {}) for one, vector in zip(sampled.ids, sampled.vectors, strict=True)]
    for at in range(0, len(keys), _SLICE_ROWS):
        rows, _ = clean(source.read(collection, keys[at : at + _SLICE_ROWS]))
        names = [one.decode() for one in rows.ids]
        for query in queries:
            found = cosine_distances(rows.vectors, query.vector).tolist()
            query.distances.update(zip(names, found, strict=True))
    return queries


def _compare(connection: "psycopg.Connection", collection: Collection, query: _Query, column: VectorColumn) -> None:
    nearest = sorted(query.distances.values())[:K]
    found = search(connection, collection.name, query.vector, column, exact=True)
    theirs = [distance for _, distance in found]
    ours = [query.distances.get(one, np.nan) for one, _ in found]  # ties may come in another order
    tolerance = _HALF_TOLERANCE if column.half else _TOLERANCE
    if len(found) != len(nearest) or not (
        np.allclose(theirs, nearest, atol=tolerance) and np.allclose(theirs, ours, atol=tolerance)
    ):
        raise VerificationFailed(
            f"collection {collection.name}: the nearest neighbours of {query.id} differ",
            hint="run verify-vectors --full",
        )


def cosine_distances(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 − cosine; NaN for zero vectors."""
    wide = vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = (
            wide @ query.astype(np.float64) / (np.linalg.norm(wide, axis=1) * np.linalg.norm(query.astype(np.float64)))
        )
    return np.asarray(1 - similarity, np.float64)


def search(
    connection: "psycopg.Connection",
    collection: str,
    query: NDArray[np.float32],
    column: VectorColumn,
    *,
    exact: bool,
    k: int = K,
) -> list[tuple[str, float]]:
    """Search as Open WebUI does; `exact` keeps the vector index out. Source: open_webui pgvector.py,
    PgvectorClient.search."""
    padded = np.zeros(column.dimension, np.float32)
    padded[: len(query)] = query
    literal = "[" + ",".join(map(repr, padded.tolist())) + "]"
    with connection.transaction():
        if exact:
            connection.execute("set local enable_indexscan = off")
        found: list[Any] = connection.execute(
            f"select id, vector <=> %s::{column.sql} as distance from document_chunk where collection_name ="
            " %s order by distance limit %s",
            (literal, collection, k),
        ).fetchall()
    return [(one, float(distance)) for one, distance in found]
