"""Looks at everything that would be moved, and changes nothing. Works while Open WebUI is serving: it reads a private
copy of the store."""

import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import document_chunk
from .applications import list_orphans
from .chroma_catalog import Catalog, Collection, is_store
from .chroma_store import SLICE_ROWS, ChromaStore
from .cleaning import POLICIES, STOP, clean
from .database import application_url, connected, vectors_url
from .errors import UnknownFormat
from .files import ROOTS
from .index_plan import choose_index
from .progress import Progress, silent
from .selection import Selection, duplicate_ids
from .snapshot import file_states, private_copy, store_fingerprint
from .sources import can_fall_back, read_catalog_or_fall_back

_MEANING = {
    "nul": "rows contain NUL characters, which PostgreSQL refuses",
    "lone_surrogate": "rows contain text that is not valid UTF-8",
    "missing_text": "rows have no text; they are copied with none",
    "nan": "vectors contain NaN or infinity, which pgvector refuses",
    "zero_vector": "vectors are all zeros and would score NaN",
    "missing_vector": "rows have no usable vector in the store",
    "oversize_text": "texts have more distinct words than a PostgreSQL text index can hold",
}


@dataclass(slots=True)
class Problems:
    """Findings by code, with the first twenty ids of each."""

    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _whole: list[dict[str, Any]] = field(default_factory=list)

    def count(self, code: str, one: str) -> None:
        """Count one row."""
        self._counts[code] += 1
        if len(self._ids[code]) < 20:
            self._ids[code].append(one)

    def add(
        self, code: str, severity: str, message: str, *, ids: list[str] | None = None, count: int = 1, policy: str = ""
    ) -> None:
        """Add a finished problem."""
        self._whole.append(
            {
                "code": code,
                "severity": severity,
                "message": message,
                "ids": (ids or [])[:20],
                "count": count,
                "policy": policy,
            }
        )

    def as_json(self) -> list[dict[str, Any]]:
        """Return all, blocking ones first."""
        rows = [
            {
                "code": code,
                "severity": "warning" if POLICIES[code] != "clean" or code != "missing_text" else "note",
                "message": f"{count:,} {_MEANING[code]}",
                "ids": self._ids[code],
                "count": count,
                "policy": POLICIES[code],
            }
            for code, count in self._counts.items()
        ]
        order = {"blocking": 0, "warning": 1, "note": 2}
        return sorted(self._whole + rows, key=lambda one: order[one["severity"]])


def inspect(
    data: Path,
    scratch: Path,
    *,
    column_dimension: int = 1536,
    database: bool = False,
    selection: Selection | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return what is there and every problem found."""
    problems = Problems()
    store = data / "vector_db"
    chosen = selection or Selection()
    chroma = _inspect_store(store, scratch, column_dimension, chosen, problems, progress)
    result: dict[str, Any] = {"chroma": chroma, "files": _inspect_files(data)}
    if database:
        result["database"] = _inspect_database(chroma, problems)
    result["problems"] = problems.as_json()
    return result


def _inspect_store(store: Path, scratch: Path, look: "_Look", problems: Problems, progress: Progress) -> dict[str, Any]:
    nothing = {"version_hint": None, "collections": [], "rows": 0, "bytes": 0, "log_rows": 0, "fingerprint": None}
    if not is_store(store):
        problems.add(
            "not_a_chroma_store",
            "blocking",
            f"{store} holds no chroma.sqlite3; stores of chromadb before 0.4 (DuckDB) must be upgraded by"
            " Open WebUI first",
            policy=STOP,
        )
        return nothing
    own = scratch / "inspect"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True, exist_ok=True)
    try:
        copy, fingerprint = private_copy(store, own, progress=progress)
        size = sum(size for size, _ in file_states(copy).values())

        def describe(catalog: Catalog) -> dict[str, Any]:
            found = Problems()
            look.at_collections(catalog, found)
            look.at_rows(catalog, found, progress)
            problems.extend(found)
            return _describe(catalog, look, fingerprint, size)

        described, reader = with_fallback(store, copy, own, describe, selection=look.selection, progress=progress)
        if reader != "files":
            problems.add("read_by_chromadb", "note", f"read by {reader}", policy="chromadb reads a private copy")
        return described
    except (UnknownFormat, PermanentError) as error:
        problems.add("not_a_chroma_store", "blocking", error.message, policy=STOP)
        return {**nothing, "fingerprint": store_fingerprint(store)}
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _describe(catalog: Catalog, look: "_Look", fingerprint: str, size: int) -> dict[str, Any]:
    return {
        "version_hint": catalog.version_hint,
        "collections": [
            {
                "name": one.name,
                "id": one.id,
                "rows": one.rows,
                "dimension": one.dimension,
                "space": one.space,
                "kind": one.kind,
            }
            for one in catalog.collections
        ],
        "rows": catalog.rows,
        "bytes": size,
        "log_rows": catalog.log_rows,
        "fingerprint": fingerprint,
        "index_plan": _index_plan(catalog),
    }


def _index_plan(catalog: Catalog) -> dict[str, Any]:
    largest = max((one.rows for one in catalog.collections), default=0)
    return choose_index(catalog.rows, largest, 1536, 256 << 20).as_json()


def _look_at_collections(catalog: Catalog, column_dimension: int, selection: Selection, problems: Problems) -> None:
    collections = selection.of(catalog)
    count, duplicates = duplicate_ids(catalog, collections)
    if count:
        named = "; ".join(f"{one.id} in {' and '.join(one.collections)}" for one in duplicates)
        problems.add(
            "duplicate_id",
            "blocking",
            f"{count:,} ids are in more than one collection, document_chunk can hold each once: {named}",
            ids=[one.id for one in duplicates],
            count=count,
            policy=STOP,
        )
    long = [one for one in collections if (one.dimension or 0) > column_dimension]
    if long:
        named = ", ".join(f"{one.name} ({one.dimension})" for one in long[:20])
        problems.add(
            "vector_too_long",
            "blocking",
            f"{len(long)} collections have embeddings longer than {column_dimension} dimensions, Open WebUI"
            f" would cut them: {named}",
            ids=[one.name for one in long],
            count=len(long),
            policy=STOP,
        )
    dimensions = sorted({one.dimension for one in collections if one.dimension and one.rows})
    if len(dimensions) > 1:
        problems.add(
            "mixed_dimension",
            "note",
            f"collections have embeddings of {', '.join(map(str, dimensions))} dimensions: of several embedding models",
            count=len(dimensions),
            policy="padded with zeros to the column's dimension",
        )
    _note_left_out(catalog, collections, problems)
    lagging = [one for one in collections if one.metadata_lag]
    if lagging:
        problems.add(
            "metadata_lag",
            "warning" if can_fall_back() else "blocking",
            f"texts and metadata of {len(lagging)} collections are behind the log:"
            f" {', '.join(one.name for one in lagging[:20])}",
            ids=[one.name for one in lagging],
            count=sum(one.metadata_lag for one in lagging),
            policy="chromadb itself reads a private copy" if can_fall_back() else STOP,
        )
    other = [one.name for one in collections if one.space != "cosine" and one.rows]
    if other:
        problems.add(
            "other_distance",
            "note",
            f"{len(other)} collections were searched by l2 or ip; with PGVector Open WebUI always searches by"
            " cosine distance",
            ids=other,
            count=len(other),
            policy="vectors are copied as they are",
        )


def _note_left_out(catalog: Catalog, collections: tuple[Collection, ...], problems: Problems) -> None:
    left_out = [one for one in catalog.collections if one not in collections]
    for code, some, what in (
        (
            "web_search",
            [one for one in left_out if one.kind == "web-search"],
            "hold web search results, which are thrown away anyway",
        ),
        (
            "other_database",
            [one for one in left_out if one.kind != "web-search"],
            "belong to another tenant or database than Open WebUI's",
        ),
    ):
        if some:
            problems.add(
                code,
                "note",
                f"{len(some)} collections {what}: {sum(one.rows for one in some):,} rows",
                ids=[one.name for one in some],
                count=len(some),
                policy="keep_out",
            )


def _look_at_rows(catalog: Catalog, selection: Selection, problems: Problems, progress: Progress) -> None:
    collections = [one for one in selection.of(catalog) if not one.metadata_lag]
    total = sum(one.rows for one in collections)
    done = 0
    with ChromaStore(catalog) as source:
        for collection in collections:
            keys = source.keys(collection)
            for at in range(0, len(keys), SLICE_ROWS):
                rows = source.read(collection, keys[at : at + SLICE_ROWS])
                for finding in clean(rows)[1]:
                    problems.count(finding.code, finding.id)
                done += len(rows)
                progress("inspect", done, total, "rows")


def _inspect_files(data: Path) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for root in ROOTS:
        files = [path for path in (data / root).rglob("*") if path.is_file() and not path.is_symlink()]
        sizes[root] = {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return {**sizes, "embedding_models": embedding_models(data)}


def embedding_models(data: Path) -> list[str]:
    """Return the embedding models in the cache. Source: open_webui/env.py, SENTENCE_TRANSFORMERS_HOME =
    cache/embedding/models."""
    folder = data / "cache" / "embedding" / "models"
    return (
        sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if folder.is_dir()
        else []
    )


def _inspect_database(chroma: dict[str, Any], problems: Problems) -> dict[str, Any]:
    with connected(vectors_url()) as connection:
        state = document_chunk.read_state(connection)
    with connected(application_url()) as connection:
        orphans = list_orphans(connection, [one["name"] for one in chroma["collections"]])
    if state is not None and not state.ours:
        problems.add(
            "not_owner",
            "blocking",
            f"document_chunk belongs to {state.owner}; Open WebUI's role must own it, or its start fails",
            policy=STOP,
        )
    if state is not None and state.rows:
        problems.add(
            "rows_before",
            "warning",
            f"document_chunk already holds {state.rows:,} rows; they are kept, and rows with the same id are"
            " not copied",
            count=state.rows,
            policy="keep_out",
        )
    if orphans:
        problems.add(
            "orphan",
            "note",
            f"{len(orphans)} collections belong to no file, knowledge or user of the application; they are"
            " copied as they are",
            ids=orphans,
            count=len(orphans),
            policy="copied",
        )
    return {"document_chunk": state.as_json() if state else None, "orphans": orphans}
