"""The gate: what passes, what does not, and that nothing hides."""

import pytest

from shared.load_test.thresholds import Thresholds, judge

SERVED = {"a": 100, "b": 95, "c": 105}


def row(path="list chats", requests=1000, failures=0, average=100.0, p95=400.0):
    return {"path": path, "requests": requests, "failures": failures, "average_ms": average, "p95_ms": p95}


def unmet(rows, stopped="", served=SERVED):
    return [check.name for check in judge(rows, stopped, served, Thresholds()) if check.met is False]


def test_a_quick_service_passes():
    assert unmet([row(), row("all")]) == []


@pytest.mark.parametrize(
    ("slow", "name"), [({"p95": 3000.0}, "p95"), ({"average": 2000.0}, "average"), ({"failures": 10}, "errors")]
)
def test_each_threshold_is_below_and_not_at(slow, name):
    assert unmet([row(), row("all", **slow)]) == [name]


def test_many_quick_requests_hide_no_slow_path():
    rows = [row(requests=100_000), row("upload", requests=20, p95=3200.0), row("all", requests=100_020)]
    assert unmet(rows) == ["p95"]


def test_a_rare_path_that_always_fails_is_found():
    rows = [row(requests=10_000), row("chat", requests=5, failures=5), row("all", requests=10_005, failures=5)]
    assert unmet(rows) == ["errors"]


@pytest.mark.parametrize(
    ("served", "met"),
    [
        ({"a": 100, "b": 100, "c": 100}, True),
        ({"a": 130, "b": 100, "c": 70}, True),
        ({"a": 131, "b": 100, "c": 69}, False),
        ({"a": 150, "b": 150, "c": 0}, False),
        ({"a": 7}, True),
    ],
)
def test_every_replica_serves_its_share(served, met):
    assert (unmet([row(), row("all")], served=served) == []) is met


@pytest.mark.parametrize("served", [{"a": 0, "b": 0}, {}])
def test_logs_that_say_nothing_of_the_test_are_no_verdict(served):
    found = judge([row(), row("all")], "", served, Thresholds())
    assert [check.met for check in found if check.name == "served"] == [None]
    assert unmet([row(), row("all")], served=served) == []


def test_a_test_that_stopped_early_has_not_passed():
    assert unmet([row(), row("all")], "60 of 80 requests failed in 10 s") == ["ended"]


def test_a_test_without_a_request_has_not_passed():
    assert unmet([]) == ["ended"]
    assert unmet([row("all", requests=0)]) == ["ended"]
