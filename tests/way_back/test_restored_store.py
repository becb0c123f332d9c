"""What the rehearsal compares a restored backup by: any change of a row is seen."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.rehearsal.trials.restore import read_store
from tests.way_back.conftest import client_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "vector_db"
    made = client_of(folder).create_collection("one", embedding_function=None)
    made.add(ids=["a", "b"], embeddings=[[1, 2], [3, 4]], documents=["x", "y"], metadatas=[{"n": 1}, {"n": 2}])
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(ids=["b"], embeddings=[[3, 5]]),
        lambda one: one.update(ids=["b"], embeddings=[[3, 4]], documents=["z"]),
        lambda one: one.update(ids=["b"], metadatas=[{"n": 3}]),
        lambda one: one.delete(ids=["b"]),
        lambda one: one.add(ids=["c"], embeddings=[[3, 4]], documents=["y"], metadatas=[{"n": 2}]),
    ],
    ids=["vector", "text", "metadata", "deleted", "added"],
)
def test_every_change_of_a_row_is_seen(store: Path, tmp_path: Path, change: Callable[[Any], None]) -> None:
    shutil.copytree(store, tmp_path / "vector_db")
    assert read_store(tmp_path / "vector_db") == read_store(store)
    change(client_of(tmp_path / "vector_db").get_collection("one", embedding_function=None))
    assert read_store(tmp_path / "vector_db") != read_store(store)
