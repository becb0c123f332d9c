"""Who steers the model: the real judge, with and without an autoscaler beneath it, the HPA alone, KEDA alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from benchmarks.guard_simulation.autoscalers import HorizontalPodAutoscaler, Keda
from benchmarks.guard_simulation.world import SimulatedPod, World
from shared.guard.judge import judge
from shared.guard.policy import Policy
from shared.guard.readings import (
    Answer,
    Autoscaler,
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
from shared.sizing.connection_budget import Demand, plan_budget

START = datetime(2026, 11, 22, tzinfo=UTC)
TICK = 60
"""Seconds."""
BLIND = tuple(Unread(part, Obstacle.UNREACHABLE) for part in (Part.CONNECTIONS, Part.DEPLOYMENT, Part.PODS))


class Contestant(Protocol):
    """Called after every step of the world."""

    def decide(self, world: World) -> None:
        """Change `world.replicas`, bounds or revision, or nothing."""


@dataclass(slots=True)
class Guard:
    """The judge of `shared.guard`, once a minute, with the simplest observe and act around it."""

    soak: bool
    hpa: HorizontalPodAutoscaler | None = None
    policy: Policy = Policy(minimum_replicas=3)  # noqa: RUF009 - a frozen value
    state: GuardState = GuardState()  # noqa: RUF009 - a frozen value
    verdicts: list[Verdict] = field(default_factory=list)

    def decide(self, world: World) -> None:
        if self.hpa:
            self.hpa.decide(world)
        if world.now % TICK:
            return
        reading = observe(world, soak=self.soak, hpa=self.hpa)
        verdict, self.state = judge(reading, self.policy, self.state, reading.at)
        self.verdicts.append(verdict)
        act(verdict, world)


def guard_alone(soak: bool) -> Contestant:
    """The guard on a Deployment without an autoscaler."""
    return Guard(soak)


def guard_over_hpa(soak: bool) -> Contestant:
    """What the migration installs: an HPA whose bounds come from the budget, and the guard over it."""
    return Guard(soak, HorizontalPodAutoscaler())


CONTESTANTS: dict[str, Callable[[bool], Contestant]] = {
    "guard": guard_alone,
    "guard over HPA": guard_over_hpa,
    "HPA alone": lambda soak: HorizontalPodAutoscaler(),
    "KEDA alone": lambda soak: Keda(),
}


def budgeted_maximum(world: World) -> int:
    """The HPA's maximum that phase `enable_autoscaling` sets."""
    demand = Demand(world.replicas, 1, 20, other_connections=world.foreign - 1, mover_connections=0)
    return plan_budget(world.limits, demand).largest_replica_count


def observe(world: World, *, soak: bool, hpa: HorizontalPodAutoscaler | None) -> Reading:
    """What the adapters would read from this world now."""
    at = START + timedelta(seconds=world.now)
    migration = MigrationState("run-1", soak_until=START + timedelta(days=2) if soak else None)
    if not world.metrics_up:
        return Reading(at, migration=migration, unread=BLIND)
    serving = {pod.name for pod in world.serving()}
    unread = () if world.database_up else (Unread(Part.CONNECTIONS, Obstacle.UNREACHABLE),)
    return Reading(
        at,
        _connections(world) if world.database_up else None,
        Deployment(world.replicas, world.revision, world.pools),
        tuple(_pod(pod, world, pod.name in serving) for pod in world.pods),
        Autoscaler("open-webui", world.minimum, world.maximum, hpa.desired) if hpa else None,
        tuple(Answer(pod.name, 200 if pod.name in serving else 503) for pod in world.alive()),
        migration=migration,
        unread=unread,
    )


def _connections(world: World) -> Connections:
    busy = world.busy_connections()
    ours = max(busy, world.used - world.foreign)
    sessions = (
        Sessions("open-webui", "active", busy),
        Sessions("open-webui", "idle", ours - busy),
        Sessions("others", "idle", world.foreign - 1),
        Sessions("scaleout-guard", "active", 1),
    )
    return Connections(sessions, world.limits)


def _pod(pod: SimulatedPod, world: World, ready: bool) -> Pod:
    return Pod(
        pod.name,
        pod.revision,
        ready,
        START + timedelta(seconds=pod.started),
        ending=pod.ends is not None,
        node_ready=pod.lost_at is None,
    )


def act(verdict: Verdict, world: World) -> None:
    """Do to the world what the adapters would do to the cluster."""
    if verdict.replicas is not None:
        world.replicas = verdict.replicas
    if verdict.minimum is not None and verdict.maximum is not None:
        world.minimum, world.maximum = verdict.minimum, verdict.maximum
    if verdict.action is Action.ROLL_BACK:
        world.revision += 1
