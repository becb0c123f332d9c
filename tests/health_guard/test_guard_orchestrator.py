"""The guard's ticks on the real durable engine, over toy ports."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import PermanentError, TransientError
from shared.guard.readings import Obstacle, Part
from tests.guard.fix_readings import B1MS, SOAK, pod, reading
from tests.health_guard.fix_guard_hub import TICK, Gate, GuardHub, ToyWorld

LEAK = {"replicas": 3, "foreign": 33, "limits": B1MS, "migration": SOAK}
NOW = datetime.now(UTC)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A Deployment for each test."""
    return request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].lower()


def leaking() -> ToyWorld:
    return ToyWorld(reading(**LEAK))


def test_a_tick_observes_judges_and_remembers(hub: GuardHub, name: str) -> None:
    world = ToyWorld()
    one = hub.guarded(name, world)
    assert hub.tick(one) == {"rule": "nothing", "acted": False}
    memory = hub.memory(one)
    assert (memory.ticks, memory.reading["replicas"], world.deeds) == (1, 3, [])


def test_a_leak_is_capped_once_and_its_effect_is_verified(hub: GuardHub, name: str) -> None:
    world = leaking()
    one = hub.guarded(name, world)
    assert hub.tick(one)["acted"]
    assert [deed[0] for deed in world.deeds] == ["scale"]
    hub.tick(one)
    assert [deed[0] for deed in world.deeds].count("scale") == 1
    memory = hub.memory(one)
    assert (memory.pending, memory.effects[-1].effect) == (None, "seen")


def test_observe_mode_changes_nothing(hub: GuardHub, name: str) -> None:
    world = leaking()
    one = hub.guarded(name, world)
    assert hub.tick(one, acts=False) == {"rule": "relieve_connections", "acted": False}
    assert world.deeds == []
    assert hub.memory(one).state.verdicts[-1].action == "cap"


def test_an_overlapping_tick_is_skipped_and_counted(hub: GuardHub, name: str) -> None:
    gate = Gate()
    world = ToyWorld(before=gate)
    one = hub.guarded(name, world, tick=timedelta(seconds=60))
    hub.fire(one)
    assert gate.entered.wait(10)
    hub.fire(one)
    hub.fire(one)
    gate.opened.set()
    assert hub.ended(one)["rule"] == "nothing"
    memory = hub.until(one, lambda m: m.state.skipped_ticks == 2)
    assert (world.looks, memory.ticks) == (1, 1)
    assert "still ran" in memory.skipped_because


def test_a_late_timer_is_skipped_and_counted(hub: GuardHub, name: str) -> None:
    world = ToyWorld()
    one = hub.guarded(name, world)
    hub.fire(one, past_due=True)
    assert hub.until(one, lambda m: m.state.skipped_ticks == 1).ticks == 0
    assert world.looks == 0


def test_a_tick_that_starts_late_is_skipped_and_counted(hub: GuardHub, name: str) -> None:
    world = ToyWorld()
    one = hub.guarded(name, world)
    assert "late by" in hub.tick(one, at=datetime.now(UTC) - 3 * TICK)["skipped"]
    hub.until(one, lambda m: m.state.skipped_ticks == 1)
    assert world.looks == 0


def test_a_source_that_hangs_costs_its_part_and_not_the_tick(hub: GuardHub, name: str) -> None:
    gate = Gate()
    one = hub.guarded(name, ToyWorld(before=gate))
    began = time.monotonic()
    hub.tick(one)
    assert time.monotonic() - began < TICK.total_seconds()
    gate.opened.set()
    unread = hub.memory(one).reading["unread"]
    assert [u["part"] for u in unread] == [Part.CONNECTIONS]
    assert unread[0]["obstacle"] == Obstacle.UNREACHABLE


def test_a_bug_in_a_source_skips_the_tick_and_is_counted(hub: GuardHub, name: str) -> None:
    def bug() -> None:
        raise KeyError("bug")

    one = hub.guarded(name, ToyWorld(before=bug))
    assert "bug" in hub.tick(one)["skipped"]
    assert hub.until(one, lambda m: m.state.skipped_ticks == 1).ticks == 0


def test_one_dead_deployment_does_not_delay_the_others(hub: GuardHub, name: str) -> None:
    gate = Gate()
    dead = hub.guarded(f"{name}-dead", ToyWorld(before=gate), tick=timedelta(seconds=60))
    others = [hub.guarded(f"{name}-{n}", ToyWorld()) for n in range(5)]
    began = time.monotonic()
    hub.fire(dead, *others)
    assert [hub.ended(other)["rule"] for other in others] == ["nothing"] * 5
    assert time.monotonic() - began < 8
    gate.opened.set()
    hub.ended(dead)


def test_a_pause_holds_until_it_expires(hub: GuardHub, name: str) -> None:
    world = leaking()
    one = hub.guarded(name, world)
    until = datetime.now(UTC) + timedelta(seconds=1.5)
    hub.signal(one, "pause", {"until": until.isoformat(), "because": "maintenance"})
    assert hub.tick(one) == {"rule": "paused", "acted": False}
    assert "maintenance" in hub.memory(one).state.verdicts[-1].reason
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 0.1)
    assert hub.tick(one)["acted"]
    assert ("scale" in {deed[0] for deed in world.deeds}) is True


def test_a_resume_ends_a_pause(hub: GuardHub, name: str) -> None:
    one = hub.guarded(name, leaking())
    hub.signal(one, "pause", {"until": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "because": "x"})
    assert hub.tick(one)["rule"] == "paused"
    hub.signal(one, "resume", {})
    assert hub.tick(one)["acted"]


def test_a_deed_that_fails_for_good_is_asked_for_again_at_the_next_tick(hub: GuardHub, name: str) -> None:
    world = leaking()
    world.refuse = PermanentError("may not scale")
    one = hub.guarded(name, world)
    hub.tick(one)
    assert hub.until(one, lambda m: m.pending and m.pending.error).pending.error == "may not scale"
    world.refuse = None
    for _ in range(3):
        hub.tick(one)
    assert world.reading.deployment.replicas == 1
    assert hub.memory(one).pending is None


def test_a_deed_that_fails_for_a_moment_is_tried_again_within_the_tick(hub: GuardHub, name: str) -> None:
    world = leaking()
    world.refuse = TransientError("busy")
    one = hub.guarded(name, world, tick=timedelta(seconds=30))
    hub.fire(one)
    hub.until(one, lambda m: m.pending)
    while not world.deeds:
        time.sleep(0.01)
    world.refuse = None
    hub.ended(one)
    assert world.reading.deployment.replicas == 1
    assert hub.memory(one).pending.error == ""


def test_a_bad_revision_inside_the_soak_is_rolled_back_once(hub: GuardHub, name: str) -> None:
    broken = [pod(n, ready=False, started=datetime.now(UTC) - timedelta(minutes=3)) for n in range(3)]
    soak = replace(SOAK, soak_until=datetime.now(UTC) + timedelta(hours=1))
    world = ToyWorld(reading(pods=broken, migration=soak))
    one = hub.guarded(name, world)
    for _ in range(2):
        hub.tick(one)
    assert world.deeds == [("roll_back", "run-7")]
    world.reading = replace(world.reading, migration=replace(soak, phase="cut_over", restarts_pods=True))
    assert hub.tick(one)["rule"] == "phase"
    assert [deed for deed in world.deeds if deed[0] == "roll_back"] == [("roll_back", "run-7")]
    assert hub.memory(one).effects[-1].rule == "roll_back"


def test_only_the_last_hundred_verdicts_are_kept(hub: GuardHub, name: str) -> None:
    one = hub.guarded(name, ToyWorld(), kept_verdicts=3)
    for _ in range(5):
        hub.tick(one)
    assert len(hub.memory(one).state.verdicts) == 3
