"""Thousands of hours in which nothing calls for a rollback, with everything that happens in healthy hours.

Each Deployment lives through a month of load, and about once in two hours something that mends itself: a late probe, a
restarted pod, a good rollout with a slow start, a drained node, a database failover, parts that cannot be read. All of
it inside the soak, where the guard may roll back. Every rollback is a false one.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from shared.guard.judge import judge
from shared.guard.policy import Policy
from shared.guard.readings import (
    Answer,
    Connections,
    Deployment,
    MigrationState,
    Obstacle,
    Part,
    Pod,
    Reading,
    Sessions,
    Unread,
)
from shared.guard.verdicts import Action, GuardState, Verdict
from shared.sizing.connection_budget import ServerLimits, split_pools

START = datetime(2026, 11, 1, tzinfo=UTC)
TICK = timedelta(minutes=1)
HOURS_PER_DEPLOYMENT = 500
TICKS_BETWEEN_INCIDENTS = 120
SOAK = MigrationState("run-1", soak_until=START + timedelta(days=365))
LIMITS = ServerLimits(429, 5, 10, "Standard_B2s", "Burstable")
POOLS = split_pools(22)

type Change = Callable[["Site", Reading], Reading]


@dataclass(slots=True)
class Site:
    """One Deployment: what it is between two readings. `changes`: what the coming readings look like instead."""

    dice: random.Random
    replicas: int = 3
    revision: int = 1
    started: datetime = START - timedelta(days=1)
    changes: list[Change] = field(default_factory=list)
    pods: tuple[Pod, ...] = ()
    deployment: Deployment = field(default_factory=lambda: Deployment(3, 1, POOLS))

    def settle(self) -> None:
        """Rebuild what stays the same from tick to tick, after a change of size or revision."""
        self.pods = tuple(
            Pod(f"open-webui-{self.revision}-{index}", self.revision, True, self.started)
            for index in range(self.replicas)
        )
        self.deployment = Deployment(self.replicas, self.revision, POOLS)


@dataclass(slots=True)
class HealthyHours:
    """What the guard did in them."""

    hours: int = 0
    ticks: int = 0
    false_rollbacks: int = 0
    incidents: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)


POLICY = Policy(minimum_replicas=3)


def live_through(hours: int, *, seed: int = 11, policy: Policy = POLICY) -> HealthyHours:
    """Judge this many healthy hours, one reading a minute."""
    found = HealthyHours()
    while found.hours < hours:
        span = min(HOURS_PER_DEPLOYMENT, hours - found.hours)
        for verdict in _one_deployment(span, seed + found.hours, policy, found):
            found.actions[verdict.action] += 1
            found.false_rollbacks += verdict.action is Action.ROLL_BACK
        found.hours += span
    found.ticks = sum(found.actions.values())
    return found


def _one_deployment(hours: int, seed: int, policy: Policy, found: HealthyHours) -> Iterator[Verdict]:
    """One Deployment's verdicts; its replicas follow them."""
    site = Site(random.Random(seed))
    site.settle()
    state, now = GuardState(), START
    for minute in range(hours * 60):
        now += TICK
        if not site.changes and site.dice.random() < 1 / TICKS_BETWEEN_INCIDENTS:
            incident = site.dice.choice(INCIDENTS)
            found.incidents[incident.__name__] += 1
            site.changes = incident(site)
        reading = _usual(site, minute, now)
        if site.changes:
            reading = site.changes.pop(0)(site, reading)
        verdict, state = judge(reading, policy, state, now)
        if verdict.replicas is not None:
            site.replicas = verdict.replicas
            site.settle()
        yield verdict


def _usual(site: Site, minute: int, now: datetime) -> Reading:
    """A quiet reading at this minute of the day."""
    load = 40 + 30 * math.sin(minute / 229) + site.dice.random() * 12
    busy = int(min(0.7 * load, 22 * site.replicas))
    sessions = (
        Sessions("open-webui", "active", busy),
        Sessions("open-webui", "idle", max(0, 8 * site.replicas)),
        Sessions("others", "idle", 4 + int(site.dice.random() * 3)),
    )
    return Reading(now, Connections(sessions, LIMITS), site.deployment, site.pods, migration=SOAK)


def _with_pods(reading: Reading, unfit: int, **ailment: object) -> Reading:
    """The first `unfit` pods look like this."""
    pods = reading.pods or ()
    return replace(reading, pods=tuple(replace(pod, **ailment) for pod in pods[:unfit]) + pods[unfit:])  # type: ignore[arg-type]


def late_probe(site: Site) -> list[Change]:
    """Every `/ready` answers 503 at once for up to four readings, and Kubernetes has not noticed."""

    def change(site: Site, reading: Reading) -> Reading:
        return replace(reading, answers=tuple(Answer(pod.name, 503) for pod in reading.pods or ()))

    return [change] * site.dice.randint(1, 4)


def redis_restart(site: Site) -> list[Change]:
    """No replica is ready for one reading or two."""

    def change(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, site.replicas, ready=False)

    return [change] * site.dice.randint(1, 2)


def restarted_pod(site: Site) -> list[Change]:
    """One container is killed for lack of memory and starts again."""

    def change(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, 1, ready=False, restarts=1, out_of_memory=True, running_since=reading.at - TICK / 2)

    return [change]


def bad_replica(site: Site) -> list[Change]:
    """One replica of several is not ready for a while."""

    def change(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, 1, ready=False)

    return [change] * site.dice.randint(1, 20)


def good_rollout(site: Site) -> list[Change]:
    """A new revision, one pod at a time, each ready after 24 to 110 seconds; the old ones serve meanwhile."""
    changes: list[Change] = []
    for replaced in range(site.replicas):
        age = timedelta(seconds=site.dice.randint(0, 59))
        ready_after = timedelta(seconds=site.dice.randint(24, 110))
        while age < ready_after:
            changes.append(_rolling(replaced, age))
            age += TICK
    return [_first_of_rollout, *changes]


def _first_of_rollout(site: Site, reading: Reading) -> Reading:
    site.revision += 1
    site.started = reading.at
    site.settle()
    return _rolling(0, timedelta())(site, reading)


def _rolling(replaced: int, age: timedelta) -> Change:
    """This many pods are new and ready, one starts, the others are old."""

    def change(site: Site, reading: Reading) -> Reading:
        revision = site.revision
        new = [Pod(f"open-webui-{revision}-{i}", revision, True, reading.at - TICK) for i in range(replaced)]
        starting = Pod(f"open-webui-{revision}-{replaced}", revision, False, reading.at - age)
        old = [
            Pod(f"open-webui-{revision - 1}-{i}", revision - 1, True, site.started)
            for i in range(replaced, site.replicas)
        ]
        return replace(reading, deployment=site.deployment, pods=(*new, starting, *old))

    return change


def drained_node(site: Site) -> list[Change]:
    """A third of the pods moves to another node and starts there."""

    def change(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, max(1, site.replicas // 3), ready=False, running_since=None)

    return [change] * site.dice.randint(1, 3)


def lost_node(site: Site) -> list[Change]:
    """A node is gone for five minutes, then its pods start elsewhere."""

    def lost(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, max(1, site.replicas // 3), ready=False, node_ready=False)

    def starting(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, max(1, site.replicas // 3), ready=False, running_since=reading.at - TICK / 2)

    return [*(lost for _ in range(5)), starting]


def database_failover(site: Site) -> list[Change]:
    """The database is away for one to four readings; the pods are back up to two readings after it."""

    def away(site: Site, reading: Reading) -> Reading:
        gone = (Unread(Part.CONNECTIONS, Obstacle.UNREACHABLE),)
        return replace(_with_pods(reading, site.replicas, ready=False), connections=None, unread=gone)

    def late(site: Site, reading: Reading) -> Reading:
        return _with_pods(reading, site.replicas, ready=False, restarts=1)

    return [*(away for _ in range(site.dice.randint(1, 4))), *(late for _ in range(site.dice.randint(0, 2)))]


def unread_parts(site: Site) -> list[Change]:
    """One part, or several, cannot be read for up to ten minutes."""
    parts = site.dice.sample((Part.CONNECTIONS, Part.DEPLOYMENT, Part.PODS, Part.ANSWERS), site.dice.randint(1, 4))
    missing = {str(part): None for part in parts}
    unread = tuple(Unread(part, Obstacle.UNREACHABLE) for part in parts)

    def change(site: Site, reading: Reading) -> Reading:
        return replace(reading, unread=unread, **missing)  # type: ignore[arg-type]

    return [change] * site.dice.randint(1, 10)


INCIDENTS: tuple[Callable[[Site], list[Change]], ...] = (
    late_probe,
    redis_restart,
    restarted_pod,
    bad_replica,
    good_rollout,
    drained_node,
    lost_node,
    database_failover,
    unread_parts,
)
