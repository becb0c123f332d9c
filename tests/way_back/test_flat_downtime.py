"""The downtime does not grow with what did not change: a large store is down as long as a small one."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from local.rehearsal.app_client import AppClient
from local.rehearsal.prober import Prober, Seen
from local.rehearsal.world import Layout, World
from local.sample import generate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
SMALL = int(os.environ.get("SCALEOUT_FLAT_SMALL", "1000"))
LARGE = int(os.environ.get("SCALEOUT_FLAT_LARGE", "20000"))
"""Chunks. The promise is for 10,000 and 300,000, which takes a quarter of an hour."""
ALLOWED = 1.5


@dataclass(frozen=True)
class Measured:
    seen: Seen
    rows: int
    written: int
    finish_seconds: float
    parts: dict[str, float]


def measure(chunks: int) -> Measured:
    """Migrate a made store of which 1 % changes between the bulk pass and the stop."""
    folder = Path(tempfile.mkdtemp(prefix="scaleout-flat-"))
    folder.chmod(0o711)
    store = generate(folder / "store", chunks=chunks, files=20)
    world = World(Layout(folder / "rehearsal"), say=lambda what: None)
    try:
        world.open(store.data, store.app_sql)
        app = AppClient(world.url, world.key)
        run = app.start({"mode": "migrate", "options": {"approval": True, "replicas": 1}})
        while app.read(run)["state"] != "waiting for approval":
            time.sleep(0.2)
        text = "".join(f"{n:06d} changed meanwhile ".ljust(1000, "x") for n in range(chunks // 100))
        body = {"file": ("meanwhile.txt", text.encode(), "text/plain")}
        httpx.post(f"{world.service_url}/api/v1/files/", files=body, timeout=300).raise_for_status()
        prober = Prober(world.service_url, 0.05)
        prober.start()
        app.act(run, "approve")
        ended = app.follow(run, lambda state: None, patience_seconds=600)
        seen = prober.stop()
        assert ended["state"] == "migrated", ended["report"]["failure"]
        cut = ended["report"]["results"]["cut_over"]
        return Measured(
            seen,
            cut["verification"]["rows"],
            cut["caught_up"]["vectors"]["written"],
            cut["seconds"],
            cut["downtime_parts"],
        )
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_downtime_does_not_grow_with_unchanged_data() -> None:
    small, large = measure(SMALL), measure(LARGE)
    assert (small.written, large.written) == (SMALL // 100, LARGE // 100)
    assert large.rows >= LARGE
    print(f"{small}\n{large}")
    for measured in (small, large):
        assert (measured.seen.stores, measured.seen.store_changes) == ({"chroma", "pgvector"}, 1)
    assert large.seen.longest_gap_seconds <= ALLOWED * small.seen.longest_gap_seconds, (small, large)
