"""A success criterion and its three answers. Pure, but for the patience, which waits by the clock that it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import MigrationError, VerificationFailed
from shared.model.ports import Clock
from shared.wire import JsonObject

AGAIN_IN_SECONDS = 3.0


class NotMeasured(MigrationError):
    """It cannot be known whether a criterion is met; the message says why. A warning, never a reason to undo."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One success criterion with its evidence."""

    name: str
    met: bool | None
    """None: not measured, for the reason that the evidence gives."""
    evidence: str

    def as_json(self) -> JsonObject:
        return {"name": self.name, "met": self.met, "evidence": self.evidence}


type Check = Callable[[], tuple[bool, str]]
"""Measures one criterion: whether it is met, and the evidence. Raises NotMeasured or any of our errors."""


def judge(checks: Mapping[str, Check]) -> list[Criterion]:
    """Measure each criterion once: what differs is unmet, what only could not be read is not measured."""
    return [_measure(name, check) for name, check in checks.items()]


def insist(measure: Callable[[], Sequence[Criterion]], clock: Clock, patience: timedelta) -> Sequence[Criterion]:
    """Measure until nothing is left open or the patience is over: a pod that is drained or a database that fails over
    passes by, and only what lasts counts."""
    until = clock.now() + patience
    while True:
        criteria = measure()
        if all(criterion.met for criterion in criteria) or clock.now() >= until:
            return criteria
        clock.sleep(AGAIN_IN_SECONDS)


def summary(criteria: Sequence[JsonObject]) -> str:
    """`8 of 9 criteria met, 1 not measured`, of the criteria in a report."""
    met = sum(criterion["met"] is True for criterion in criteria)
    unknown = sum(criterion["met"] is None for criterion in criteria)
    return f"{met} of {len(criteria)} criteria met" + (f", {unknown} not measured" if unknown else "")


def verdict(criterion: JsonObject) -> str:
    """The word for a person."""
    return {True: "met", False: "NOT MET", None: "not measured"}[criterion["met"]]


def _measure(name: str, check: Check) -> Criterion:
    try:
        met, evidence = check()
    except VerificationFailed as error:
        return Criterion(name, False, error.message)
    except MigrationError as error:
        return Criterion(name, None, error.message)
    return Criterion(name, met, evidence)
