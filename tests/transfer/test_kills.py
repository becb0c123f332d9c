"""kill -9 at any moment: the next run goes on, and what it ends with is verified equal."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from shared.programs import zipapp
from shared.transfer.load import removal
from tests.transfer.conftest import RUN, Target


def make_store(path: Path, rows: int) -> Path:
    client = chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))
    numbers = np.random.default_rng(3)
    for name, share in (("file-large", 0.6), ("file-middle", 0.3), ("file-small", 0.1)):
        collection = client.create_collection(name, metadata={"hnsw:space": "cosine"}, embedding_function=None)
        count = int(rows * share)
        for at in range(0, count, 1000):
            some = range(at, min(count, at + 1000))
            collection.add(
                ids=[f"{name}-{n}" for n in some],
                embeddings=numbers.normal(size=(len(some), 8)).tolist(),
                documents=[f"{name} {n}" for n in some],
                metadatas=[{"n": n} for n in some],
            )
    return path.parent


class Mover:
    """The packed mover, as the Job runs it."""

    def __init__(self, target: Target, data: Path, folder: Path) -> None:
        self._archive = folder / "mover.pyz"
        self._archive.write_bytes(zipapp.pack())
        self._target, self._data = target, data

    def start(self, *command: str) -> subprocess.Popen[str]:
        shared = ("--data", str(self._data), "--scratch", str(self._target.scratch), "--run", RUN)
        return subprocess.Popen(
            [sys.executable, str(self._archive), *command, *shared],
            env={**os.environ, "DATABASE_URL": self._target.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str) -> dict[str, Any]:
        process = self.start(*command)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        result: dict[str, Any] = json.loads(out.splitlines()[-1])["result"]
        return result


def check_whole_batches(target: Target, *, only_added: bool = True) -> None:
    """document_chunk holds exactly what the ledger says, whatever was killed when."""
    with target.connect() as connection:
        # A worker whose parent was killed may be in its last transaction: the server ends it when it notices.
        for _ in range(100):
            busy = connection.execute(
                "select count(*) from pg_stat_activity where application_name = 'scaleout-mover' and datname"
                " = current_database()"
            ).fetchone()
            if busy == (0,):
                break
            time.sleep(0.05)
        row = connection.execute(
            "select (select count(*) from document_chunk), (select coalesce(sum(rows), 0) from scaleout.batch),"
            " (select count(*) from (select unnest(ids) from scaleout.batch) i)"
        ).fetchone()
    assert row is not None
    assert row[0] == row[1]
    assert row[1] == row[2] or not only_added


def kill_and_go_on(target: Target, data: Path, folder: Path, rows: int, kills: int, seed: int) -> None:
    """Kill the copy `kills` times, each time at another moment, of the parent alone or of the workers too."""
    chance = random.Random(seed)
    mover = Mover(target, data, folder)
    started = time.monotonic()
    mover.run("copy-vectors")
    whole = time.monotonic() - started
    removal.remove_vectors(target.url, run=RUN)
    with target.connect() as connection:
        connection.execute(
            f"create table document_chunk (id text primary key, vector {target.column.sql}, collection_name"
            " text not null,"
            " text text, vmetadata jsonb)"
        )
    for _ in range(kills):
        if chance.random() < 0.3:
            target.fresh_scratch()
        process = mover.start("copy-vectors", "--workers", "2")
        time.sleep(chance.uniform(0.05, whole * 1.1))
        if chance.random() < 0.5:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        check_whole_batches(target)
        if chance.random() < 0.25:  # start over, so that early moments are hit too
            mover.run("copy-vectors")
            assert mover.run("verify-vectors")["rows"] == rows
            with target.connect() as connection:
                connection.execute("delete from document_chunk")
                connection.execute("delete from scaleout.run")
    assert mover.run("copy-vectors")["rows"] == rows
    assert mover.run("verify-vectors", "--full")["equal"]


@pytest.mark.timeout(400)
def test_a_killed_copy_goes_on(target: Target, tmp_path: Path) -> None:
    data = make_store(tmp_path / "data" / "vector_db", 4000)
    kill_and_go_on(target, data, tmp_path, 4000, kills=10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_kills(target: Target, tmp_path: Path, seed: int) -> None:
    data = make_store(tmp_path / "data" / "vector_db", 20_000)
    kill_and_go_on(target, data, tmp_path, 20_000, kills=20, seed=seed)


def test_sigterm_ends_it_at_once_with_143(target: Target, tmp_path: Path) -> None:
    data = make_store(tmp_path / "data" / "vector_db", 3000)
    process = Mover(target, data, tmp_path).start("copy-vectors", "--throttle", "300")
    assert process.stdout is not None
    while "copy vectors" not in process.stdout.readline():
        pass
    started = time.monotonic()
    process.terminate()
    process.communicate()
    assert process.returncode == 143
    assert time.monotonic() - started < 2
    check_whole_batches(target)


def test_a_killed_delta_repeats_only_its_last_collection(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_store(tmp_path / "data" / "vector_db", 2000)
    mover = Mover(target, data, tmp_path)
    mover.run("copy-vectors")
    client = chromadb.PersistentClient(path=str(data / "vector_db"), settings=Settings(anonymized_telemetry=False))
    for name in ("file-large", "file-middle", "file-small"):
        client.get_collection(name, embedding_function=None).delete(ids=[f"{name}-{n}" for n in range(50)])
    for pause in (0.2, 0.3, 0.35, 0.4, 0.5):
        process = mover.start("copy-vectors", "--delta")
        time.sleep(pause)
        process.kill()
        process.communicate()
    mover.run("copy-vectors", "--delta")
    target.fresh_scratch()
    assert mover.run("verify-vectors", "--full")["rows"] == 2000 - 150


def change_some(path: Path, chance: random.Random, number: int) -> None:
    """Write, change and delete rows of one collection, now and then as many as have chromadb write its files."""
    client = chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))
    collection = client.get_collection(
        chance.choice(["file-large", "file-middle", "file-small"]), embedding_function=None
    )
    numbers = np.random.default_rng(number)
    fresh = [f"new-{number}-{n}" for n in range(chance.choice([5, 60, 1100]))]
    collection.add(ids=fresh, embeddings=numbers.normal(size=(len(fresh), 8)).tolist(), documents=fresh)
    known = sorted(collection.get(limit=60, include=[])["ids"])
    collection.update(ids=known[:10], embeddings=numbers.normal(size=(10, 8)).tolist(), documents=["changed"] * 10)
    collection.update(ids=known[10:20], metadatas=[{"number": number}] * 10)
    collection.delete(ids=known[20:30])


def kill_the_ends(target: Target, folder: Path, kills: int, seed: int) -> None:
    """Kill catching up and finishing at random moments, between changes; then finish, and compare every row."""
    chance = random.Random(seed)
    data = make_store(folder / "data" / "vector_db", 2000)
    (data / "uploads").mkdir()
    share = folder / "share"
    share.mkdir()
    mover = Mover(target, data, folder)
    mover.run("copy-vectors", "--verify")
    whole = 1.0
    for number in range(kills):
        change_some(data / "vector_db", chance, number)
        process = mover.start(chance.choice(["catch-up", "finish"]), "--target", str(share))
        time.sleep(chance.uniform(0.1, whole))
        process.kill()
        process.communicate()
        check_whole_batches(target, only_added=False)
        if chance.random() < 0.3:
            started = time.monotonic()
            mover.run("catch-up", "--target", str(share))
            whole = time.monotonic() - started
    assert mover.run("finish", "--target", str(share))["verification"]["equal"]
    client = chromadb.PersistentClient(path=str(data / "vector_db"), settings=Settings(anonymized_telemetry=False))
    expected = {one for c in client.list_collections() for one in c.get(include=[])["ids"]}
    assert set(target.rows()) == expected
    target.fresh_scratch()
    assert mover.run("verify-vectors", "--full")["rows"] == len(expected)


def test_killed_rounds_and_a_killed_end_go_on(target: Target, tmp_path: Path) -> None:
    kill_the_ends(target, tmp_path, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(2, 4))
def test_fifty_kills_of_rounds_and_ends(target: Target, tmp_path: Path, seed: int) -> None:
    kill_the_ends(target, tmp_path, kills=25, seed=seed)
