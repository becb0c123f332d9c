"""Exact nearest neighbours, at the source with numpy and at the target with SQL, for sampled queries."""

from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from .chroma_catalog import Collection
from .cleaning import clean
from .copy_binary import VectorColumn
from .errors import VerificationFailed
from .progress import Progress, silent
from .rows import Rows
from .sources import Source

K = 10
_ROWS_A_COLLECTION = 5000
_TOLERANCE = 1e-5


def check_top_k(
    connection: "psycopg.Connection",
    source: Source,
    collections: tuple[Collection, ...],
    column: VectorColumn,
    *,
    samples: int,
    progress: Progress = silent,
) -> int:
    """Compare the top ten of sampled stored vectors; return how many. Raises VerificationFailed with the collection and
    the query's id.

    Only collections of at most 5,000 rows are asked, so that the source's side stays small; the largest of these come
    first.
    """
    fitting = sorted(
        (one for one in collections if 0 < one.rows <= _ROWS_A_COLLECTION and one.dimension), key=lambda one: -one.rows
    )
    checked = 0
    for at, collection in enumerate(fitting[:samples]):
        keys = source.keys(collection)
        rows, _ = clean(source.read(collection, keys))
        if not len(rows):
            continue
        for position in (
            np.random.default_rng(len(rows))
            .choice(len(rows), max(1, samples // max(1, len(fitting))), replace=True)
            .tolist()
        ):
            _compare(connection, collection, rows, position, column)
            checked += 1
        progress("compare searches", at + 1, min(samples, len(fitting)), "collections")
    return checked


def _compare(
    connection: "psycopg.Connection", collection: Collection, rows: Rows, position: int, column: VectorColumn
) -> None:
    query = rows.vectors[position]
    if not query.any() or not np.isfinite(query).all():
        return
    distances = cosine_distances(rows.vectors, query)
    usable = np.isfinite(distances)
    nearest = np.sort(distances[usable])[:K]
    found = search(connection, collection.name, query, column, exact=True)
    theirs = np.array([distance for _, distance in found[: len(nearest)]], np.float64)
    by_id = {
        one.decode("utf-8", "replace"): distance for one, distance in zip(rows.ids, distances.tolist(), strict=True)
    }
    tolerance = 2e-3 if column.half else _TOLERANCE
    own = [by_id.get(one, np.nan) for one, _ in found[: len(nearest)] if one in by_id]
    known = len(own) == len(found[: len(nearest)])
    if known and (
        len(theirs) < len(nearest)
        or not np.allclose(theirs, nearest, atol=tolerance)
        or not np.allclose(own, theirs, atol=tolerance)
    ):
        name = rows.ids[position].decode("utf-8", "replace")
        raise VerificationFailed(
            f"collection {collection.name}: the nearest neighbours of {name} differ", hint="run verify-vectors --full"
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
