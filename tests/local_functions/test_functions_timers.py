"""Timers: schedules are read as NCRONTAB, they fire on time, and a missed one fires once, past due."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fix_rig import Rig, eventually

from local.functions.triggers.schedule import read_schedule
from shared.errors import ConfigurationError

FRIDAY = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("0 */5 * * * *", "2026-11-20T12:05:00"),
        ("*/5 * * * *", "2026-11-20T12:05:00"),
        ("*/2 * * * * *", "2026-11-20T12:00:02"),
        ("0 30 9 * * 1-5", "2026-11-23T09:30:00"),
        ("0 0 0 1 Jan *", "2027-01-01T00:00:00"),
        ("0 0 0 13 * Fri", "2027-08-13T00:00:00"),
        ("00:00:30", "2026-11-20T12:00:30"),
        ("01:30:00", "2026-11-20T13:30:00"),
        ("1.00:00:00", "2026-11-21T12:00:00"),
        ("24:00:00", "2026-12-14T12:00:00"),
        ("%EVERY%", "2026-11-20T12:10:00"),
    ],
)
def test_a_schedule_is_read_as_azure_reads_it(text: str, after: str) -> None:
    schedule = read_schedule(text, {"EVERY": "0 */10 * * * *"})
    assert schedule.after(FRIDAY) == datetime.fromisoformat(after).replace(tzinfo=UTC)


@pytest.mark.parametrize(("text", "words"), [("every minute", "not a schedule"), ("%NONE%", "does not exist")])
def test_a_bad_schedule_is_named(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_schedule(text, {})


def ticks(rig: Rig, timer: str) -> list[dict[str, Any]]:
    lines = rig.ticks.read_text().splitlines() if rig.ticks.exists() else []
    return [tick for line in lines if (tick := json.loads(line))["timer"] == timer]


def test_a_timer_fires_every_second_with_a_trace_and_a_disabled_one_never(rig: Rig) -> None:
    found = eventually(lambda: (t := ticks(rig, "tick")) and len(t) >= 3 and t)
    assert not any(tick["past_due"] for tick in found)
    assert len({tick["trace"] for tick in found}) == len(found)
    assert ticks(rig, "switched_off") == []


def test_a_timer_is_run_out_of_turn(rig: Rig) -> None:
    assert ticks(rig, "yearly") == []
    assert rig.http.post("/admin/functions/yearly", json={}).status_code == 202
    eventually(lambda: ticks(rig, "yearly"))
    assert rig.http.post("/admin/functions/switched_off", json={}).status_code == 202
    eventually(lambda: ticks(rig, "switched_off"))


def test_a_timer_missed_while_the_host_was_down_fires_once_and_says_so(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=700)
    record = {"yearly": {"last": long_ago.isoformat(), "next": (long_ago + timedelta(days=30)).isoformat()}}
    (tmp_path / "timers.json").write_text(json.dumps(record))
    rig = Rig(tmp_path, {"TICK_SCHEDULE": "not a schedule"})
    try:
        (missed,) = eventually(lambda: ticks(rig, "yearly"))
        assert missed["past_due"] is True
        eventually(
            lambda: (
                datetime.fromisoformat(json.loads((tmp_path / "timers.json").read_text())["yearly"]["next"])
                > datetime.now(UTC)
            )
        )
        rig.host.kill()
        rig.host.start()
        assert rig.http.get("/admin/host/ping").status_code == 200
        assert len(ticks(rig, "yearly")) == 1
        assert "the timer tick does not run: 'not a schedule' is not a schedule" in rig.host.log.read_text()
    finally:
        rig.close()
