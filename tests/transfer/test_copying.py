"""`python -m local copy`, as a person runs it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.transfer.conftest import StoredStore


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", "copy", *arguments], capture_output=True, text=True, check=False, timeout=110
    )


def test_copies_a_store_into_an_empty_database(
    database: Any, stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("upgraded")
    report = tmp_path / "report.json"
    command = ("--chroma", str(store.path.parent), "--database-url", database.superuser_url, "--json", str(report))
    done = run(*command, "--native-dimension", "--full")
    assert done.returncode == 0, done.stderr
    result = json.loads(report.read_text())
    assert result["verified"]
    assert result["rows"] == sum(len(rows) for name, rows in store.truth.items() if not name.startswith("web-search"))
    assert result["settings"]["PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH"] == "8"
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute("select count(*) from document_chunk").fetchone() == (result["rows"],)
    assert run(*command, "--native-dimension").returncode == 0
    assert json.loads(report.read_text())["copied_now"] == 0


def test_says_what_is_wrong_in_one_line(database: Any, tmp_path: Path) -> None:
    done = run("--chroma", str(tmp_path), "--database-url", database.app_url)
    assert done.returncode == 2
    assert "holds no chroma.sqlite3" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("--chroma", str(tmp_path)).returncode == 2
    assert run("--help").returncode == 0
