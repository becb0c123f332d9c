"""What happens to the model: nine traces, each a load curve and a story.

`onset`: the second at which what should be acted on begins, None when nothing should. `calls_for`: the kind of action
that is right; any other change of replicas, and any rollback, is a false action.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.guard_simulation.world import World

MINUTE = 60


@dataclass(frozen=True, slots=True)
class Trace:
    """One story of `minutes`; `play` sets the world's circumstances before each step."""

    name: str
    story: str
    minutes: int
    play: Callable[[World], None]
    onset: int | None = None
    """Second."""
    calls_for: str = "nothing"
    """scale | cap | roll_back | nothing"""
    soak: bool = False


def _wave(world: World, *, base: float = 40, swing: float = 4) -> None:
    """A steady load that is never quite still."""
    world.load = base + swing * math.sin(world.now / 97) + world.dice.uniform(-2, 2)


def _diurnal(world: World) -> None:
    day = (1 - math.cos(2 * math.pi * world.now / (24 * 3600))) / 2
    world.load = 12 + 150 * day + world.dice.uniform(-4, 4)


def _spike(world: World) -> None:
    minute = world.now / MINUTE
    _wave(world)
    if 20 <= minute < 50:
        world.load += 380 * min(1.0, (minute - 20) / 2)


def _leak(world: World) -> None:
    """Somebody else's program loses connections, 6 a minute up to 310, until it is restarted."""
    minute = world.now / MINUTE
    _wave(world, base=130)
    world.foreign = 4 + (min(310, int(6 * (minute - 20))) if 20 <= minute < 90 else 0)


def _one_bad_replica(world: World) -> None:
    _wave(world)
    minute = world.now / MINUTE
    if minute == 20:
        world.serving()[0].sick = True
    if minute == 60:
        for pod in world.pods:
            pod.sick = False


def bad_image(rolled_out_at: int) -> Trace:
    """A new image, rolled out at this second, never becomes ready."""

    def play(world: World) -> None:
        _wave(world)
        if world.now == rolled_out_at:
            world.revision += 1
            world.bad_revisions.add(world.revision)

    story = "a new image never becomes ready, inside the soak"
    return Trace("bad image", story, 60, play, rolled_out_at, "roll_back", soak=True)


def _failover(world: World) -> None:
    _wave(world)
    world.database_up = not 30 * MINUTE <= world.now < 30 * MINUTE + 90


def _metrics_outage(world: World) -> None:
    _wave(world)
    world.metrics_up = not 30 * MINUTE <= world.now < 45 * MINUTE


def _flapping_probe(world: World) -> None:
    _wave(world)
    for pod in world.pods:
        pod.sick = 30 <= world.now / MINUTE < 60 and world.dice.random() < 0.4


def _node_loss(world: World) -> None:
    _wave(world)
    world.lost_node = 0 if 30 <= world.now / MINUTE < 60 else None


TRACES: tuple[Trace, ...] = (
    Trace("diurnal", "a day: 12 queries at once at night, 160 at noon", 24 * 60, _diurnal, None, "scale"),
    Trace(
        "spike", "40 queries at once become 420 within two minutes, for half an hour", 90, _spike, 20 * MINUTE, "scale"
    ),
    Trace("connection leak", "another program leaks 6 connections a minute, up to 310", 120, _leak, 20 * MINUTE, "cap"),
    Trace("bad replica", "one of three replicas fails its readiness for 40 minutes", 90, _one_bad_replica),
    bad_image(20 * MINUTE + 15),
    Trace("database failover", "the database is away for 90 seconds, inside the soak", 60, _failover, soak=True),
    Trace("metrics outage", "nothing can be read for 15 minutes, inside the soak", 75, _metrics_outage, soak=True),
    Trace(
        "flapping probe", "every readiness probe fails 4 times in 10, inside the soak", 90, _flapping_probe, soak=True
    ),
    Trace("node loss", "one node of three is lost for half an hour, inside the soak", 90, _node_loss, soak=True),
)
