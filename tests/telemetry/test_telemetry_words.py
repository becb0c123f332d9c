"""What is told, word by word, without a worker: nothing on replay, the bound fields, text that queries can compare."""

import logging
from types import SimpleNamespace

import pytest

from phases.run.activity import execute
from phases.run.events import FIGURES, Chronicle
from shared.errors import PermanentError, TransientError
from shared.model.migration import MigrationRequest, Outcome, RunState, Target
from shared.telemetry import CATALOGUE, EVENT_NAME, Event, announce, bound
from shared.wire import to_wire

TARGET = Target("s", "g", "c", "https://v", "p")


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "scaleout.events")
    return lambda: [vars(record) for record in caplog.records if hasattr(record, EVENT_NAME)]


def chronicle(*, replaying):
    ctx = SimpleNamespace(is_replaying=replaying, instance_id="run-0001")
    return Chronicle(ctx, MigrationRequest(TARGET), "migrate")


def tell_everything(chronicle):
    chronicle.started()
    chronicle.phase_started("scale_out")
    chronicle.phase_finished("scale_out", 2.0, {"rows": 10})
    chronicle.phase_failed("scale_out", "scale_out", Outcome("scale_out", "failed", "no", "do"))
    chronicle.phase_undone("scale_out")


def test_nothing_is_told_on_replay(told):
    tell_everything(chronicle(replaying=True))
    assert told() == []


def test_what_is_new_is_told_once_with_every_field(told):
    tell_everything(chronicle(replaying=False))
    events = told()
    assert [e[EVENT_NAME] for e in events] == [
        *("run_started", "phase_started", "phase_finished", "phase_failed", "phase_undone")
    ]
    for event in events:
        assert set(CATALOGUE[Event(event[EVENT_NAME])][1]) <= set(event)
    assert events[2]["rows_per_second"] == 5.0


def test_a_migration_that_stays_without_a_phase_has_not_failed_and_says_why(told):
    setbacks = [{"phase": "load_test", "message": "bug: KeyError: 'x'", "hint": "Run it again."}]
    report = {"failure": None, "setbacks": setbacks} | dict.fromkeys(FIGURES, 0)
    chronicle(replaying=False).ended(RunState.MIGRATED, report, 1.0)
    [event] = told()
    assert (event["state"], event["failed"], event["reason"]) == ("migrated", "false", "load_test: bug: KeyError: 'x'")


def test_a_truth_is_text_and_what_is_bound_is_in_every_event(told):
    with bound(run="run-0001", phase="cut_over"):
        announce(Event.CUT_OVER, "x", {"mark": "stop", "failed": True, "unknown": None})
    [event] = told()
    assert (event["run"], event["phase"], event["failed"]) == ("run-0001", "cut_over", "true")
    assert "unknown" not in event


def test_an_event_is_heard_whatever_the_hosts_level_is():
    assert logging.getLogger("scaleout.events").isEnabledFor(logging.INFO)
    assert logging.getLogger().level > logging.INFO


@pytest.mark.parametrize(("error", "ends"), [(PermanentError("no"), "failed"), (TransientError("later"), "raised")])
def test_an_activity_without_a_run_or_a_trace_still_works(error, ends):
    def step(value: str, ports: object) -> None:
        raise error

    payload = {"target": to_wire(TARGET), "value": "x"}
    if ends == "raised":
        with pytest.raises(TransientError):
            execute("plan_x", step, str, payload, lambda target: None)
    else:
        assert execute("plan_x", step, str, payload, lambda target: None).state == "failed"
