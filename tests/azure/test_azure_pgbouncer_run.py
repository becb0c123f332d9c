"""A migration through PgBouncer: on without a restart, Open WebUI behind it, everybody else past it, and off again."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from fix_worlds import layout, opened

from local.azure import pgbouncer
from local.loopback import free_port
from local.rehearsal.database_access import DatabaseAccess
from local.rehearsal.world import World
from shared.report.run_report import problems_of
from shared.sizing.azure_skus import AzureSku

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        pgbouncer.find() is None, reason="PgBouncer is not installed (Debian: apt-get install pgbouncer)"
    ),
]


@pytest.fixture(scope="module")
def run() -> Iterator[dict[str, Any]]:
    """What was seen on the way."""
    folder = Path(tempfile.mkdtemp(prefix="scaleout-pgbouncer-"))
    port = free_port()
    size = AzureSku("Standard_D2ds_v5", "GeneralPurpose", 100)  # PgBouncer's 50 fit; 20 replicas do not fit directly
    world = World(layout(folder), lambda what: None, size=size, access=DatabaseAccess(pgbouncer_port=port))
    seen: dict[str, Any] = {"port": port}
    try:
        with opened(world) as app:
            seen["pooler_before"] = answers(port)
            advised = app.follow(app.start({"options": {"replicas": 20}}), lambda state: None)
            seen["advice"] = [p for p in problems_of(advised["plan"]) if p["code"] == "pgbouncer"]
            wish = {"mode": "migrate", "options": {"enable_pgbouncer": True, "replicas": 3}}
            done = app.follow(app.start(wish), lambda state: None, patience_seconds=400)
            assert done["state"] == "migrated", done.get("report")
            seen["done"], seen["pooler_after"] = done, answers(port)
            seen["sessions"] = sessions(world.admin_url)
            seen["environment"] = world.operator.deployment().spec.template.spec.containers[0].env
            back = app.follow(app.act(done["id"], "rollback")["id"], lambda state: None, patience_seconds=400)
            seen["back"], seen["pooler_undone"] = back, answers(port)
            seen["environment_undone"] = world.operator.deployment().spec.template.spec.containers[0].env
        yield seen
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_plan_proposes_it_with_figures(run: dict[str, Any]) -> None:
    [advice] = run["advice"]
    assert advice["severity"] == "warning"
    assert "replicas fit; through PgBouncer 20 do" in advice["message"]


def test_it_is_on_after_the_migration_and_off_after_the_way_back(run: dict[str, Any]) -> None:
    assert (run["pooler_before"], run["pooler_after"], run["pooler_undone"]) == (False, True, False)
    assert run["back"]["state"] == "rolled_back"


def test_open_webui_reaches_the_server_through_it_alone(run: dict[str, Any]) -> None:
    url = next(entry for entry in run["environment"] if entry.name == "DATABASE_URL")
    assert url.value_from.secret_key_ref.name == "open-webui-database-pooled"
    assert run["sessions"] == {"pgbouncer"}


def test_the_old_url_is_back_after_the_way_back(run: dict[str, Any]) -> None:
    url = next(entry for entry in run["environment_undone"] if entry.name == "DATABASE_URL")
    assert url.value_from.secret_key_ref.name == "open-webui-database"
    assert "SCALEOUT_DATABASE_PORT" not in {entry.name for entry in run["environment_undone"]}


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def sessions(admin_url: str) -> set[str]:
    """Which programs hold Open WebUI's sessions on the server."""
    with psycopg.connect(admin_url) as connection:
        rows = connection.execute("select client_port from pg_stat_activity where usename = 'openwebui'").fetchall()
    ports = {row[0] for row in rows}
    holders = {c.laddr.port: c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port in ports}
    return {psutil.Process(pid).name() for pid in holders.values() if pid}
