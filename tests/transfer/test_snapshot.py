"""Private copies of stores that are being written."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from shared.transfer.chroma import snapshot
from shared.transfer.chroma.catalog import read_catalog
from shared.transfer.chroma.quiet_reading import Reading, StoreInMotion
from shared.transfer.chroma.snapshot import private_copy, read_undisturbed, readable, renewed_copy, store_fingerprint
from shared.transfer.chroma.store import ChromaStore
from shared.transfer.chroma.torn_copy import disturbance
from shared.transfer.errors import ConfigurationError, TransientError
from tests.transfer.conftest import StoredStore

WRITER = """
import sys, time, chromadb, numpy as np
from chromadb.config import Settings
client = chromadb.PersistentClient(path=sys.argv[1], settings=Settings(anonymized_telemetry=False))
collection = client.get_or_create_collection("busy", metadata={"hnsw:space": "cosine"}, embedding_function=None)
number = 0
print("ready", flush=True)
while True:
    ids = [f"row-{number + n}" for n in range(40)]
    collection.add(ids=ids, embeddings=np.random.default_rng(number).normal(size=(40, 8)).tolist(), documents=ids)
    number += 40
    if number % 200 == 0:
        time.sleep(0.4)
"""


def test_a_copy_of_a_store_that_is_being_written_is_consistent(tmp_path: Path) -> None:
    """The writer is stopped for a while at random moments, as on a busy machine: also between its log, its texts and
    its vectors, which it writes one after the other."""
    store = tmp_path / "vector_db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store)], stdout=subprocess.PIPE, text=True)
    chance = random.Random(5)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.5)
        numbers: list[int] = []
        for attempt in range(8):
            time.sleep(chance.uniform(0, 0.2))
            writer.send_signal(signal.SIGSTOP)
            threading.Timer(0.3, writer.send_signal, [signal.SIGCONT]).start()
            copy, _ = private_copy(store, tmp_path / f"scratch-{attempt}")
            assert not disturbance(copy)
            catalog = read_catalog(copy)
            (collection,) = catalog.collections
            with ChromaStore(catalog) as source:
                rows = [
                    source.read(collection, keys)
                    for keys in np.array_split(source.keys(collection), 1 + collection.rows // 500)
                ]
            assert not [one for read in rows for one in read.without_vector]
            numbers = sorted(int(one.decode().removeprefix("row-")) for read in rows for one in read.ids)
            assert numbers == list(range(len(numbers)))
    finally:
        writer.send_signal(signal.SIGCONT)
        writer.kill()
        writer.communicate()
    client = chromadb.PersistentClient(path=str(store), settings=Settings(anonymized_telemetry=False))
    assert client.get_collection("busy", embedding_function=None).count() >= len(numbers) > 0


def lag(store: Path) -> None:
    """Leave the log ahead of the texts, as between two of chromadb's transactions."""
    with sqlite3.connect(store / "chroma.sqlite3") as db:
        db.execute(
            "update max_seq_id set seq_id = 1 where segment_id in (select id from segments where scope = 'METADATA')"
        )
    db.close()


def tear(name: str) -> Callable[[Path], None]:
    """Leave a file of the HNSW index half written."""

    def damage(store: Path) -> None:
        cosine = next(one for one in read_catalog(store).collections if one.space == "cosine" and one.flushed_to)
        path = store / cosine.vector_segment / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])

    return damage


MIDDLES = {"log": lag, **{name: tear(name) for name in ("index_metadata.pickle", "length.bin", "data_level0.bin")}}


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_copy_waits_for_the_end_of_a_write(stored: Callable[[str], StoredStore], tmp_path: Path, middle: str) -> None:
    whole = stored("1.5.9").path
    store = tmp_path / "live"
    shutil.copytree(whole, store)
    MIDDLES[middle](store)
    assert disturbance(store)

    def end_the_write() -> None:
        for path in (one for one in whole.rglob("*") if one.is_file()):
            shutil.copyfile(path, store / path.relative_to(whole))

    ending = threading.Timer(0.6, end_the_write)
    ending.start()
    copy, _ = private_copy(store, tmp_path / "scratch")
    ending.join()
    assert not disturbance(copy)
    assert store_fingerprint(copy) == store_fingerprint(store)


def test_what_a_crash_has_left_is_copied_as_it_is(
    stored: Callable[[str], StoredStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_PATIENCE_SECONDS", 0.5)
    store = stored("1.5.9").path
    lag(store)
    copy, _ = private_copy(store, tmp_path / "scratch")
    assert "behind the log" in disturbance(copy)


def test_a_renewed_copy_shares_what_has_not_changed(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("1.5.9").path
    first, _ = private_copy(store, tmp_path / "bulk")
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    changed = next(store.glob("*/length.bin"))
    for round_ in range(2):
        changed.write_bytes(changed.read_bytes())
        newer, fingerprint = renewed_copy(store, tmp_path / "round", like=first)
        assert fingerprint == store_fingerprint(store)
        shared = {
            str(path.relative_to(newer)) for path in newer.rglob("*") if path.is_file() and path.stat().st_nlink > 1
        }
        files = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
        own = {"chroma.sqlite3", str(changed.relative_to(store))}
        assert shared == files - own, round_
        assert all((newer / one).read_bytes() == (store / one).read_bytes() for one in files)
        assert not (tmp_path / "round" / "last").exists()
    assert before == {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}


def test_a_file_that_changes_after_it_was_shared_leaves_the_earlier_copy_alone(
    stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("1.5.9").path
    first, _ = private_copy(store, tmp_path / "bulk")
    changing = next(store.glob("*/length.bin"))
    kept = (first / changing.relative_to(store)).read_bytes()
    seen = []

    def write_once(step: str, done: int, total: int, unit: str) -> None:
        if done == total and not seen:
            seen.append(step)
            changing.write_bytes(kept + b"more")

    newer, _ = renewed_copy(store, tmp_path / "round", like=first, progress=write_once)
    assert (newer / changing.relative_to(store)).read_bytes() == kept + b"more"
    assert (first / changing.relative_to(store)).read_bytes() == kept


def test_a_reading_refuses_files_that_are_newer_than_it(stored: Callable[[str], StoredStore]) -> None:
    store = stored("1.5.9").path
    folder = next(store.glob("*/length.bin")).parent
    time.sleep(0.1)
    reading = Reading(store, store)
    reading.include([folder.name])
    reading.require_still()
    other = Reading(store, store)
    (folder / "length.bin").touch()
    with pytest.raises(StoreInMotion):
        reading.require_still()
    with pytest.raises(StoreInMotion):
        other.include([folder.name])


def test_a_finished_copy_is_used_again(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("1.5.9").path
    (tmp_path / "scratch").mkdir()
    copy, fingerprint = private_copy(store, tmp_path / "scratch")
    (store / "chroma.sqlite3").touch()
    assert private_copy(store, tmp_path / "scratch") == (copy, fingerprint)
    assert store_fingerprint(store) != fingerprint


def test_an_unfinished_copy_is_completed_and_cleared_of_what_is_gone(
    stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("1.5.9").path
    left = tmp_path / "scratch" / "vector_db"
    left.mkdir(parents=True)
    (left / "chroma.sqlite3").write_bytes(b"half")
    (left / "of another time").write_bytes(b"x")
    copy, _ = private_copy(store, tmp_path / "scratch")
    assert not (copy / "of another time").exists()
    assert (copy / "chroma.sqlite3").read_bytes() == (store / "chroma.sqlite3").read_bytes()


def test_a_store_with_an_open_journal_is_not_read_in_place(
    stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("1.5.9").path
    with readable(store, tmp_path / "scratch") as path:
        assert path == store
    (store / "chroma.sqlite3-journal").write_bytes(b"\0" * 512)
    with readable(store, tmp_path / "scratch") as path:
        assert path != store
    assert (store / "chroma.sqlite3-journal").exists()


def test_a_store_that_is_written_while_it_is_read_in_place_is_noticed(
    stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("1.5.9").path
    with pytest.raises(TransientError, match="was written"), readable(store, tmp_path):
        (store / "chroma.sqlite3").touch()


def test_too_little_space_is_said_before_anything_is_copied(
    stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("1.5.9").path
    with (store / "huge").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(ConfigurationError, match="bytes"):
        private_copy(store, tmp_path)


def test_a_quiet_store_is_looked_at_without_a_copy(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("1.5.9").path
    time.sleep(0.1)
    assert read_undisturbed(store, tmp_path / "scratch", lambda path: path) == store
    assert not (tmp_path / "scratch").exists()


def test_a_look_that_was_disturbed_is_repeated_on_a_copy(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("1.5.9").path
    (tmp_path / "scratch").mkdir()
    seen = []

    def look(path: Path) -> Path:
        seen.append(path)
        if path == store:
            (store / "chroma.sqlite3").touch()
            raise ValueError("as on half-written pages")
        return path

    time.sleep(0.1)
    assert read_undisturbed(store, tmp_path / "scratch", look) == tmp_path / "scratch" / "vector_db"
    assert store in seen


def test_what_a_quiet_store_is_wrong_about_is_said_at_once(
    stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    store = stored("1.5.9").path
    time.sleep(0.1)

    def look(path: Path) -> Path:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        read_undisturbed(store, tmp_path, look)
