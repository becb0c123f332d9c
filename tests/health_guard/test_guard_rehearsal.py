"""The guard live, after a rehearsed migration: it ends the troubles by itself while somebody is served."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from local.rehearsal.app_client import AppClient
from local.rehearsal.rehearse import Wishes, rehearse
from local.rehearsal.trials import guard_trial
from local.rehearsal.world import Layout, World
from local.sample import extract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("local.rehearsal.rehearse.HOME", tmp_path / "rehearsal")
    monkeypatch.setattr("local.rehearsal.rehearse.BUILD", tmp_path / "build")
    tmp_path.chmod(0o711)  # the database's account is not ours when we are root
    return tmp_path


def test_a_bad_rollout_is_rolled_back_a_leak_is_capped_and_healing_returns(home: Path) -> None:
    said = io.StringIO()
    code = rehearse(Wishes(guard=True), Console(file=said))
    assert code == 0, said.getvalue()
    found = json.loads((home / "build" / "report.json").read_text())["guard"]
    assert found["unanswered"] == 0
    assert "back to revision" in found["bad_rollout"]["verdict"]
    assert found["leak"]["refused"] == 0
    assert found["leak"]["replicas"] < 3
    assert found["heal"]["replicas"] == 3


def test_a_migration_whose_replicas_all_fail_is_rolled_back_by_the_guard(home: Path) -> None:
    sample = extract(home / "sample")
    said: list[str] = []
    world = World(Layout(home / "rehearsal"), said.append, guard=guard_trial.SETTINGS)
    try:
        world.open(sample.data, sample.app_sql)
        app = AppClient(world.url, world.key)
        run = app.start({"mode": "migrate", "options": {"replicas": 2}})
        assert app.follow(run, lambda _: None)["state"] == "migrated"
        found = guard_trial.Trial(world, app, said.append).run_without_redis(2, run)
    finally:
        world.close()
    assert found["state"] == "rolled_back"
    assert found["stores"] == ["chroma", "pgvector"]
