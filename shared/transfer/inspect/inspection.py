"""Looks at everything that would be moved, and changes nothing. Works while Open WebUI serves: it reads the store in
a quiet moment, or else a private copy of it."""

import shutil
from pathlib import Path
from typing import Any

from ..chroma.catalog import Catalog, is_store
from ..chroma.selection import Selection
from ..chroma.snapshot import file_states, fingerprint, read_undisturbed, store_fingerprint
from ..chroma.sources import with_fallback
from ..errors import NotAStore, UnknownFormat
from ..files.files import ROOTS
from ..pgvector import document_chunk
from ..pgvector.database import application_url, connected, vectors_url
from ..progress import Progress, silent
from ..rows.cleaning import KEEP_OUT, STOP
from .orphans import list_orphans
from .problems import BLOCKING, NOTE, WARNING, Problems
from .store_inspection import StoreInspection


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
    own = scratch / "inspect"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    try:
        chroma = _inspect_store(store, own, selection or Selection(), column_dimension, problems, progress=progress)
    except (NotAStore, UnknownFormat) as error:
        problems.add("not_a_chroma_store", BLOCKING, error.message, policy=STOP)
        chroma = {**_nothing(), "fingerprint": store_fingerprint(store)}
    finally:
        shutil.rmtree(own, ignore_errors=True)
    result: dict[str, Any] = {"chroma": chroma, "files": _inspect_files(data)}
    if database:
        result["database"] = _inspect_database([one["name"] for one in chroma["collections"]], problems)
    result["problems"] = problems.as_json()
    return result


def _nothing() -> dict[str, Any]:
    return {"version_hint": None, "collections": [], "rows": 0, "bytes": 0, "log_rows": 0, "fingerprint": None}


def _inspect_store(
    store: Path,
    scratch: Path,
    selection: Selection,
    column_dimension: int,
    problems: Problems,
    *,
    progress: Progress,
) -> dict[str, Any]:
    if not is_store(store):
        message = (
            f"{store} holds no chroma.sqlite3; a store of chromadb before 0.4 must be upgraded by Open WebUI first"
        )
        problems.add("not_a_chroma_store", BLOCKING, message, policy=STOP)
        return _nothing()

    def look(catalog: Catalog) -> StoreInspection:
        inspection = StoreInspection(catalog, selection, column_dimension)
        inspection.look(progress)
        return inspection

    def read(path: Path) -> tuple[StoreInspection, str, str, int]:
        states = file_states(path)
        inspection, reader = with_fallback(store, path, scratch, look, selection=selection, progress=progress)
        return inspection, reader, fingerprint(states), sum(size for size, _ in states.values())

    inspection, reader, mark, size = read_undisturbed(store, scratch, read, progress=progress)
    if reader != "files":
        problems.add("read_by_chromadb", NOTE, f"the store is read by {reader}", policy="slower, from a private copy")
    problems.extend(inspection.problems)
    return inspection.as_json(mark, size)


def _inspect_files(data: Path) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for root in ROOTS:
        files = [path for path in (data / root).rglob("*") if path.is_file() and not path.is_symlink()]
        sizes[root] = {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return {**sizes, "embedding_models": embedding_models(data)}


def embedding_models(data: Path) -> list[str]:
    """Return the embedding models in the cache.

    Source: open_webui/env.py, SENTENCE_TRANSFORMERS_HOME = cache/embedding/models.
    """
    folder = data / "cache" / "embedding" / "models"
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _inspect_database(collections: list[str], problems: Problems) -> dict[str, Any]:
    with connected(vectors_url()) as connection:
        state = document_chunk.read_state(connection)
    with connected(application_url()) as connection:
        orphans = list_orphans(connection, collections)
    if state is not None and not state.ours:
        message = f"document_chunk belongs to {state.owner}; Open WebUI's role must own it, or its start fails"
        problems.add("not_owner", BLOCKING, message, policy=STOP)
    if state is not None and state.rows:
        message = f"document_chunk already holds {state.rows:,} rows; they stay, and rows with their ids are not copied"
        problems.add("rows_before", WARNING, message, count=state.rows, policy=KEEP_OUT)
    if orphans:
        message = f"{len(orphans)} collections belong to no file, knowledge base or user of the application"
        problems.add("orphan", NOTE, message, ids=orphans, policy="copied as they are")
    return {"document_chunk": state.as_json() if state else None, "orphans": orphans}
