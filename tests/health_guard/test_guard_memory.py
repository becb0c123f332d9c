"""What the guard keeps between ticks: effects verified, orders repeated, never in observe mode, never while paused."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from phases.guard.activities import act_on
from phases.guard.memory import ATTEMPTS, Effect, Memory, Pending, carried_out, decide, effect_of, skip
from phases.guard.orchestrator import Deed
from shared.guard.policy import Policy
from shared.guard.readings import Autoscaler, Deployment, MigrationState, Part
from shared.guard.verdicts import Action, GuardState, Move, Verdict, pause, resume
from shared.wire import from_wire, to_wire
from tests.guard.fix_readings import B1MS, MINUTE, NOON, SOAK, reading, without

LEAK = {"replicas": 3, "foreign": 33, "limits": B1MS}
"""So many others on a B1ms that one reading is enough to cap."""


def ticks(readings, memory=None, *, acts=True, policy=None):
    """Decide on them a minute apart; returns the orders and the memory after the last."""
    memory, at, orders = memory or Memory(), NOON, []
    if memory.state.signs:
        at = memory.state.signs[-1].at + MINUTE
    for each in readings:
        _, order, memory = decide(memory, replace(each, at=at), policy or Policy(), at, acts=acts)
        orders.append(order)
        at += MINUTE
    return orders, memory


def capped(replicas, **more):
    """The leak's reading after the Deployment was scaled."""
    return reading(**(LEAK | {"replicas": replicas} | more))


def test_a_healthy_deployment_gets_no_orders():
    orders, memory = ticks([reading()] * 3)
    assert orders == [None] * 3
    assert (memory.ticks, memory.pending, memory.reading["replicas"]) == (3, None, 3)


def test_an_order_is_kept_until_its_effect_is_seen():
    [order], memory = ticks([reading(**LEAK)])
    assert order.verdict.action is Action.CAP
    assert memory.pending is not None
    _, memory = ticks([capped(order.verdict.replicas)], memory)
    assert memory.pending is None
    assert memory.effects[-1].effect == Effect.SEEN


def test_an_order_without_effect_is_repeated_and_then_the_operator_is_called():
    policy = Policy(operator_repeat=timedelta(days=1))
    [first], memory = ticks([reading(**LEAK)], policy=policy)
    memory = carried_out(memory, "the API server refused")
    orders, memory = ticks([without(reading(**LEAK), Part.CONNECTIONS)] * 6, memory, policy=policy)
    repeated = [o for o in orders if o and o.verdict == first.verdict]
    calls = [o for o in orders if o and o.verdict.rule == "gave_up"]
    assert len(repeated) == ATTEMPTS - 1
    assert len(calls) == 1
    assert "the API server refused" in calls[0].verdict.reason
    assert memory.effects[-1].effect == Effect.MISSING


def test_what_cannot_be_read_is_not_repeated():
    _, memory = ticks([reading(**LEAK)])
    blind = without(reading(**LEAK), Part.CONNECTIONS, Part.DEPLOYMENT, Part.PODS)
    orders, memory = ticks([blind] * 4, memory)
    assert [o for o in orders if o and o.verdict.action is not Action.CALL_OPERATOR] == []
    assert memory.pending.attempts == 1


def test_a_paused_guard_repeats_nothing_and_goes_on_when_the_pause_ends():
    _, memory = ticks([reading(**LEAK)])
    paused = replace(memory, state=pause(memory.state, NOON + timedelta(minutes=3), "maintenance"))
    quiet = without(reading(**LEAK), Part.CONNECTIONS)
    orders, memory = ticks([quiet] * 2, paused)
    assert orders == [None, None]
    orders, _ = ticks([quiet] * 2, memory)
    assert Action.CAP in {order.verdict.action for order in orders}


def test_a_resume_ends_a_pause_at_once():
    paused = Memory(state=pause(GuardState(), NOON + timedelta(hours=1), "x"), acts=True)
    assert ticks([reading(**LEAK)], paused)[0] == [None]
    resumed = replace(paused, state=resume(paused.state))
    assert ticks([reading(**LEAK)], resumed)[0][0].verdict.action is Action.CAP


def test_observing_orders_nothing_but_judges():
    orders, memory = ticks([reading(**LEAK)] * 3, acts=False)
    assert orders == [None] * 3
    assert memory.pending is None
    assert Action.CAP in {verdict.action for verdict in memory.state.verdicts}


def test_what_was_only_observed_is_forgotten_when_acting_begins():
    moved = GuardState(moves=(Move(NOON, False, 1),), rolled_back="run-7")
    _, memory = ticks([reading()], Memory(state=moved, acts=False))
    assert (memory.state.moves, memory.state.rolled_back) == ((), "")
    _, kept = ticks([reading()], Memory(state=moved, acts=True))
    assert kept.state.rolled_back == "run-7"


def test_the_same_reading_judged_twice_orders_once():
    _, order, memory = decide(Memory(acts=True), reading(**LEAK), Policy(), NOON, acts=True)
    assert order is not None
    seen = replace(memory, pending=None)
    assert decide(seen, reading(**LEAK), Policy(), NOON, acts=True)[1] is None


def test_skipped_ticks_are_counted():
    memory = skip(skip(Memory(), "late"), "the last tick still ran")
    assert (memory.state.skipped_ticks, memory.skipped_because) == (2, "the last tick still ran")


def test_the_memory_survives_the_wire():
    _, memory = ticks([reading(**LEAK), capped(1), reading()])
    assert from_wire(to_wire(memory), Memory) == memory


def test_nothing_is_begun_after_the_ticks_end():
    done = []
    deed = Deed(SCALED, "run-7", NOON)
    ports = SimpleNamespace(actuator=SimpleNamespace(scale=done.append))
    assert "tick was over" in act_on(ports, deed, NOON + timedelta(seconds=1))["error"]
    assert done == []
    assert act_on(ports, deed, NOON) == {"done": ["replicas 5"], "error": ""}
    assert done == [5]


SCALED = Verdict(NOON, Action.SCALE_UP, "add_replicas", "", replicas=5)
BOUNDED = Verdict(NOON, Action.CAP, "relieve_connections", "", minimum=1, maximum=4)
UNDONE = Verdict(NOON, Action.ROLL_BACK, "roll_back", "", to_revision=3)
ROLLED_BACK = Verdict(NOON, Action.ROLL_BACK, "roll_back", "")
HPA = Autoscaler("open-webui", 1, 4, 3)


@pytest.mark.parametrize(
    ("verdict", "seen", "effect"),
    [
        (SCALED, reading(replicas=5), Effect.SEEN),
        (SCALED, reading(replicas=3), Effect.MISSING),
        (SCALED, without(reading(), Part.DEPLOYMENT), Effect.UNKNOWN),
        (BOUNDED, reading(autoscaler=HPA), Effect.SEEN),
        (BOUNDED, reading(autoscaler=replace(HPA, maximum=20)), Effect.MISSING),
        (BOUNDED, reading(), Effect.MISSING),
        (BOUNDED, without(reading(), Part.AUTOSCALER), Effect.UNKNOWN),
        (UNDONE, replace(reading(), deployment=Deployment(3, 5)), Effect.SEEN),
        (UNDONE, reading(), Effect.MISSING),
        (ROLLED_BACK, reading(migration=MigrationState("run-7", "cut_over", restarts_pods=True)), Effect.SEEN),
        (ROLLED_BACK, reading(migration=MigrationState("run-7")), Effect.SEEN),
        (ROLLED_BACK, reading(migration=SOAK), Effect.MISSING),
    ],
)
def test_an_effect_is_what_the_reading_shows(verdict, seen, effect):
    assert effect_of(Pending(verdict, "run-7", 4), seen) is effect
