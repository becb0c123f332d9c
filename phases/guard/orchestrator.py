"""The health guard at work: one orchestration for each tick of each Deployment, observe ▸ judge ▸ act.

Singleton by its instance id, `guard-<target key>`: a timer that fires while the last tick still runs starts nothing and
counts a skipped tick; so does a tick that starts late or does not end within its period. Observing and acting are
activities (`activities`); judging is an operation of the durable entity that holds the memory (`entity`). Acting
is idempotent and refuses to begin after the tick's end, so a redelivered activity never acts on an old verdict. There
is nothing to undo: every action is a state of the Deployment, and the next tick looks at what became of it.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from durabletask import task
from durabletask.entities import EntityInstanceId

from shared.guard.policy import Policy
from shared.guard.targets import Guarded
from shared.guard.verdicts import Verdict
from shared.model.migration import Target
from shared.wire import JsonObject, from_wire, to_wire

GUARD_ENTITY = "guard_memory"
OBSERVE, ACT = "guard_observe", "guard_act"
SHARE_OF_PERIOD = 0.9
"""After it a tick gives up, so that the next one finds the way free."""
RETRY_ACT = task.RetryPolicy(first_retry_interval=timedelta(seconds=2), max_number_of_attempts=2)
"""Within the tick; after it the action's effect is missing, and the next tick asks for it again."""

type Steps[T] = Generator[task.Task[Any], Any, T]


@dataclass(frozen=True, slots=True)
class Tick:
    """The input of one orchestration. `acts`: carry verdicts out; otherwise only judge and report."""

    target: Target
    at: datetime
    policy: Policy = field(default_factory=Policy)
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Deed:
    """The input of the act activity. After `until` nothing is begun."""

    verdict: Verdict
    run: str
    until: datetime


def instance_of(key: str) -> str:
    """Id of the only orchestration that guards this Deployment."""
    return f"guard-{key}"


def guard(ctx: task.OrchestrationContext, order: JsonObject) -> Steps[JsonObject]:
    """Do one tick. `order` is a `Tick`; returns what was decided, or why it was skipped."""
    tick, now = from_wire(order, Tick), _utc(ctx.current_utc_datetime)
    memory = EntityInstanceId(GUARD_ENTITY, tick.target.key)
    if now - tick.at > tick.policy.tick / 2:
        return _skip(ctx, memory, f"late by {(now - tick.at).total_seconds():.0f} s")
    span = SHARE_OF_PERIOD * tick.policy.tick
    timer = ctx.create_timer(span)
    guarded = to_wire(Guarded(tick.target, tick.policy))
    look: task.Task[Any] = ctx.call_activity(OBSERVE, input={"guarded": guarded, "at": now.isoformat()})
    reading, obstacle = yield from _in_time(look, timer)
    if obstacle:
        _cancel(timer)
        return _skip(ctx, memory, f"not observed: {obstacle}")
    case = {"reading": reading, "policy": to_wire(tick.policy), "now": now.isoformat(), "acts": tick.acts}
    judging: task.Task[Any] = ctx.call_entity(memory, "judge", case)
    decided, obstacle = yield from _in_time(judging, timer)
    if obstacle:
        _cancel(timer)
        return _skip(ctx, memory, f"not judged: {obstacle}")
    if decided["order"] is not None:
        deed = decided["order"] | {"until": (now + span).isoformat()}
        act: task.Task[Any] = ctx.call_activity(ACT, input={"guarded": guarded, "deed": deed}, retry_policy=RETRY_ACT)
        done, obstacle = yield from _in_time(act, timer)
        ctx.signal_entity(memory, "carried_out", {"error": obstacle or done["error"]})
    _cancel(timer)
    return {"rule": decided["rule"], "acted": decided["order"] is not None}


def _in_time(work: Any, timer: Any) -> Steps[tuple[Any, str]]:
    """The activity's result, or why there is none."""
    yield task.when_any([work, timer])
    if not work.is_complete:
        return None, "it took longer than its tick"
    try:
        return work.get_result(), ""
    except task.TaskFailedError as error:
        return None, str(error.details.message)


def _skip(ctx: task.OrchestrationContext, memory: EntityInstanceId, because: str) -> JsonObject:
    ctx.signal_entity(memory, "skip", {"because": because})
    return {"skipped": because}


def _cancel(timer: Any) -> None:
    if not timer.is_complete:
        timer.cancel()


def _utc(moment: datetime) -> datetime:
    """Durable gives the time without a zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
