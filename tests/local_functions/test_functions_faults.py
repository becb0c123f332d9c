"""Injected faults: each kind before and halfway, as often as it says, even when it kills the host."""

import json
from typing import Any

import pytest
from fix_rig import Rig


def inject(rig: Rig, kind: str, when: str, **more: Any) -> None:
    rig.faults.write_text(json.dumps([{"activity": "record", "kind": kind, "when": when, "times": 1, **more}]))


def used(rig: Rig) -> list[int]:
    return [entry.get("used", 0) for entry in json.loads(rig.faults.read_text())]


def call(rig: Rig, name: str, attempts: int = 1, **given: Any) -> Any:
    given = {"file": str(rig.folder / name), **given}
    return rig.run("call", {"activity": "record", "input": given, "attempts": attempts})


@pytest.mark.parametrize(("when", "ran"), [("before", 0), ("halfway", 1)])
@pytest.mark.parametrize(
    ("kind", "message"), [("permanent", "injected: permanent fault in record"), ("bug", "bug: injected")]
)
def test_a_permanent_failure_is_answered_as_the_boundary_would(
    fragile: Rig, kind: str, message: str, when: str, ran: int
) -> None:
    inject(fragile, kind, when)
    name = f"{kind}-{when}"
    assert call(fragile, name)["result"] == {
        "phase": "record",
        "state": "failed",
        "message": message,
        "hint": "",
        "needs_operator": False,
        "result": None,
    }
    assert len(fragile.lines(name)) == ran
    assert call(fragile, name)["result"]["state"] == "done"
    assert used(fragile) == [1]


@pytest.mark.parametrize(("when", "ran"), [("before", 1), ("halfway", 2)])
def test_a_transient_failure_is_retried(fragile: Rig, when: str, ran: int) -> None:
    inject(fragile, "transient", when)
    name = f"transient-{when}"
    assert call(fragile, name, attempts=2)["result"]["state"] == "done"
    assert len(fragile.lines(name)) == ran


def test_a_transient_failure_has_the_type_the_app_retries(fragile: Rig) -> None:
    inject(fragile, "transient", "before")
    assert call(fragile, "type")["error_type"] == "TransientError"


@pytest.mark.parametrize(("when", "ran"), [("before", 1), ("halfway", 2)])
def test_a_kill_takes_the_host_down_as_often_as_it_says(fragile: Rig, when: str, ran: int) -> None:
    inject(fragile, "kill", when)
    name = f"kill-{when}"
    run = fragile.start("call", {"activity": "record", "input": {"file": str(fragile.folder / name)}})
    assert fragile.host.wait() == -9
    assert used(fragile) == [1]
    fragile.host.start()
    assert fragile.result(run)["result"]["state"] == "done"
    assert len(fragile.lines(name)) == ran


def test_a_fault_can_be_meant_for_one_input(fragile: Rig) -> None:
    inject(fragile, "permanent", "before", input={"phase": "copy_vectors"})
    assert call(fragile, "one-input", phase="copy_files")["result"]["state"] == "done"
    failed = call(fragile, "one-input", phase="copy_vectors")["result"]
    assert (failed["state"], failed["phase"]) == ("failed", "copy_vectors")
