"""What the judge decides, and the little it remembers from one tick to the next."""

import enum
from dataclasses import dataclass, replace
from datetime import datetime

from shared.guard.signs import Sign


class Action(enum.StrEnum):
    """What a verdict asks for."""

    NONE = "none"
    SCALE_UP = "scale_up"
    SCALE_DOWN = "scale_down"
    CAP = "cap"  # fewer replicas, or a lower autoscaler maximum, because the connections run out
    ROLL_BACK = "roll_back"
    CALL_OPERATOR = "call_operator"


UPWARD = frozenset({Action.SCALE_UP})
DOWNWARD = frozenset({Action.SCALE_DOWN, Action.CAP})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision with its sentence.

    - `replicas`: what the Deployment is to be scaled to; None where an autoscaler does that or nothing changes.
    - `minimum`, `maximum`: the autoscaler's new bounds; both None or both set.
    - `to_revision`: for a rollback, the last revision that was healthy after the migration, when a later one is at
      fault: undoing that rollout is enough. None: the migration itself is to be rolled back.
    - `operator`: the operator is called besides. `conclusive`: False when too little could be read to decide.
    """

    at: datetime
    action: Action
    rule: str
    reason: str
    replicas: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    to_revision: int | None = None
    operator: bool = False
    conclusive: bool = True


@dataclass(frozen=True, slots=True)
class Move:
    """One change of size that the guard asked for; `target` is the replica count, or the autoscaler's changed bound."""

    at: datetime
    up: bool
    target: int


@dataclass(frozen=True, slots=True)
class Size:
    """How large a Deployment was before the guard capped it; the bounds are None without an autoscaler."""

    replicas: int
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class GuardState:
    """Everything the guard of one Deployment keeps between ticks; plain JSON through `shared.wire`.

    - `healthy_replicas`, `healthy_revision`: when all replicas served in two readings running.
    - `capped_from`: the size to return to once the connections are there again.
    - `raised_from`: the autoscaler's minimum before the guard raised it.
    - `rolled_back`: the run whose rollback was asked for; it is asked for once.
    - `told`: (finding, when) of the operator calls that may not be repeated yet.
    """

    signs: tuple[Sign, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    moves: tuple[Move, ...] = ()
    healthy_replicas: int | None = None
    healthy_revision: int | None = None
    capped_from: Size | None = None
    raised_from: int | None = None
    rolled_back: str = ""
    told: tuple[tuple[str, datetime], ...] = ()
    paused_until: datetime | None = None
    paused_because: str = ""
    skipped_ticks: int = 0


def pause(state: GuardState, until: datetime, because: str) -> GuardState:
    """Stand still until then; a pause always ends by itself."""
    return replace(state, paused_until=until, paused_because=because)


def resume(state: GuardState) -> GuardState:
    """End a pause now."""
    return replace(state, paused_until=None, paused_because="")


def count_skipped(state: GuardState, ticks: int = 1) -> GuardState:
    """Count ticks that came late or overlapped the one before and were not judged."""
    return replace(state, skipped_ticks=state.skipped_ticks + ticks)
