from dataclasses import dataclass
from datetime import timedelta

import pytest

from phases.run.catalogue import PHASES
from shared.model.migration import Brief, Outcome, Progress
from shared.model.survey import Survey
from shared.wire import WireError, from_wire, to_wire

READ_ONLY = {"validate", "write_handbook"}
"""Phases that leave nothing to undo."""


@dataclass(frozen=True, slots=True)
class Inner:
    b: int


@dataclass(frozen=True, slots=True)
class Outer:
    a: tuple[Inner, ...]
    wait: timedelta = timedelta(seconds=3)


def test_there_and_back():
    value = Outer((Inner(1), Inner(2)), timedelta(minutes=2))
    assert from_wire(to_wire(value), Outer) == value


@pytest.mark.parametrize(
    "payload",
    [{"a": [{"b": 1, "c": 2}]}, {"a": [], "z": 1}, {"a": [{"b": "1"}]}, {}, {"a": [{}]}, [], None],
)
def test_what_does_not_fit_is_refused(payload):
    with pytest.raises(WireError):
        from_wire(payload, Outer)


@pytest.mark.parametrize("kind", [Survey, Outcome, Progress, Brief])
def test_the_contracts_types_can_cross(kind):
    with pytest.raises(WireError):
        from_wire({"no such field": 1}, kind)


def test_every_phase_keeps_the_contract():
    for phase in PHASES:
        assert callable(phase.module.plan), phase.name
        assert phase.applies == phase.undoes or phase.name in READ_ONLY or not phase.reversible, phase.name
