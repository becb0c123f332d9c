"""The rolling update: its arithmetic in a table, its promises over whole simulated rollouts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.kubernetes.controllers.workloads.rolling_update import Limits, Size, next_sizes


@pytest.mark.parametrize(
    ("surge", "unavailable", "wanted", "limits"),
    [
        ("25%", "25%", 4, Limits(1, 1)),
        ("25%", "25%", 1, Limits(1, 0)),
        ("25%", "25%", 3, Limits(1, 0)),
        ("25%", "25%", 10, Limits(3, 2)),
        (1, 0, 3, Limits(1, 0)),
        (0, 1, 3, Limits(0, 1)),
        ("0%", "10%", 3, Limits(0, 1)),
        ("100%", "0%", 2, Limits(2, 0)),
    ],
)
def test_percentages_become_pods(surge: int | str, unavailable: int | str, wanted: int, limits: Limits) -> None:
    assert Limits.resolve(surge, unavailable, wanted) == limits


@pytest.mark.parametrize(
    ("new", "old", "wanted", "limits", "changed"),
    [
        pytest.param((0, 0), [(3, 3)], 3, Limits(1, 0), {"new": 1}, id="surge first"),
        pytest.param((1, 0), [(3, 3)], 3, Limits(1, 0), {}, id="wait for the new one"),
        pytest.param((1, 1), [(3, 3)], 3, Limits(1, 0), {"old0": 2}, id="then take an old one"),
        pytest.param((0, 0), [(3, 3)], 3, Limits(0, 1), {"old0": 2}, id="without surge an old one goes first"),
        pytest.param((1, 0), [(3, 1)], 3, Limits(1, 0), {}, id="broken old ones count as missing"),
        pytest.param((1, 1), [(3, 1)], 3, Limits(1, 1), {"old0": 1}, id="broken old ones go before working ones"),
        pytest.param(
            (0, 0), [(0, 0)], 3, Limits(1, 0), {"new": 3}, id="nothing old: all at once, as for a new Deployment"
        ),
        pytest.param((5, 5), [], 3, Limits(1, 0), {"new": 3}, id="scaled down"),
        pytest.param((2, 2), [(1, 1), (1, 1)], 3, Limits(1, 0), {"old0": 0}, id="the oldest goes first"),
    ],
)
def test_next_step(
    new: tuple[int, int], old: list[tuple[int, int]], wanted: int, limits: Limits, changed: dict[str, int]
) -> None:
    sizes = [Size(f"old{index}", *each) for index, each in enumerate(old)]
    assert next_sizes(Size("new", *new), sizes, wanted, limits) == changed


@settings(deadline=None)
@given(
    wanted=st.integers(1, 8),
    surge=st.integers(0, 3),
    unavailable=st.integers(0, 3),
    split=st.integers(0, 8),
    order=st.randoms(use_true_random=False),
)
def test_a_rollout_keeps_its_promises_and_comes_to_an_end(
    wanted: int, surge: int, unavailable: int, split: int, order: object
) -> None:
    """Pods become available one by one in any order; old pods are available from the start."""
    limits = Limits.resolve(surge, unavailable, wanted)
    split = min(split, wanted)
    desired = {"old0": wanted - split, "old1": split, "new": 0}
    available = dict(desired)
    for _ in range(200):
        sizes = {name: Size(name, desired[name], available[name]) for name in desired}
        changed = next_sizes(sizes["new"], [sizes["old0"], sizes["old1"]], wanted, limits)
        desired |= changed
        available = {name: min(available[name], desired[name]) for name in desired}
        assert sum(desired.values()) <= wanted + limits.surge
        assert sum(available.values()) >= wanted - limits.unavailable
        starting = [name for name in desired if available[name] < desired[name]]
        if starting:
            available[order.choice(starting)] += 1  # type: ignore[attr-defined]
        elif not changed:
            break
    assert desired == {"old0": 0, "old1": 0, "new": wanted}


def test_a_new_version_that_never_works_leaves_the_old_one_serving() -> None:
    limits = Limits.resolve("25%", "25%", 4)
    new, old = Size("new", 0, 0), Size("old", 4, 4)
    for _ in range(20):
        sizes = {"new": new.desired, "old": old.desired, **next_sizes(new, [old], 4, limits)}
        new, old = Size("new", sizes["new"], 0), Size("old", sizes["old"], sizes["old"])
    assert (new.desired, old.desired) == (2, 3)
