"""What the guard of one Deployment keeps between ticks, and the one step that judges and remembers together.

Pure. The step runs inside a durable entity, which takes one operation at a time: a pause that arrives during a tick is
never overwritten by it, and a verdict and its memory are stored together or not at all. An action is kept until the
world shows its effect; where it does not, the same action is asked for again, at most `ATTEMPTS` times, and then the
operator is called. A rerun is safe: the judge decides nothing on a reading that it has judged.
"""

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.guard.judge import judge
from shared.guard.policy import Policy
from shared.guard.readings import Obstacle, Part, Reading
from shared.guard.verdicts import Action, GuardState, Verdict, count_skipped
from shared.wire import JsonObject

ATTEMPTS = 3
KEPT_EFFECTS = 20
STANDING_STILL = frozenset({"paused", "phase", "stale", "parked"})
"""Rules under which nothing is done, a repetition included."""


class Effect(enum.StrEnum):
    """What the world says of an action."""

    SEEN = "seen"
    MISSING = "missing"
    UNKNOWN = "unknown"  # the part that would show it could not be read


@dataclass(frozen=True, slots=True)
class Pending:
    """An action whose effect has not been seen. `revision`: the Deployment's when it was asked for."""

    verdict: Verdict
    run: str
    revision: int | None
    attempts: int = 1
    error: str = ""
    """Why carrying it out failed, if it did."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How one action ended."""

    at: datetime
    rule: str
    effect: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of the durable entity, one for each Deployment."""

    state: GuardState = field(default_factory=GuardState)
    acts: bool = False
    pending: Pending | None = None
    effects: tuple[Seen, ...] = ()
    reading: JsonObject = field(default_factory=dict)
    """The last reading in figures, for GET /api/guard."""
    ticks: int = 0
    skipped_because: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What to carry out now; `run`: the migration that a rollback takes back."""

    verdict: Verdict
    run: str


def decide(
    memory: Memory, reading: Reading, policy: Policy, now: datetime, *, acts: bool
) -> tuple[Verdict, Order | None, Memory]:
    """Judge the reading, verify the last action, and say what is to be done. Without `acts` nothing ever is."""
    if acts and not memory.acts:
        memory = replace(memory, state=_as_if_nothing_was_asked(memory.state))
    policy = replace(policy, dry_run=not acts)
    memory = _verify(memory, reading, now)
    verdict, state = judge(reading, policy, memory.state, now)
    memory = replace(memory, state=state, acts=acts, ticks=memory.ticks + 1, reading=summarise(reading))
    if not acts:
        return verdict, None, replace(memory, pending=None)
    order, memory = _next_order(memory, verdict, reading, now)
    return verdict, order, memory


def carried_out(memory: Memory, error: str) -> Memory:
    """Note how the last order went; an error is told again only by its missing effect."""
    return replace(memory, pending=replace(memory.pending, error=error)) if memory.pending else memory


def skip(memory: Memory, because: str) -> Memory:
    """Count a tick that was late, overlapped, or could not be judged in time."""
    return replace(memory, state=count_skipped(memory.state), skipped_because=because)


def effect_of(pending: Pending, reading: Reading) -> Effect:
    """Whether the reading shows what was asked for."""
    verdict, deployment = pending.verdict, reading.deployment
    if verdict.action is Action.ROLL_BACK and verdict.to_revision is None:
        under_way = reading.migration.restarts_pods or reading.migration.soak_until is None
        return _shown(under_way, readable=reading.obstacle(Part.MIGRATION) is None)
    if verdict.minimum is not None:
        autoscaler, readable = reading.autoscaler, reading.obstacle(Part.AUTOSCALER) is None
        bounds = (autoscaler.minimum, autoscaler.maximum) if autoscaler else None
        return _shown(bounds == (verdict.minimum, verdict.maximum), readable=readable)
    if verdict.to_revision is not None:
        moved_on = deployment is not None and deployment.revision != pending.revision
        return _shown(moved_on, readable=deployment is not None)
    scaled = deployment is not None and deployment.replicas == verdict.replicas
    return _shown(scaled, readable=deployment is not None)


def _shown(holds: bool, *, readable: bool) -> Effect:
    return (Effect.SEEN if holds else Effect.MISSING) if readable else Effect.UNKNOWN


def summarise(reading: Reading) -> JsonObject:
    """The reading in figures that a person wants; what could not be read is null."""
    connections, deployment, pods = reading.connections, reading.deployment, reading.pods
    return {
        "at": reading.at.isoformat(),
        "partial": reading.partial,
        "unread": [{"part": u.part, "obstacle": u.obstacle, "detail": u.detail} for u in reading.unread],
        "replicas": deployment.replicas if deployment else None,
        "ready": sum(pod.ready and not pod.ending for pod in pods) if pods is not None else None,
        "answering": _answering(reading),
        "slowest_answer_ms": _slowest_ms(reading),
        "revision": deployment.revision if deployment else None,
        "connections_used": connections.used if connections else None,
        "connections_for_users": connections.limits.for_users if connections else None,
        "database_full": reading.obstacle(Part.CONNECTIONS) is Obstacle.NO_CONNECTION_LEFT,
        "database_latency_ms": round(connections.latency.total_seconds() * 1000, 1) if connections else None,
        "autoscaler": _bounds(reading),
        "migration": reading.migration.run,
        "phase": reading.migration.phase,
        "soak_until": reading.migration.soak_until.isoformat() if reading.migration.soak_until else None,
    }


def _answering(reading: Reading) -> int | None:
    """Replicas whose /ready answered 200; None where they could not be asked."""
    answers = reading.answers
    return None if answers is None else sum(answer.status == 200 for answer in answers)


def _slowest_ms(reading: Reading) -> float | None:
    """Of the replicas that answered; None where none did."""
    answered = [answer.latency for answer in reading.answers or () if answer.status is not None]
    return round(max(answered).total_seconds() * 1000, 1) if answered else None


def _bounds(reading: Reading) -> JsonObject | None:
    found = reading.autoscaler
    if found is None:
        return None
    return {"minimum": found.minimum, "maximum": found.maximum, "desired": found.desired}


def _verify(memory: Memory, reading: Reading, now: datetime) -> Memory:
    """Drop the pending action once its effect is seen."""
    pending = memory.pending
    if pending is None or effect_of(pending, reading) is not Effect.SEEN:
        return memory
    seen = Seen(now, pending.verdict.rule, Effect.SEEN, f"after {pending.attempts} attempt(s)")
    return replace(memory, pending=None, effects=(*memory.effects, seen)[-KEPT_EFFECTS:])


def _next_order(memory: Memory, verdict: Verdict, reading: Reading, now: datetime) -> tuple[Order | None, Memory]:
    """The new verdict's order; without one, the last action again while its effect is missing."""
    run = reading.migration.run
    if verdict.action is Action.CALL_OPERATOR:
        return Order(verdict, run), memory
    if verdict.action is not Action.NONE:
        revision = reading.deployment.revision if reading.deployment else None
        return Order(verdict, run), replace(memory, pending=Pending(verdict, run, revision))
    pending = memory.pending
    if pending is None or verdict.rule in STANDING_STILL or effect_of(pending, reading) is Effect.UNKNOWN:
        return None, memory
    if pending.attempts < ATTEMPTS:
        again = replace(pending, attempts=pending.attempts + 1)
        return Order(again.verdict, again.run), replace(memory, pending=again)
    return _give_up(memory, pending, now)


def _give_up(memory: Memory, pending: Pending, now: datetime) -> tuple[Order, Memory]:
    """Call the operator: what was asked for does not happen."""
    cause = f" ({pending.error})" if pending.error else ""
    reason = f"{pending.verdict.action} had no effect in {pending.attempts} attempts{cause}: {pending.verdict.reason}"
    call = Verdict(now, Action.CALL_OPERATOR, "gave_up", reason)
    missing = Seen(now, pending.verdict.rule, Effect.MISSING, pending.error)
    state = replace(memory.state, verdicts=(*memory.state.verdicts, call)[-100:])
    memory = replace(memory, state=state, pending=None, effects=(*memory.effects, missing)[-KEPT_EFFECTS:])
    return Order(call, pending.run), memory


def _as_if_nothing_was_asked(state: GuardState) -> GuardState:
    """While only observing nothing was done: forget the moves that were not made."""
    return replace(state, moves=(), capped_from=None, raised_from=None, rolled_back="", told=())
