"""The durable entity that holds the guard's memory of one Deployment: one operation at a time, each all or nothing.

Operations: `judge` a reading, note how an order was `carried_out`, `skip` a tick, `pause` and `resume`.
"""

import logging
from dataclasses import replace
from datetime import datetime
from typing import Any

from durabletask.entities import DurableEntity

from phases.guard import memory as guard_memory
from phases.guard.memory import Memory
from shared.guard.policy import Policy
from shared.guard.readings import Reading
from shared.guard.verdicts import GuardState, Verdict, pause, resume
from shared.telemetry import Event, announce, measure
from shared.wire import from_store, from_wire, to_wire


class GuardMemory(DurableEntity):
    """The entity. What the operations take and give is plain JSON."""

    def judge(self, case: dict) -> dict:  # type: ignore[type-arg]  # the worker accepts only the bare type
        """Judge a reading; returns the rule that answered, and the order to carry out, if any."""
        reading, policy = from_wire(case["reading"], Reading), from_wire(case["policy"], Policy)
        now = datetime.fromisoformat(case["now"])
        verdict, order, memory = guard_memory.decide(self._memory(), reading, policy, now, acts=case["acts"])
        self._keep(memory)
        _tell(self.entity_context.entity_id.key, verdict, memory)
        return {"rule": verdict.rule, "order": to_wire(order) if order else None}

    def carried_out(self, outcome: dict) -> None:  # type: ignore[type-arg]
        """Note how the last order went."""
        self._keep(guard_memory.carried_out(self._memory(), outcome["error"]))

    def skip(self, tick: dict) -> None:  # type: ignore[type-arg]
        """Count a skipped tick."""
        self._keep(guard_memory.skip(self._memory(), tick["because"]))

    def pause(self, order: dict) -> None:  # type: ignore[type-arg]
        """Stand still until a time."""
        until = datetime.fromisoformat(order["until"])
        self._keep_state(pause(self._memory().state, until, order["because"]))

    def resume(self, _order: dict) -> None:  # type: ignore[type-arg]
        """End a pause now."""
        self._keep_state(resume(self._memory().state))

    def _memory(self) -> Memory:
        return read_memory(self.get_state())

    def _keep(self, memory: Memory) -> None:
        self.set_state(to_wire(memory))

    def _keep_state(self, state: GuardState) -> None:
        self._keep(replace(self._memory(), state=state))


def read_memory(state: Any) -> Memory:
    """The entity's state as a value; a new memory where there is none."""
    return from_store(state, Memory) if state else Memory()


def _tell(key: str, verdict: Verdict, memory: Memory) -> None:
    """One event for each verdict, in the log and in Application Insights, with the figures that it rests on."""
    reading, reason = memory.reading, verdict.reason
    figures = {name: value for name, value in reading.items() if isinstance(value, int | float | str)}
    figures |= {"deployment": key, "acts": memory.acts, "conclusive": verdict.conclusive, "reason": reason}
    figures |= {"action": str(verdict.action), "rule": verdict.rule}
    announce(Event.GUARD_VERDICT, f"guard of {key}: {verdict.action} ({verdict.rule}): {reason}", figures)
    used, limit = reading.get("connections_used"), reading.get("connections_for_users")
    measure("scaleout.connections_used", used, deployment=key)
    measure("scaleout.connections_limit", limit, deployment=key)
    measure("scaleout.replicas_ready", reading.get("ready"), deployment=key)
    if verdict.rule == "relieve_connections":
        beyond = {"deployment": key, "source": "guard", "used": used, "limit": limit, "reason": reason}
        announce(Event.BUDGET_EXCEEDED, f"guard of {key}: {reason}", beyond, level=logging.WARNING)
