"""One tick's case before the judge: what was read, what is remembered, and the questions that the rules ask of both."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from shared.guard.policy import Policy
from shared.guard.readings import Reading
from shared.guard.signs import Pressure, Sign
from shared.guard.verdicts import Action, GuardState, Size, Verdict
from shared.sizing.connection_budget import replicas_that_fit, transient_pods

REACTION_TICKS = 2
"""Ticks from a cap to its effect: the verdict's own, and the one in which ended pods close their connections."""


@dataclass(frozen=True, slots=True)
class Case:
    """`signs` ends with `sign`, the newest. `again`: this reading was judged before."""

    reading: Reading
    sign: Sign
    signs: tuple[Sign, ...]
    policy: Policy
    state: GuardState
    now: datetime
    again: bool = False

    def say(self, action: Action, rule: str, reason: str, **targets: Any) -> Verdict:
        """A verdict at this moment."""
        return Verdict(self.now, action, rule, reason, **targets)

    def holds(self, condition: Callable[[Sign], bool], readings: int) -> bool:
        """Whether it held in the newest conclusive readings, this many of them and all within twice as many ticks."""
        oldest = self.now - 2 * readings * self.policy.tick
        found = 0
        for sign in reversed(self.signs):
            if sign.at < oldest:
                return False
            if not sign.conclusive:
                continue
            if not condition(sign):
                return False
            found += 1
            if found == readings:
                return True
        return False

    def lasts(self, condition: Callable[[Sign], bool]) -> timedelta:
        """For how long it has held without a break, up to the newest reading; inconclusive readings do not break it."""
        since = None
        for sign in reversed(self.signs):
            if sign.conclusive and not condition(sign):
                break
            if sign.conclusive:
                since = sign.at
        return self.sign.at - since if since else timedelta()

    def ceiling(self, pressure: Pressure, *, headroom: float | None = None) -> int:
        """Replicas that the budget carries with a rolling update, beside the sessions that others hold now."""
        assert self.reading.connections is not None
        assert self.reading.deployment is not None
        fit = replicas_that_fit(
            self.reading.connections.limits,
            pressure.per_process,
            taken=pressure.foreign,
            transient=transient_pods(self.reading.deployment.max_surge),
            headroom_ratio=self.policy.headroom if headroom is None else headroom,
        )
        return max(1, min(fit, self.policy.maximum_replicas or fit))

    def carried(self, pressure: Pressure) -> int:
        """Replicas whose full pools fit as things stand, when what others take goes on growing for two ticks."""
        assert self.reading.connections is not None
        taken = pressure.foreign + REACTION_TICKS * self.foreign_growth()
        return max(1, replicas_that_fit(self.reading.connections.limits, pressure.per_process, taken=taken))

    def foreign_growth(self) -> int:
        """Sessions of others that are added in each tick, when they grew in both of the last two; else 0."""
        recent = [sign.pressure.foreign for sign in self.signs[-3:] if sign.pressure]
        if len(recent) < 3:
            return 0
        return max(0, min(recent[1] - recent[0], recent[2] - recent[1]))

    def may_turn(self, *, up: bool) -> bool:
        """Whether a move this way is no second change of direction within `policy.calm`."""
        moves = self.state.moves
        if not moves or moves[-1].up == up:
            return True
        turns = [later.at for earlier, later in pairwise(moves) if earlier.up != later.up]
        return not turns or self.now - turns[-1] >= self.policy.calm

    def moved_within(self, span: timedelta, *, up: bool | None = None) -> bool:
        """Whether the guard moved, or moved this way, less than `span` ago."""
        return any(self.now - move.at < span for move in self.state.moves if up is None or move.up == up)

    def told_recently(self, finding: str) -> bool:
        """Whether the operator heard of it and need not again yet."""
        repeat = self.policy.operator_repeat
        return any(key == finding and self.now - at < repeat for key, at in self.state.told)

    def resize(self, action: Action, rule: str, reason: str, replicas: int, *, operator: bool = False) -> Verdict:
        """Bring the Deployment to `replicas`: directly, or by an autoscaler's bounds."""
        autoscaler = self.reading.autoscaler
        if autoscaler is None:
            return self.say(action, rule, reason, replicas=replicas, operator=operator)
        if action is Action.SCALE_UP:
            minimum, maximum = max(replicas, autoscaler.minimum), max(replicas, autoscaler.maximum)
        else:
            minimum, maximum = min(replicas, autoscaler.minimum), min(replicas, autoscaler.maximum)
        return self.say(action, rule, reason, minimum=minimum, maximum=maximum, operator=operator)

    def reaches(self, verdict: Verdict, size: Size | None) -> bool:
        """Whether this verdict brings the Deployment back to at least `size`."""
        if size is None:
            return True
        if verdict.maximum is not None and size.maximum is not None:
            return verdict.maximum >= size.maximum
        return (verdict.replicas or 0) >= size.replicas
