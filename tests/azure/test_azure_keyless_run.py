"""A whole migration and its way back without the administrator's password: every connection with a token."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fix_worlds import calls, layout, opened

from local.rehearsal.database_access import TOKEN_SECONDS, DatabaseAccess
from local.rehearsal.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

type Run = tuple[World, dict[str, Any], dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """(world, the run's end, its rollback's end, what the permissions check said long after the first token)"""
    folder = Path(tempfile.mkdtemp(prefix="scaleout-keyless-"))
    world = World(layout(folder), lambda what: None, access=DatabaseAccess(token_seconds=TOKEN_SECONDS))
    try:
        with opened(world) as app:
            began = time.monotonic()
            done = app.follow(app.start({"mode": "migrate"}), lambda state: None, patience_seconds=400)
            assert done["state"] == "migrated", done.get("report")
            back = app.follow(app.act(done["id"], "rollback")["id"], lambda state: None, patience_seconds=400)
            time.sleep(max(0.0, 2 * TOKEN_SECONDS - (time.monotonic() - began)))
            key = {"x-functions-key": world.key}
            permissions = httpx.get(f"{world.url}/api/permissions", headers=key, timeout=60).json()
        yield world, done, back, permissions
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_it_migrates_and_comes_back(run: Run) -> None:
    _, done, back, _ = run
    assert done["state"] == "migrated"
    assert back["state"] == "rolled_back"


def test_the_vault_was_not_asked_for_a_password(run: Run) -> None:
    world, *_ = run
    assert [call for call in calls(world) if "postgres-admin-password" in call["path"]] == []


def test_it_outlived_its_tokens(run: Run) -> None:
    """It is PostgreSQL that would have refused an expired one."""
    world, *_ = run
    asked = [call["at"] for call in calls(world) if call["path"] == "/msi/token"]
    assert asked[-1] - asked[0] > TOKEN_SECONDS


def test_the_permissions_check_signs_in_the_same_way(run: Run) -> None:
    *_, permissions = run
    answers = {each["what"]: each["allowed"] for each in permissions["permissions"]}
    assert answers["sign in to Open WebUI's database"] is True
    assert answers["create extensions"] is True
