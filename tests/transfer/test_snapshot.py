"""Private copies of stores that are being written."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import chromadb
import pytest
from chromadb.config import Settings

from shared.transfer.chroma_catalog import read_catalog
from shared.transfer.chroma_store import ChromaStore
from shared.transfer.errors import ConfigurationError, TransientError
from shared.transfer.snapshot import private_copy, read_undisturbed, readable, store_fingerprint
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
    store = tmp_path / "vector_db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        numbers: list[int] = []
        for attempt in range(4):
            time.sleep(0.5)
            copy, _ = private_copy(store, tmp_path / f"scratch-{attempt}")
            catalog = read_catalog(copy)
            (collection,) = catalog.collections
            if collection.metadata_lag:
                continue  # between the log and the texts: the reader refuses it, and chromadb itself is asked
            with ChromaStore(catalog) as source:
                rows = source.read(collection, source.keys(collection))
            numbers = sorted(int(one.decode().removeprefix("row-")) for one in rows.ids)
            assert numbers == list(range(len(numbers)))
            assert not rows.without_vector
    finally:
        writer.kill()
        writer.communicate()
    client = chromadb.PersistentClient(path=str(store), settings=Settings(anonymized_telemetry=False))
    assert client.get_collection("busy", embedding_function=None).count() >= len(numbers) > 0


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
