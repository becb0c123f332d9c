"""A raised world with a small made store, shared by a module's tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.rehearsal.app_client import AppClient
from local.rehearsal.world import Layout, World
from local.sample import generate


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="scaleout-world-"))
    folder.chmod(0o711)  # the database server's account is not ours when we are root
    store = generate(folder / "store", chunks=300, files=4)
    world = World(Layout(folder / "rehearsal"), say=lambda what: None)
    try:
        world.open(store.data, store.app_sql)
        yield world
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def app(world: World) -> AppClient:
    return AppClient(world.url, world.key)
