"""How long a tick takes beside its sources: observe with stand-ins, judge, act, the state through the wire and back.

What a Functions app pays for each guarded Deployment, apart from waiting for Azure, Kubernetes and PostgreSQL.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from benchmarks.guard_simulation.contestants import START, observe
from benchmarks.guard_simulation.world import World
from shared.guard.action import carry_out
from shared.guard.judge import judge
from shared.guard.observation import observe as look
from shared.guard.policy import Policy
from shared.guard.ports import GuardPorts
from shared.guard.readings import Answer, Autoscaler, Connections, Deployment, Event, MigrationState, Pod, Reading
from shared.guard.verdicts import GuardState
from shared.wire import from_wire, to_wire


class StandIn:
    """All ports of one Deployment, answering at once from a reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def read_connections(self) -> Connections:
        assert self._reading.connections
        return self._reading.connections

    def read_deployment(self) -> Deployment:
        assert self._reading.deployment
        return self._reading.deployment

    def list_pods(self) -> Sequence[Pod]:
        return self._reading.pods or ()

    def read_autoscaler(self) -> Autoscaler | None:
        return None

    def list_events(self, since: datetime) -> Sequence[Event]:
        return ()

    def ask_replicas(self, pods: Sequence[str]) -> Sequence[Answer]:
        return [Answer(pod, 200) for pod in pods]

    def read_migration(self) -> MigrationState:
        return self._reading.migration

    def scale(self, replicas: int) -> None:
        pass

    def set_bounds(self, minimum: int, maximum: int) -> None:
        pass

    def roll_back(self, run: str) -> None:
        pass

    def undo_rollout(self, revision: int) -> None:
        pass

    def call_operator(self, message: str) -> None:
        pass


def seconds_for(deployments: int) -> float:
    """Tick this many Deployments once, one after the other, each with the state of a guard that has run for hours."""
    world = World(load=40)
    world.fill()
    world.advance()
    reading = observe(world, soak=True, hpa=None)
    stand_in = StandIn(reading)
    ports = GuardPorts(stand_in, stand_in, stand_in, stand_in, stand_in)
    policy, state = Policy(minimum_replicas=3), GuardState()
    for minute in range(150):
        at = START + timedelta(minutes=minute)
        _, state = judge(replace(reading, at=at), policy, state, at)
    kept = json.dumps(to_wire(state))
    now = START + timedelta(minutes=150)
    began = time.perf_counter()
    for _ in range(deployments):
        before = from_wire(json.loads(kept), GuardState)
        verdict, after = judge(look(ports, now), policy, before, now)
        carry_out(verdict, stand_in)
        json.dumps(to_wire(after))
    return time.perf_counter() - began
