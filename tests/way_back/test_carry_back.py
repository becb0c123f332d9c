"""What users did after the switch arrives in the old store and on the old disk, row by row and byte by byte."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from shared.transfer.errors import ConfigurationError, VerificationFailed
from shared.transfer.load import removal
from shared.transfer.verify.store_difference import embedding_dimension
from tests.way_back.conftest import RUN, Migrated, assert_equal_rows, client_of, files_of, vector_of

type Migrate = Callable[..., Migrated]


@pytest.fixture
def migrated(migrate: Migrate) -> Migrated:
    return migrate({"file-a": 40, "file-b": 30, "knowledge-bases": 3})


def test_everything_that_users_did_is_on_the_old_side(migrated: Migrated) -> None:
    for n in range(20):
        migrated.insert("file-a", f"new-{n}", 1000 + n, f"written since {n}", {"name": "new", "n": n, "x": 0.5})
    for n in range(5):
        migrated.insert("file-new", f"fresh-{n}", 2000 + n, f"another file {n}", {"ok": True})
    migrated.delete("file-a-1", "file-a-2", "file-a-3", "file-b-0", "file-b-29")
    migrated.insert("file-b", "file-b-7", 3000, "changed text", {"name": "changed"})
    for n in range(3):
        (migrated.share / "uploads" / f"since_{n}.txt").write_text(f"uploaded since {n}")
    (migrated.share / "uploads" / "0_ünïcödé 0.txt").write_text("UPLOAD 0")  # as long as before
    (migrated.share / "uploads" / "4_ünïcödé 4.txt").unlink()

    result = migrated.carry_back()

    counts = {key: value for key, value in result.items() if key.startswith(("chunks", "files", "collections"))}
    assert counts == {
        "collections_changed": 3,
        "collections_unchanged": 1,
        "chunks_added": 25,
        "chunks_updated": 1,
        "chunks_deleted": 5,
        "files_added": 3,
        "files_changed": 1,
        "files_deleted": 1,
    }
    assert result["verified"]
    assert_equal_rows(migrated.old_side(), migrated.new_side())
    assert files_of(migrated.disk) == files_of(migrated.share)
    made = client_of(migrated.disk / "vector_db").get_collection("file-new", embedding_function=None)
    assert made.metadata["hnsw:space"] == "cosine"
    assert len(made.get(limit=1, include=["embeddings"])["embeddings"][0]) == 8


def test_with_nothing_to_take_back_the_store_is_not_even_opened(migrated: Migrated) -> None:
    before = _states(migrated.disk)
    result = migrated.carry_back()
    assert (result["collections_changed"], result["collections_unchanged"]) == (0, 3)
    assert _states(migrated.disk) == before


def test_a_second_time_finds_nothing_left_to_do(migrated: Migrated) -> None:
    migrated.insert("file-a", "new", 1, "new", {"a": 1})
    migrated.delete_collection("file-b")
    assert migrated.carry_back()["collections_changed"] == 2
    before = _states(migrated.disk)
    assert migrated.carry_back()["collections_changed"] == 0
    assert _states(migrated.disk) == before


def test_what_users_do_after_a_first_way_back_is_taken_back_by_a_second(migrated: Migrated) -> None:
    migrated.insert("file-a", "new", 1, "new", {"a": 1})
    migrated.insert("file-c", "one", 2, "only one", None)
    migrated.carry_back()
    migrated.delete("new")
    migrated.insert("file-c", "one", 2, "only one, changed", None)
    result = migrated.carry_back()
    assert (result["chunks_deleted"], result["chunks_updated"], result["chunks_added"]) == (1, 1, 0)
    assert_equal_rows(migrated.old_side(), migrated.new_side())


def test_a_deleted_collection_is_deleted_and_a_reindexed_one_made_anew(migrated: Migrated) -> None:
    migrated.delete_collection("file-b")
    migrated.delete_collection("file-a")
    for n in range(6):  # another embedding model, with longer vectors
        migrated.insert_vector("file-a", f"again-{n}", vector_of(n, 12), f"again {n}", {"n": n})
    result = migrated.carry_back()
    assert (result["chunks_added"], result["chunks_deleted"]) == (6, 70)
    client = client_of(migrated.disk / "vector_db")
    assert {one.name for one in client.list_collections()} == {"file-a", "knowledge-bases"}
    assert_equal_rows(migrated.old_side(), migrated.new_side())


def test_metadata_loses_keys_that_users_removed(migrated: Migrated) -> None:
    migrated.insert("file-a", "file-a-5", 5, "text 5 of file-a", {"name": "file-a"})
    assert migrated.carry_back()["chunks_updated"] == 1
    rows = migrated.old_side()["file-a"]
    assert rows["file-a-5"][2] == {"name": "file-a"}


def test_missing_texts_and_metadata_stay_missing(migrated: Migrated) -> None:
    migrated.insert("file-a", "bare", 1, None, None)
    migrated.insert("file-a", "empty", 2, "", {})
    migrated.carry_back()
    rows = migrated.old_side()["file-a"]
    assert (rows["bare"][1:], rows["empty"][1:]) == ((None, None), ("", None))


def test_half_precision_is_compared_as_stored(migrate: Migrate) -> None:
    migrated = migrate({"file-a": 20, "file-b": 5}, half=True)
    migrated.insert("file-a", "new", 7, "new", {"a": 1})
    result = migrated.carry_back()
    assert (result["chunks_added"], result["chunks_updated"]) == (1, 0)


def test_rows_that_were_there_before_the_run_are_nobodys_change(migrate: Migrate) -> None:
    migrated = migrate({"file-a": 10}, foreign=True)
    assert migrated.carry_back()["collections_changed"] == 0
    migrated.insert("others", "mine", 5, "written since", {"b": 2})
    assert migrated.carry_back()["chunks_added"] == 1
    assert set(migrated.old_side()["others"]) == {"mine"}


def test_rows_that_were_kept_out_of_the_copy_stay_in_the_old_store(migrate: Migrate) -> None:
    migrated = migrate({"file-a": 10}, zero_vector="file-a")
    assert "nought" not in migrated.new_side()["file-a"]
    migrated.delete("file-a-1")
    assert migrated.carry_back()["chunks_deleted"] == 1
    assert "nought" in migrated.old_side()["file-a"]


def test_undoing_the_copy_afterwards_leaves_an_empty_database(migrated: Migrated) -> None:
    migrated.insert("file-a", "new", 1, "new", {"a": 1})
    migrated.insert("file-z", "other", 1, "new", {"a": 1})
    migrated.carry_back()
    assert removal.remove_vectors(migrated.url, run=RUN)["table_dropped"]


def test_a_killed_way_back_goes_on_where_it_stood(migrate: Migrate) -> None:
    migrated = migrate({f"file-{n}": 30 for n in range(4)})
    for n in range(4):
        for m in range(20):
            migrated.insert(f"file-{n}", f"new-{n}-{m}", n * 100 + m, f"new {m}", {"m": m})
        migrated.delete(f"file-{n}-3")
    for after in (1.0, 1.6):
        with subprocess.Popen(_command(migrated), stdout=subprocess.PIPE, env=_environment(migrated)) as process:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
    done = subprocess.run(_command(migrated), env=_environment(migrated), capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal_rows(migrated.old_side(), migrated.new_side())


def test_a_share_without_a_record_deletes_nothing(migrated: Migrated) -> None:
    (migrated.share / ".scaleout" / "files.jsonl").unlink()
    with pytest.raises(ConfigurationError, match="no record"):
        migrated.carry_back()
    assert len(files_of(migrated.disk)) == 6


def test_an_unknown_run_changes_nothing(migrated: Migrated) -> None:
    migrated.delete("file-a-1")
    with psycopg.connect(migrated.url, autocommit=True) as connection:
        connection.execute("delete from scaleout.run")
    before = _states(migrated.disk)
    with pytest.raises(ConfigurationError, match="knows no run"):
        migrated.carry_back()
    assert _states(migrated.disk) == before


def test_what_reads_back_differently_is_a_failure(migrated: Migrated, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.transfer.chroma import writer

    monkeypatch.setattr(writer.ChromaWriter, "add", lambda self, name, chunks: None)
    migrated.insert("file-a", "new", 1, "new", {"a": 1})
    with pytest.raises(VerificationFailed, match="file-a: 1 rows read back differently"):
        migrated.carry_back()


@pytest.mark.parametrize(
    ("width", "known", "dimension"), [(7, {8, 16}, 8), (380, {8}, 384), (3000, {8}, 3072), (5000, set(), 5000)]
)
def test_the_dimension_of_a_new_collection(width: int, known: set[int], dimension: int) -> None:
    assert embedding_dimension(width, known) == dimension


def _states(folder: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def _command(migrated: Migrated) -> list[str]:
    where = ["--data", str(migrated.disk), "--files", str(migrated.share), "--scratch", str(migrated.scratch)]
    return [sys.executable, "-m", "shared.transfer.commands", "carry-back", *where, "--run", RUN]


def _environment(migrated: Migrated) -> dict[str, str]:
    return os.environ | {"DATABASE_URL": migrated.url}
