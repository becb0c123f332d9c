"""Days later, after the app was restarted, with the health guard at work beside it."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.rehearsal.app_client import AppClient
from local.rehearsal.processes import wait_until
from local.rehearsal.trials import guard_trial
from local.rehearsal.trials.restore import read_store
from local.rehearsal.world import Layout, World
from local.sample import generate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def guarded() -> Iterator[World]:
    """A world whose guard looks every three seconds and acts."""
    folder = Path(tempfile.mkdtemp(prefix="scaleout-later-"))
    folder.chmod(0o711)
    store = generate(folder / "store", chunks=300, files=4)
    world = World(Layout(folder / "rehearsal"), say=lambda what: None, guard=guard_trial.SETTINGS)
    try:
        world.open(store.data, store.app_sql)
        yield world
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def restart(world: World, name: str) -> None:
    """Kill one of the world's processes; it is started again by itself."""
    assert world._children is not None
    child = next(one for one in world._children._children if one.name == name)
    assert child._process is not None
    before = child._process.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: child._process is not None and child._process.pid != before, f"a new {name}", 60)


def test_what_users_did_comes_back_and_the_guard_stands_aside(guarded: World) -> None:
    world, app = guarded, AppClient(guarded.url, guarded.key)
    assert world.operator is not None
    disk = world.layout.volumes / world.operator.volume_of(world.operator.names.disk_claim)
    before = read_store(disk / "vector_db")
    migrated = app.follow(app.start({"mode": "migrate"}), lambda state: None, patience_seconds=400)
    assert migrated["state"] == "migrated", migrated["report"]["failure"]
    body = {"file": ("since.txt", b"uploaded since the switch", "text/plain")}
    httpx.post(f"{world.service_url}/api/v1/files/", files=body, timeout=60).raise_for_status()
    restart(world, "host")
    app = AppClient(world.url, world.key)
    wait_until(lambda: (found := app.guard()) and found["reading"], "the guard after the restart", 120)
    known = wait_until(lambda: app.read(migrated["id"]), "the run after the restart", 60)
    assert known["state"] == "migrated"

    rollback = app.act(migrated["id"], "rollback")["id"]
    seen = set()
    while (state := app.read(rollback)) is None or state["state"] == "running":
        guard = app.guard()
        seen.add(((guard or {}).get("reading") or {}).get("migration"))
        time.sleep(1)
    assert state["state"] == "rolled_back", state["report"]["undo_failure"]
    assert rollback in seen, "the guard looked while it went on"
    guard = app.guard()
    assert guard is not None
    assert [one for one in guard["effects"] if one.get("action") not in {None, "none"}] == []
    assert httpx.get(f"{world.service_url}/ready", timeout=10).headers["x-store"] == "chroma"
    after = read_store(disk / "vector_db")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    assert any(path.read_bytes() == b"uploaded since the switch" for path in (disk / "uploads").iterdir())
