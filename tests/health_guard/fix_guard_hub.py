"""The guard on the real durable engine, over toy ports: a world of one reading and a list of deeds."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.durable_functions.internal.serialization import FunctionsDataConverter
from durabletask import client, worker
from durabletask.entities import EntityInstanceId

from api import guard as guard_api
from phases.guard import orchestrator
from phases.guard.activities import act_on, observe_deployment
from phases.guard.entity import GuardMemory, read_memory
from phases.guard.memory import Memory
from phases.guard.orchestrator import ACT, GUARD_ENTITY, OBSERVE, Deed, instance_of
from shared.guard.policy import Policy
from shared.guard.ports import GuardPorts
from shared.guard.readings import Reading
from shared.guard.targets import Guarded
from shared.model.migration import Target
from shared.wire import from_wire, to_wire
from tests.guard.fix_readings import reading

ROOT = Path(__file__).resolve().parents[2]
TICK = timedelta(seconds=4)


@dataclass
class ToyWorld:
    """Every port at once. `before`: called at each look; `refuse`: raised by each deed."""

    reading: Reading = field(default_factory=reading)
    deeds: list[tuple[Any, ...]] = field(default_factory=list)
    before: Any = None
    refuse: Exception | None = None
    looks: int = 0

    def read_connections(self) -> Any:
        self.looks += 1
        if self.before:
            self.before()
        return self.reading.connections

    def read_deployment(self) -> Any:
        return self.reading.deployment

    def list_pods(self) -> Any:
        return self.reading.pods

    def read_autoscaler(self) -> Any:
        return self.reading.autoscaler

    def list_events(self, since: datetime) -> Any:
        return ()

    def ask_replicas(self, pods: Any) -> Any:
        return self.reading.answers

    def read_migration(self) -> Any:
        return self.reading.migration

    def __getattr__(self, name: str) -> Any:
        def deed(*arguments: Any) -> None:
            self.deeds.append((name, *arguments))
            if self.refuse:
                raise self.refuse
            if name == "scale":
                deployment = replace(self.reading.deployment, replicas=arguments[0])
                self.reading = replace(self.reading, deployment=deployment, pods=self.reading.pods[: arguments[0]])

        return deed

    @property
    def ports(self) -> GuardPorts:
        return GuardPorts(self, self, self, self, self)


class GuardHub:
    """An engine process, a worker in this one, and the app's own way of starting ticks."""

    def __init__(self, db: str) -> None:
        command = [sys.executable, "-m", "local.functions", "engine", "--db", db, "--app", str(ROOT)]
        self._engine = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._engine.stdout
        self.address = json.loads(self._engine.stdout.readline().removeprefix("ready "))["address"]
        self.worlds: dict[str, ToyWorld] = {}
        converter = FunctionsDataConverter()
        self.client = client.TaskHubGrpcClient(host_address=self.address, data_converter=converter)
        self._converter = converter
        self._worker = worker.TaskHubGrpcWorker(host_address=self.address, data_converter=converter)
        self._worker.add_orchestrator(orchestrator.guard)
        self._worker.add_entity(GuardMemory, name=GUARD_ENTITY)
        self._worker._registry.add_named_activity(OBSERVE, self._observe)
        self._worker._registry.add_named_activity(ACT, self._act)
        self._worker.start()

    def _observe(self, _context: Any, payload: Any) -> Any:
        guarded = from_wire(payload["guarded"], Guarded)
        ports = self.worlds[guarded.target.deployment].ports
        return to_wire(observe_deployment(ports, guarded, datetime.fromisoformat(payload["at"])))

    def _act(self, _context: Any, payload: Any) -> Any:
        guarded, deed = from_wire(payload["guarded"], Guarded), from_wire(payload["deed"], Deed)
        return act_on(self.worlds[guarded.target.deployment].ports, deed, datetime.now(UTC))

    def close(self) -> None:
        self._worker.stop()
        self._engine.terminate()
        self._engine.wait(10)

    def guarded(self, name: str, world: ToyWorld, **policy: Any) -> Guarded:
        """A Deployment of this name in this world."""
        self.worlds[name] = world
        target = Target("s", "g", "c", "https://v", "p", deployment=name)
        return Guarded(target, Policy(**({"tick": TICK} | policy)))

    def fire(self, *guarded: Guarded, at: datetime | None = None, acts: bool = True, past_due: bool = False) -> None:
        """What the timer does."""

        async def once() -> None:
            durable = client.AsyncTaskHubGrpcClient(host_address=self.address, data_converter=self._converter)
            try:
                await guard_api.tick(durable, guarded, at or datetime.now(UTC), acts=acts, past_due=past_due)
            finally:
                await durable.close()

        asyncio.run(once())

    def tick(self, guarded: Guarded, **how: Any) -> Any:
        """One whole tick; returns what the orchestration said."""
        self.fire(guarded, **how)
        return self.ended(guarded)

    def ended(self, guarded: Guarded, seconds: float = 20) -> Any:
        found = self.client.wait_for_orchestration_completion(instance_of(guarded.key), timeout=seconds)
        assert found is not None
        assert found.serialized_output, found.failure_details
        return json.loads(found.serialized_output)

    def memory(self, guarded: Guarded) -> Memory:
        found = self.client.get_entity(EntityInstanceId(GUARD_ENTITY, guarded.key), include_state=True)
        state = found.get_state() if found else None
        return read_memory(json.loads(state) if isinstance(state, str) and state else state)

    def until(self, guarded: Guarded, holds: Any, seconds: float = 10) -> Memory:
        """The memory once it is so: signals to an entity arrive after the orchestration's end."""
        end = time.monotonic() + seconds
        while not holds(memory := self.memory(guarded)):
            assert time.monotonic() < end, memory
            time.sleep(0.02)
        return memory

    def signal(self, guarded: Guarded, operation: str, value: Any) -> None:
        self.client.signal_entity(EntityInstanceId(GUARD_ENTITY, guarded.key), operation, value)


class Gate:
    """Holds a look until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        self.opened.wait(20)
