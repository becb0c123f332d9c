import pytest

from phases.run.catalogue import PHASES
from phases.run.saga import next_step, stands, undo_steps
from shared.model.migration import LATER_PHASES


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ([], []),
        (["a"], [("a", 1)]),
        (["a", "b", "n"], [("b", 2), ("a", 1)]),
        (["a", "z"], None),
    ],
)
def test_latest_first_and_not_at_all_after_the_irreversible(started, expected):
    plans = {"a": 1, "b": 2, "n": 3, "z": 4}
    assert undo_steps(started, plans, frozenset("ab"), frozenset("z")) == expected


@pytest.mark.parametrize(
    ("failed", "alone", "asked_to_stop", "stays"),
    [
        ("x", False, False, True),
        ("a", False, False, False),
        ("x", True, False, False),
        ("x", False, True, False),
    ],
)
def test_a_migration_stays_without_an_addition_that_failed_by_itself(failed, alone, asked_to_stop, stays):
    assert stands(failed, frozenset("xy"), alone=alone, asked_to_stop=asked_to_stop) is stays


def test_what_a_migration_stays_without_can_be_run_alone_afterwards():
    assert '{"mode": "phases", "phases": ["load_test"]}' in next_step("load_test")
    assert {phase.name for phase in PHASES if phase.addition} == LATER_PHASES.keys() - {"retire_source"}


def test_only_what_comes_after_the_validation_and_has_a_way_back_is_an_addition():
    names = [phase.name for phase in PHASES]
    for phase in PHASES:
        assert phase.addition == (phase.reversible and names.index(phase.name) > names.index("validate"))
