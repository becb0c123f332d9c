"""Between stop and switch: a step that hangs, and an operator who stops the run, bring the old pod back at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from local.rehearsal.app_client import AppClient
from local.rehearsal.prober import Prober
from local.rehearsal.world import World
from tests.rehearsal.fix_world import app, world

__all__ = ["app", "world"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@contextmanager
def hanging(world: World, app: AppClient, run: str) -> Iterator[None]:
    """From the stop on, whoever wants document_chunk waits: the finishing Job hangs."""
    while app.read(run)["status"].get("step") not in {"stopping Open WebUI", "waiting for the old pod to end"}:
        time.sleep(0.05)
    with psycopg.connect(world.app_url) as connection:
        connection.execute("lock table document_chunk in access exclusive mode")
        yield


def wait_until_serving(world: World, seconds: float) -> str:
    """The store that answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"{world.service_url}/ready", timeout=2)
            if answer.status_code == 200:
                return str(answer.headers["x-store"])
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return "nobody"


def test_a_step_that_hangs_brings_the_old_pod_back(world: World, app: AppClient) -> None:
    run = app.start({"mode": "migrate", "options": {"cut_over_deadline_seconds": 30}})
    with hanging(world, app, run):
        time.sleep(2)
        assert wait_until_serving(world, 60) == "chroma"
    ended = app.follow(run, lambda state: None, patience_seconds=120)
    assert ended["state"] == "rolled_back"
    assert "0:00:30 after the stop this was not finished" in ended["report"]["failure"]["message"]
    assert ended["report"]["downtime_seconds"] == pytest.approx(33, abs=12)


def test_an_abort_after_the_stop_brings_the_old_pod_back(world: World, app: AppClient) -> None:
    prober = Prober(world.service_url)
    prober.start()
    run = app.start({"mode": "migrate"})
    with hanging(world, app, run):
        time.sleep(2)
        app.act(run, "abort")
        assert wait_until_serving(world, 30) == "chroma"
    ended = app.follow(run, lambda state: None, patience_seconds=120)
    seen = prober.stop()
    assert (ended["state"], ended["report"]["failure"]["message"]) == ("rolled_back", "abort by an operator")
    assert (seen.stores, seen.store_changes) == ({"chroma"}, 0)


def test_a_refused_approval_stops_nothing(world: World, app: AppClient) -> None:
    prober = Prober(world.service_url)
    prober.start()
    run = app.start({"mode": "migrate", "options": {"approval": True}})
    while app.read(run)["state"] != "waiting for approval":
        time.sleep(0.1)
    app._http.post(f"/api/migrations/{run}/approve", json={"approved": False}).raise_for_status()
    ended: dict[str, Any] = app.follow(run, lambda state: None, patience_seconds=120)
    seen = prober.stop()
    assert (ended["state"], seen.failures, seen.store_changes) == ("rolled_back", 0, 0)
