"""The guard on trial, after a rehearsed migration: three troubles that it must end by itself, and nobody turned away.

    bad rollout    a new revision never becomes ready          → rolled back, while the old pods serve
    leak           another program takes connection on connection → fewer replicas, before any is refused
    heal           that program ends                           → the replicas return

The guard runs in act mode with a tick of seconds instead of a minute, and all its times shortened alike.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg

from local.rehearsal.app_client import AppClient
from local.rehearsal.current_state import Operator
from local.rehearsal.prober import Prober
from local.rehearsal.processes import wait_until
from local.rehearsal.world import World
from shared.errors import MigrationError, VerificationFailed

TICK_SECONDS = 3
POLICY = {
    "tick_seconds": TICK_SECONDS,
    "startup_grace_seconds": 8,
    "start_patience_seconds": 60,
    "settle_seconds": 20,
    "up_cooldown_seconds": 6,
    "down_cooldown_seconds": 9,
    "calm_seconds": 15,
    "operator_patience_seconds": 30,
    "operator_repeat_seconds": 60,
    "readings_to_return": 3,
}
SETTINGS = {
    "SCALEOUT_GUARD_SCHEDULE": f"*/{TICK_SECONDS} * * * * *",
    "SCALEOUT_GUARD_MODE": "act",
    "SCALEOUT_GUARD_TARGETS": json.dumps([{"policy": POLICY}]),
}
LEAKING_PROGRAM = "nightly-report"
PATIENCE_SECONDS = 90

type Say = Callable[[str], None]


@dataclass(slots=True)
class Trial:
    """What happened, for the report."""

    world: World
    app: AppClient
    say: Say
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def operator(self) -> Operator:
        if self.world.operator is None:
            raise VerificationFailed("the world is not open")
        return self.world.operator

    def hold(self, replicas: int) -> dict[str, Any]:
        """`run`, with what the guard did not end under `failure`."""
        try:
            return self.run(replicas)
        except MigrationError as error:
            self.say(f"the guard failed its trial: {error.message}")
            return self.found | {"failure": error.message}

    def run(self, replicas: int) -> dict[str, Any]:
        """All troubles, one after the other; VerificationFailed says which one the guard did not end."""
        prober = Prober(self.world.service_url)
        prober.start()
        try:
            self._await_calm(replicas)
            self._pause()
            self._bad_rollout(replicas)
            with ExitStack() as leaked:
                self._leak(leaked, replicas)
            self._heal(replicas)
        finally:
            seen = prober.stop()
        self.found["requests"], self.found["unanswered"] = seen.requests, seen.failures
        self.found["longest_gap_seconds"] = round(seen.longest_gap_seconds, 2)
        self.found["skipped_ticks"] = self._guard()["skipped_ticks"]
        self.found["ticks"] = self._guard()["ticks"]
        return self.found

    def run_without_redis(self, replicas: int, run: str) -> dict[str, Any]:
        """Take away what every replica needs: the guard rolls the migration back, and the old store serves again."""
        prober = Prober(self.world.service_url)
        prober.start()
        try:
            self._await_calm(replicas)
            self.operator.scale(f"{self.operator.names.deployment}-redis", 0)
            self.say("Redis is gone")
            guard = self._until(lambda guard: bool(_verdicts(guard, "roll_back")), "a rollback")
            under_way = f"{run}-rollback-1"
            self._until(lambda guard: guard["reading"]["migration"] == under_way, "a look at its rollback")
            rollback = self.app.follow(under_way, lambda _: None)
            self.operator.wait_until_ready(1)
            wait_until(lambda: "chroma" in prober.seen.stores, "an answer from the old store", PATIENCE_SECONDS)
        finally:
            seen = prober.stop()
        verdict = _verdicts(guard, "roll_back")[0]["reason"]
        self.say(f"{rollback['state']}: {verdict}")
        return {"state": rollback["state"], "verdict": verdict, "stores": sorted(seen.stores)}

    def _guard(self) -> dict[str, Any]:
        return wait_until(self.app.guard, "an answer of GET /api/guard", 30)

    def _await_calm(self, replicas: int) -> None:
        """Two readings in which all serve: what a rollback returns to."""
        state = self._until(lambda guard: guard["state"]["healthy_replicas"] == replicas, "a healthy reading")
        self.say(f"the guard has seen {replicas} healthy replicas of revision {state['state']['healthy_revision']}")

    def _pause(self) -> None:
        """An operator's pause holds until it is ended, which could also be its own end."""
        self.app.pause_guard(5, "a trial of the pause")
        self._until(lambda guard: guard["verdicts"][0]["rule"] == "paused", "a pause")
        self.app.resume_guard()
        self._until(lambda guard: guard["verdicts"][0]["rule"] != "paused", "the end of the pause")
        self.say("a pause was held, and ended")

    def _bad_rollout(self, replicas: int) -> None:
        before = self._guard()["state"]["healthy_revision"]
        self.say("a new revision that is never ready")
        began, first = time.monotonic(), self._guard()["ticks"]
        self.operator.set_variable("STANDIN_READY", "false")
        guard = self._until(lambda guard: bool(_verdicts(guard, "roll_back")), "a rollback")
        ticks = guard["ticks"] - first
        wait_until(lambda: self.operator.variable("STANDIN_READY") is None, "the old revision", PATIENCE_SECONDS)
        seconds = round(time.monotonic() - began, 1)
        self.operator.wait_until_ready(replicas)
        verdict = _verdicts(guard, "roll_back")[0]
        self.found["bad_rollout"] = {"seconds": seconds, "ticks": ticks, "verdict": verdict["reason"]}
        self.say(f"rolled back to revision {before} after {seconds} s: {verdict['reason']}")
        self._until(lambda guard: guard["reading"]["ready"] == replicas and guard["pending"] is None, "its effect")

    def _leak(self, leaked: ExitStack, replicas: int) -> None:
        """Take one connection a second until the guard has made room; every one of them must be granted."""
        self.say(f"{LEAKING_PROGRAM} leaks a connection a second")
        began, taken = time.monotonic(), 0
        free = self._guard()["reading"]["connections_for_users"] - self._guard()["reading"]["connections_used"]
        while taken < free - 2 and time.monotonic() - began < PATIENCE_SECONDS:
            try:
                leaked.enter_context(psycopg.connect(self.world.app_url, application_name=LEAKING_PROGRAM))
            except psycopg.OperationalError as error:
                raise VerificationFailed(
                    f"connection {taken + 1} was refused before the guard capped: {error}"
                ) from error
            taken += 1
            if int(self.operator.deployment().spec.replicas) < replicas:
                break
            time.sleep(1)
        guard = self._until(lambda guard: bool(_verdicts(guard, "cap")), "a cap")
        wait_until(lambda: int(self.operator.deployment().spec.replicas) < replicas, "fewer replicas", PATIENCE_SECONDS)
        verdict = _verdicts(guard, "cap")[0]
        kept = int(self.operator.deployment().spec.replicas)
        self.operator.wait_until_ready(kept)
        self.found["leak"] = {
            "seconds": round(time.monotonic() - began, 1),
            "taken": taken,
            "refused": 0,
            "replicas": kept,
            "verdict": verdict["reason"],
        }
        self.say(f"capped to {kept} replicas with {taken} connections taken and none refused: {verdict['reason']}")

    def _heal(self, replicas: int) -> None:
        self.say(f"{LEAKING_PROGRAM} has ended")
        began = time.monotonic()
        wait_until(lambda: int(self.operator.deployment().spec.replicas) == replicas, "the replicas", PATIENCE_SECONDS)
        self.operator.wait_until_ready(replicas)
        seconds = round(time.monotonic() - began, 1)
        self.found["heal"] = {"seconds": seconds, "replicas": replicas}
        self.say(f"back to {replicas} replicas after {seconds} s")

    def _until(self, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            guard = self.app.guard()
            return guard if guard and guard["reading"] and holds(guard) else None

        return wait_until(look, f"{what} by the guard", PATIENCE_SECONDS)


def _verdicts(guard: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """Verdicts with this action, the newest first."""
    return [verdict for verdict in guard["verdicts"] if verdict["action"] == action]
