"""Run every trace with every contestant and count what matters to users and operators."""

from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.guard_simulation.contestants import CONTESTANTS, TICK, Contestant, Guard, budgeted_maximum
from benchmarks.guard_simulation.traces import MINUTE, TRACES, Trace, bad_image
from benchmarks.guard_simulation.world import STEP, World
from shared.guard.verdicts import Action

WINDOW = 600
"""Seconds in which at most one change of direction is allowed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The world at one minute, for the plots."""

    minute: float
    load: float
    replicas: int
    serving: int
    used: int
    foreign: int


@dataclass(slots=True)
class Result:
    """One contestant on one trace. Connections refused count once each step; waiting is in query-minutes."""

    trace: str
    contestant: str
    connections_refused: int = 0
    waiting_query_minutes: float = 0.0
    replica_changes: int = 0
    false_actions: int = 0
    operator_calls: int = 0
    false_rollbacks: int = 0
    actions: int = 0
    """Changes of size and rollbacks, right or false."""
    direction_changes_10min: int = 0
    seconds_to_act: int | None = None
    ticks_to_rollback: int | None = None
    samples: list[Sample] = field(default_factory=list)


def compare() -> list[Result]:
    """Every trace with every contestant."""
    return [run(trace, name) for trace in TRACES for name in CONTESTANTS]


def rollback_ticks() -> list[int | None]:
    """Ticks from a bad rollout to its rollback, whenever in the minute it was rolled out."""
    traces = [bad_image(20 * MINUTE + offset) for offset in range(0, TICK, STEP)]
    return [run(trace, name).ticks_to_rollback for trace in traces for name in ("guard", "guard over HPA")]


def run(trace: Trace, name: str) -> Result:
    """Play one trace under one contestant."""
    world, contestant, result = World(), CONTESTANTS[name](trace.soak), Result(trace.name, name)
    if isinstance(contestant, Guard) and contestant.hpa:
        world.maximum = budgeted_maximum(world)
    sizes: list[tuple[int, int]] = []
    world.fill()
    while world.now < trace.minutes * MINUTE:
        trace.play(world)
        world.advance()
        before = (world.replicas, world.maximum, world.revision)
        contestant.decide(world)
        _score(result, trace, before, world)
        if world.replicas != before[0]:
            sizes.append((world.now, 1 if world.replicas > before[0] else -1))
        if world.now % TICK == 0:
            result.samples.append(_sample(world))
    result.direction_changes_10min = most_turns(_turns(contestant, sizes))
    if isinstance(contestant, Guard):
        result.operator_calls = sum(v.operator or v.action is Action.CALL_OPERATOR for v in contestant.verdicts)
    return result


def _score(result: Result, trace: Trace, before: tuple[int, int, int], world: World) -> None:
    result.connections_refused += world.refused
    result.waiting_query_minutes += world.waiting * STEP / MINUTE
    replicas, maximum, revision = before
    resized, rolled_back = world.replicas != replicas, world.revision != revision
    result.replica_changes += abs(world.replicas - replicas)
    result.false_actions += resized and trace.calls_for not in {"scale", "cap"}
    result.false_rollbacks += rolled_back and trace.calls_for != "roll_back"
    result.false_actions += rolled_back and trace.calls_for != "roll_back"
    result.actions += resized or rolled_back or maximum != world.maximum
    acted = {
        "scale": world.replicas > replicas,
        "cap": world.maximum < maximum or world.replicas < replicas,
        "roll_back": rolled_back,
    }.get(trace.calls_for, False)
    if acted and trace.onset is not None and result.seconds_to_act is None and world.now > trace.onset:
        result.seconds_to_act = world.now - trace.onset
        if rolled_back:
            result.ticks_to_rollback = world.now // TICK - trace.onset // TICK


def _sample(world: World) -> Sample:
    minute = world.now / MINUTE
    return Sample(minute, world.load, world.replicas, len(world.serving()), world.used, world.foreign)


def _turns(contestant: Contestant, sizes: list[tuple[int, int]]) -> list[int]:
    """Seconds at which the direction changed: of the guard's own moves, or of the replica count."""
    if isinstance(contestant, Guard):
        directed = [
            (int((v.at - contestant.verdicts[0].at).total_seconds()), _direction(v.action)) for v in contestant.verdicts
        ]
        sizes = [(at, way) for at, way in directed if way]
    return [at for (_, earlier), (at, way) in pairwise(sizes) if earlier != way]


def _direction(action: Action) -> int:
    return {Action.SCALE_UP: 1, Action.SCALE_DOWN: -1, Action.CAP: -1}.get(action, 0)


def most_turns(turns: list[int]) -> int:
    """The most changes of direction within any ten minutes."""
    return max((sum(at <= later < at + WINDOW for later in turns) for at in turns), default=0)
