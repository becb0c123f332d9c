"""Which replica count and pool sizes to try next, and what to recommend in the end. Pure.

The first trial is the service as it stands. Where it fails, more connections a replica are tried, then more replicas.
Where it passes with room, fewer replicas are, down to two: one is no redundancy. Every setting that is tried fits into
the database's connections, a rolling update included; only the service as it stands is tried as it is. No setting is
tried twice, so this ends by itself: at the latest after `most` trials, and early when two more steps changed nothing.

What is recommended has been tried and has passed: the fewest replicas that leave room, because a service at its limit
is at its limit on a quiet day. Where nothing has passed, nothing is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.sizing.connection_budget import LARGEST, MINIMUM, PoolSizes, ServerLimits, replicas_that_fit, split_pools

FEWEST, MOST = 2, 20
"""Replicas: below two nothing is redundant, and the runbook stops at twenty."""
WITH_ROOM = 0.6
"""Of the threshold of p95: below it, fewer replicas are worth a trial; above it, larger pools are."""
NOTICEABLE = 0.1
"""A smaller gain than this is not one: two runs of the same setting differ as much."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """Replicas, and the most connections that each may open."""

    replicas: int
    connections: int

    @property
    def pools(self) -> PoolSizes:
        return split_pools(self.connections)

    def __str__(self) -> str:
        return f"{self.replicas} replicas with {self.connections} connections each"


@dataclass(frozen=True, slots=True)
class Room:
    """What the database carries."""

    limits: ServerLimits
    taken: int
    """Connections of others, of the guard and of a mover."""
    transient: int
    """Pods beyond the replica count during a rolling update."""
    headroom_ratio: float

    def fits(self, setting: Setting) -> bool:
        carried = replicas_that_fit(
            self.limits,
            setting.connections,
            taken=self.taken,
            transient=self.transient,
            headroom_ratio=self.headroom_ratio,
        )
        return setting.replicas <= carried

    def most_connections(self, replicas: int) -> int:
        """That each of so many replicas may open; 0 when so many do not fit at all."""
        sizes = range(LARGEST, MINIMUM - 1, -1)
        return next((size for size in sizes if self.fits(Setting(replicas, size))), 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial came to. `p95_ms` as a share of its threshold decides how much room there is."""

    setting: Setting
    p95_ms: float
    p95_limit_ms: float
    failed: tuple[str, ...] = ()
    """Names of the checks that were not met (`thresholds.Check`); `started` when its pods did not become ready."""

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def share(self) -> float:
        """Of the allowed p95 that was used up."""
        return self.p95_ms / self.p95_limit_ms


@dataclass(frozen=True, slots=True)
class Step:
    """The next setting, or None, and why."""

    setting: Setting | None
    because: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to set; `changes` nothing when it is what stands."""

    setting: Setting
    changes: bool
    because: str


def next_step(standing: Setting, tried: Sequence[Outcome], room: Room, most: int) -> Step:
    """What to try after these trials."""
    if not tried:
        return Step(standing, "as it stands")
    if len(tried) >= most:
        return Step(None, f"{len(tried)} of {most} settings were tried")
    if tried[-1].failed == ("served",):
        return Step(None, "only the spread over the replicas failed, which is the Service's and not a setting's")
    if any(outcome.passed for outcome in tried):
        return _downwards(tried, room)
    return _upwards(tried, room)


def recommend(standing: Setting, tried: Sequence[Outcome], ended_because: str) -> Recommendation:
    """What to set after all trials."""
    passed = [outcome for outcome in tried if outcome.passed]
    if not passed:
        told = "; ".join(_told(outcome) for outcome in tried) or "nothing was tried"
        return Recommendation(standing, False, f"no setting passed ({told}): {ended_because}")
    best = _best(passed)
    told = "; ".join(_told(outcome) for outcome in tried)
    return Recommendation(best.setting, best.setting != standing, f"{told}. {ended_because}")


def _best(passed: Sequence[Outcome]) -> Outcome:
    """The fewest replicas with room, with larger pools only where they pay; without room the quickest."""
    roomy = [outcome for outcome in passed if outcome.share <= WITH_ROOM]
    if not roomy:
        return min(passed, key=lambda outcome: outcome.p95_ms)
    fewest = min(outcome.setting.replicas for outcome in roomy)
    alike = sorted((o for o in roomy if o.setting.replicas == fewest), key=lambda o: o.setting.connections)
    best = alike[0]
    for larger in alike[1:]:
        if larger.p95_ms < best.p95_ms * (1 - NOTICEABLE):
            best = larger
    return best


def _downwards(tried: Sequence[Outcome], room: Room) -> Step:
    """Something has passed: do fewer do, or do larger pools help where it was close?"""
    best = min((outcome for outcome in tried if outcome.passed), key=lambda outcome: outcome.setting)
    share, replicas = best.share, best.setting.replicas
    if share > WITH_ROOM:
        larger = Setting(replicas, room.most_connections(replicas))
        if larger.connections > best.setting.connections and not _was_tried(larger, tried):
            return Step(larger, f"{best.setting} passed with {share:.0%} of the allowed p95: do larger pools help?")
        return Step(None, f"{best.setting} passed with {share:.0%} of the allowed p95, and its pools cannot grow")
    fewer = Setting(replicas - 1, room.most_connections(replicas - 1))
    if fewer.replicas < FEWEST:
        return Step(None, f"{replicas} replicas pass, and fewer would not be redundant")
    if not fewer.connections or any(outcome.setting.replicas == fewer.replicas for outcome in tried):
        return Step(None, f"{replicas} replicas pass, and {fewer.replicas} do not")
    return Step(fewer, f"{best.setting} passed with room: do fewer do?")


def _upwards(tried: Sequence[Outcome], room: Room) -> Step:
    """Nothing has passed: more connections, then more replicas, as long as it helps."""
    if len(tried) > 2 and not any(_is_better(outcome, tried[0]) for outcome in tried[-2:]):
        return Step(None, "neither larger pools nor more replicas changed anything: they are not what holds it back")
    last = tried[-1].setting
    larger = Setting(last.replicas, room.most_connections(last.replicas))
    if larger.connections > last.connections and not _was_tried(larger, tried):
        return Step(larger, f"{last} failed: do larger pools help?")
    most = max(outcome.setting.replicas for outcome in tried)
    more = Setting(most + 1, room.most_connections(most + 1))
    if more.replicas > MOST or not more.connections:
        return Step(None, f"the database's connections carry no more than {most} replicas")
    return Step(more, f"{last} failed: do more replicas help?")


def _was_tried(setting: Setting, tried: Sequence[Outcome]) -> bool:
    return any(outcome.setting == setting for outcome in tried)


def _is_better(outcome: Outcome, than: Outcome) -> bool:
    """Noticeably quicker, or less that failed."""
    quicker = outcome.p95_ms < than.p95_ms * (1 - NOTICEABLE)
    ran = not {"started", "ended"} & set(outcome.failed)
    return ran and (quicker or len(outcome.failed) < len(than.failed))


def _told(outcome: Outcome) -> str:
    verdict = "passed" if outcome.passed else f"failed ({', '.join(outcome.failed)})"
    return f"{outcome.setting} {verdict}, p95 {outcome.p95_ms:,.0f} ms"
