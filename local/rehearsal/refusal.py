"""Refuse a folder that Open WebUI itself could not start from, before anything is raised for it."""

import sqlite3
from pathlib import Path
from typing import Any

from phases.run.catalogue import PHASES
from shared.model.survey import Problem, Severity
from shared.transfer.chroma.catalog import is_store, open_database
from shared.wire import to_wire

TABLES = {"collections", "segments", "embeddings", "embedding_metadata", "embeddings_queue"}


def unreadable_store(data: Path) -> Problem | None:
    """What is wrong with `vector_db`, when it is not Chroma's at all; everything finer is the plan's to find."""
    store = data / "vector_db"
    hint = "Point --data at the folder that holds vector_db, uploads and cache, as the volume has them."
    if not is_store(store):
        return Problem("not_a_chroma_store", Severity.BLOCKING, f"{store} holds no chroma.sqlite3", hint)
    try:
        with open_database(store) as database:
            names = database.execute("select name from sqlite_master where type = 'table'").fetchall()
    except sqlite3.DatabaseError as error:
        return Problem("not_a_chroma_store", Severity.BLOCKING, f"{store}/chroma.sqlite3 cannot be read: {error}", hint)
    missing = TABLES - {name.decode() for (name,) in names}
    if not missing:
        return None
    message = f"{store}/chroma.sqlite3 is not Chroma's: it has no table {', '.join(sorted(missing))}"
    return Problem("not_a_chroma_store", Severity.BLOCKING, message, hint)


def refused_report(problem: Problem) -> dict[str, Any]:
    """A report of the same shape as the app's, of a run that was never started."""
    return {
        "run": "",
        "state": "refused",
        "mode": "plan",
        "target": {"deployment": "open-webui", "namespace": "ollama"},
        "options": {},
        "failure": None,
        "undo_failure": None,
        "setbacks": [],
        "collections": 0,
        "rows_moved": 0,
        "rows_verified": 0,
        "files": {},
        "replicas_ready": 0,
        "downtime_seconds": 0.0,
        "criteria": [],
        "phases": [{"name": phase.name, "state": "pending", "seconds": 0.0} for phase in PHASES],
        "connection_budget": None,
        "cost": {"before": 0.0, "meanwhile": 0.0, "after": 0.0, "explanation": "nothing was planned"},
        "problems": [{"phase": "preflight"} | to_wire(problem)],
        "changes": [],
        "store": {},
        "results": {},
        "rehearsal": {"started": "", "seconds": 0.0},
    }
