import pytest

from api.runs import Run, describe, next_number, refuse, rollback_id, run_id, under_way


def run(id_="c-ns-d-0001", runtime="RUNNING", step="", phase="copy_files", output=None, phases=()):
    status = {"phase": phase, "step": step, "phases": [{"name": n, "state": s, "seconds": 0} for n, s in phases]}
    return Run(id_, runtime, "2026-01-01", "2026-01-01", status, output)


def ended(state):
    return run(runtime="COMPLETED", output={"state": state})


def test_numbers_count_per_deployment():
    ids = ["c-ns-d-0001", "c-ns-d-0007", "c-ns-d-0007-rollback-1", "c-ns-d-x-0100", "noise"]
    assert next_number(ids, "c-ns-d") == 8
    assert next_number([], "c-ns-d") == 1
    assert run_id("c-ns-d", 8) == "c-ns-d-0008"
    assert rollback_id("c-ns-d-0007", ids) == "c-ns-d-0007-rollback-2"


def test_a_rollback_holds_the_deployment_too():
    assert under_way([run("c-ns-d-0001-rollback-1")], "c-ns-d") is not None
    assert under_way([run("c-ns-d-x-0001")], "c-ns-d") is None
    assert under_way([ended("migrated")], "c-ns-d") is None


@pytest.mark.parametrize(
    ("action", "one", "allowed"),
    [
        ("approve", run(step="waiting for approval"), True),
        ("approve", run(step="copying"), False),
        ("approve", ended("migrated"), False),
        ("pause", run(step="copying"), True),
        ("pause", run(step="paused"), False),
        ("resume", run(step="paused"), True),
        ("resume", run(step="copying"), False),
        ("abort", run(step="copying"), True),
        ("abort", run(phases=[("cut_over", "done")]), False),
        ("abort", ended("migrated"), False),
        ("rollback", run(phases=[("cut_over", "done")]), True),
        ("rollback", ended("migrated"), True),
        ("rollback", ended("halted"), True),
        ("rollback", ended("rolled_back"), False),
        ("rollback", ended("planned"), False),
        ("rollback", ended("refused"), False),
    ],
)
def test_an_operators_wish_is_taken_only_where_it_makes_sense(action, one, allowed):
    refusal = refuse(action, one)
    assert (refusal is None) is allowed
    if refusal:
        assert one.id in refusal.message


def test_the_state_is_what_a_person_would_say():
    assert run(step="paused").state == "paused"
    assert run(step="waiting for approval").state == "waiting for approval"
    assert run(step="copying").state == "running"
    assert ended("migrated").state == "migrated"
    assert run(runtime="TERMINATED").state == "terminated"


def test_a_run_without_a_record_is_still_described():
    assert describe(run(), None)["plan"] is None
