import pytest

from phases.saga import undo_steps


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
