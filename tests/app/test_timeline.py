from datetime import UTC, datetime, timedelta

from phases.run.timeline import Timeline
from shared.model.migration import PhaseState, Progress

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def iso(seconds):
    return at(seconds).isoformat()


def test_the_status_always_has_the_same_shape():
    status = Timeline(["a", "b"], START).status("a", Progress(finished=False), START)
    keys = {"phase", "step", "done", "total", "unit", "eta_seconds", "downtime_seconds", "phases"}
    assert set(status) == keys
    assert [set(p) for p in status["phases"]] == [{"name", "state", "seconds"}] * 2


def test_downtime_runs_from_the_stop_to_the_first_answer():
    line = Timeline(["a"], START)
    line.observe(Progress(finished=False, down_since=iso(10)), at(11))
    assert line.status("a", Progress(finished=False), at(15))["downtime_seconds"] == 5
    line.observe(Progress(finished=True, down_since=iso(10), answering_since=iso(30)), at(31))
    assert line.status("a", Progress(finished=True), at(90))["downtime_seconds"] == 20


def test_a_rollback_adds_its_own_downtime():
    line = Timeline(["a"], START)
    for stop, answer in [(10, 20), (100, 130)]:
        line.observe(Progress(finished=False, down_since=iso(stop)), at(stop))
        line.observe(Progress(finished=True, answering_since=iso(answer)), at(answer))
    assert line.downtime_seconds == 40


def test_the_time_left_comes_from_the_rate_of_this_step():
    line = Timeline(["a"], START)
    assert line.status("a", Progress(False, "copy", 0, 100), at(0))["eta_seconds"] is None
    assert line.status("a", Progress(False, "copy", 25, 100), at(5))["eta_seconds"] == 15
    assert line.status("a", Progress(False, "index", 1, 2), at(6))["eta_seconds"] is None


def test_phases_are_timed():
    line = Timeline(["a"], START)
    line.begin("a", at(1))
    assert line.status("a", Progress(False), at(3))["phases"][0] == {"name": "a", "state": "running", "seconds": 2.0}
    line.end("a", PhaseState.DONE, at(4))
    assert line.status("a", Progress(True), at(9))["phases"][0]["seconds"] == 3.0


def test_a_downtime_that_begins_and_ends_within_one_call_counts():
    timeline = Timeline(["cut_over"], START)
    down, up = START.isoformat(), (START + timedelta(seconds=5)).isoformat()
    timeline.observe(Progress(finished=True, down_since=down, answering_since=up), START + timedelta(seconds=9))
    assert timeline.downtime_until(START + timedelta(seconds=60)) == 5
