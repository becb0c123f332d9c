"""Watch one run of a container by its probes: startup first, then readiness and liveness side by side."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from local.kubernetes.kubelet.api import Object
from local.kubernetes.kubelet.probes.probe import Patience, Prober, Readiness, Target, read_probe
from local.kubernetes.kubelet.status import ContainerStatus


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe has come to: the status has changed, or the container must end."""

    probe: str  # Startup, Readiness or Liveness
    failure: str | None = None
    is_fatal: bool = False


@dataclass(frozen=True, slots=True)
class ProbeWatch:
    """The probes of one container. They set `started` and `ready` of its status; `tell` hears of every change."""

    spec: Object
    status: ContainerStatus
    prober: Prober
    target: Target
    tell: Callable[[Verdict], Awaitable[None]]

    async def run(self) -> None:
        """Watch until cancelled or until the container must end."""
        if not await self._pass_startup_probe():
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_readiness())
            group.create_task(self._watch_liveness())

    async def _pass_startup_probe(self) -> bool:
        probe, prober = read_probe(self.spec, "startupProbe"), self.prober
        if probe is None:
            return True
        patience = Patience(probe.patience)
        await prober.wait_first(probe)
        while (failure := await prober.check(probe, self.target)) is not None:
            if patience.is_over(good=False, time=monotonic()):
                await self.tell(Verdict("Startup", failure, is_fatal=True))
                return False
            await prober.wait_period(probe)
        self.status.started = True
        self.status.ready = "readinessProbe" not in self.spec
        await self.tell(Verdict("Startup"))
        return True

    async def _watch_readiness(self) -> None:
        probe, prober = read_probe(self.spec, "readinessProbe"), self.prober
        if probe is None:
            return
        readiness = Readiness(probe.successes, probe.failures)
        await prober.wait_first(probe)
        while True:
            failure = await prober.check(probe, self.target)
            if readiness.record(failure is None):
                self.status.ready = readiness.ready
                await self.tell(Verdict("Readiness", failure))
            await prober.wait_period(probe)

    async def _watch_liveness(self) -> None:
        probe, prober = read_probe(self.spec, "livenessProbe"), self.prober
        if probe is None:
            return
        patience = Patience(probe.patience)
        await prober.wait_first(probe, in_full=True)
        while True:
            failure = await prober.check(probe, self.target)
            if patience.is_over(failure is None, monotonic()):
                await self.tell(Verdict("Liveness", failure, is_fatal=True))
                return
            await prober.wait_period(probe)
