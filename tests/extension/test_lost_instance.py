"""The app's instance goes at the worst moment, on the real extension: while Open WebUI is down."""

import time
from pathlib import Path

import httpx
import pytest

from local.rehearsal.app_client import AppClient
from local.rehearsal.world import Layout, World
from local.sample import generate

pytestmark = [pytest.mark.extension, pytest.mark.timeout(900)]


def wait_until_down(service: str) -> None:
    """Return when Open WebUI no longer answers."""
    with httpx.Client(timeout=2) as client:
        while True:
            try:
                client.get(f"{service}/ready").raise_for_status()
            except httpx.HTTPError:
                return
            time.sleep(0.05)


def test_it_costs_about_a_minute(home: Path) -> None:
    """What it held is invisible for the visibility time-out of the queues: a minute at the least, five by default."""
    store = generate(home / "store", chunks=300, files=4)
    world = World(Layout(home / "rehearsal"), say=lambda what: None, real_extension=True)
    try:
        world.open(store.data, store.app_sql)
        app = AppClient(world.url, world.key)
        run = app.start({"mode": "migrate"})
        wait_until_down(world.service_url)
        world.lose_instance()
        ended = app.follow(run, lambda _: None, patience_seconds=600)
    finally:
        world.close()
    assert ended["state"] == "migrated", ended["report"]["failure"]
    print(f"down for {ended['report']['downtime_seconds']} s")
    assert 30 < ended["report"]["downtime_seconds"] < 100
