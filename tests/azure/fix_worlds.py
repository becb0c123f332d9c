"""Rehearsal worlds with a small store, for tests of how the database is reached."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.rehearsal.app_client import AppClient
from local.rehearsal.world import Layout, World
from local.sample import generate


@contextmanager
def opened(world: World) -> Iterator[AppClient]:
    """The world, and a client of its app."""
    store = generate(world.layout.folder.parent / "store", chunks=200, files=3)
    try:
        world.open(store.data, store.app_sql)
        yield AppClient(world.url, world.key)
    finally:
        world.close()


def layout(folder: Path) -> Layout:
    folder.chmod(0o711)  # the database server's account is not ours when we are root
    return Layout(folder / "rehearsal")


def calls(world: World) -> list[dict[str, Any]]:
    """Every call that came to Azure's endpoints."""
    return [json.loads(line) for line in (world.layout.run / "azure" / "calls.jsonl").read_text().splitlines()]
