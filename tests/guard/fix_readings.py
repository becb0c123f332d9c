"""Builders of readings: a healthy Deployment of three on a B2s, and what can be wrong with it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
from shared.guard.verdicts import GuardState, Verdict
from shared.sizing.connection_budget import PoolSizes, ServerLimits, split_pools

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LONG_AGO = NOON - timedelta(hours=5)
B2S = ServerLimits(429, 5, 10, "Standard_B2s", "Burstable")
B1MS = ServerLimits(50, 5, 10, "Standard_B1ms", "Burstable")
SOAK = MigrationState(run="run-7", soak_until=NOON + timedelta(hours=1))
AFTER_SOAK = MigrationState(run="run-7", soak_until=NOON - timedelta(hours=1))


def sessions(busy: int, idle: int, foreign: int) -> tuple[Sessions, ...]:
    return (
        Sessions("open-webui", "active", busy),
        Sessions("open-webui", "idle", idle),
        Sessions("psql", "idle", foreign),
        Sessions("scaleout-guard", "active", 1),
    )


def pod(
    index: int, *, revision: int = 4, ready: bool = True, started: datetime | None = LONG_AGO, **more: object
) -> Pod:
    return replace(Pod(f"open-webui-{revision}-{index}", revision, ready, started), **more)


def reading(
    *,
    replicas: int = 3,
    busy: int = 12,
    foreign: int = 4,
    limits: ServerLimits = B2S,
    pools: PoolSizes | None = None,
    pods: Iterable[Pod] | None = None,
    revision: int = 4,
    autoscaler: Autoscaler | None = None,
    migration: MigrationState = SOAK,
    max_surge: int = 1,
) -> Reading:
    """A healthy one unless told otherwise; `busy`: sessions of all replicas that are in use."""
    found = tuple(pod(index, revision=revision) for index in range(replicas)) if pods is None else tuple(pods)
    pools = pools or split_pools(22)
    idle = max(0, 8 * replicas - busy)
    return Reading(
        at=NOON,
        connections=Connections(sessions(busy, idle, foreign), limits, latency=timedelta(milliseconds=3)),
        deployment=Deployment(replicas, revision, pools, max_surge),
        pods=found,
        autoscaler=autoscaler,
        answers=tuple(Answer(each.name, 200 if each.ready else 503) for each in found),
        migration=migration,
    )


def without(whole: Reading, *parts: Part, obstacle: Obstacle = Obstacle.UNREACHABLE) -> Reading:
    """The same with these parts unread."""
    return replace(
        whole,
        **{str(part): None for part in parts},
        unread=tuple(Unread(part, obstacle) for part in parts),
    )


def run(
    readings: Iterable[Reading], policy: Policy | None = None, state: GuardState | None = None
) -> tuple[list[Verdict], GuardState]:
    """Judge them a minute apart, starting after the last one that the state has seen."""
    policy, state = policy or Policy(), state or GuardState()
    at = state.signs[-1].at + MINUTE if state.signs else NOON
    verdicts = []
    for each in readings:
        verdict, state = judge(replace(each, at=at), policy, state, at)
        verdicts.append(verdict)
        at += MINUTE
    return verdicts, state
