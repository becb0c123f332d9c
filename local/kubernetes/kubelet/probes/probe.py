"""Probes, really executed against the pod's own address, and when they change a container's readiness or end it.

A cluster probes every ten seconds; a rehearsal cannot wait that long. So periods and first delays are capped
(`period_limit`). What ends a container keeps its full time: a liveness or startup probe must fail for as long as its
`failureThreshold` failures would take at `periodSeconds`, or capping would kill what a cluster lets start.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from local.kubernetes.kubelet.api import Object

type RunCommand = Callable[[Sequence[str]], Awaitable[str | None]]
"""Runs a command in the container; returns why it failed, or None."""


@dataclass(frozen=True, slots=True)
class Target:
    """The container that is probed."""

    address: str
    ports: Mapping[str, int]
    run: RunCommand


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe with Kubernetes's defaults filled in."""

    action: Object
    period: float
    timeout: float
    first_delay: float
    successes: int
    failures: int

    @property
    def patience(self) -> float:
        """How long a container may fail before it is ended: from the first failure to the last one allowed."""
        return self.period * (self.failures - 1)


def read_probe(container: Object, name: str) -> Probe | None:
    """Read `readinessProbe`, `livenessProbe` or `startupProbe`."""
    spec = container.get(name)
    if spec is None:
        return None
    return Probe(
        action=spec,
        period=spec.get("periodSeconds") or 10,
        timeout=spec.get("timeoutSeconds") or 1,
        first_delay=spec.get("initialDelaySeconds") or 0,
        successes=spec.get("successThreshold") or 1,
        failures=spec.get("failureThreshold") or 3,
    )


@dataclass(slots=True)
class Readiness:
    """Whether a container is ready, by its last results in a row."""

    successes: int
    failures: int
    ready: bool = False
    _good: int = field(default=0)
    _bad: int = field(default=0)

    def record(self, good: bool) -> bool:
        """Take one result; returns whether readiness changed."""
        self._good, self._bad = (self._good + 1, 0) if good else (0, self._bad + 1)
        before = self.ready
        if self._good >= self.successes:
            self.ready = True
        elif self._bad >= self.failures:
            self.ready = False
        return self.ready != before


@dataclass(slots=True)
class Patience:
    """Whether a container has failed without a break for so long that it must be ended."""

    seconds: float
    _failing_since: float | None = None

    def is_over(self, good: bool, time: float) -> bool:
        if good:
            self._failing_since = None
            return False
        if self._failing_since is None:
            self._failing_since = time
        return time - self._failing_since >= self.seconds


class Prober:
    """Runs probes; one for the whole kubelet, because it holds the HTTP session."""

    def __init__(self, period_limit: float) -> None:
        self.period_limit = period_limit
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def wait_first(self, probe: Probe, *, in_full: bool = False) -> None:
        await asyncio.sleep(probe.first_delay if in_full else min(probe.first_delay, self.period_limit))

    async def wait_period(self, probe: Probe) -> None:
        await asyncio.sleep(min(probe.period, self.period_limit))

    async def check(self, probe: Probe, target: Target) -> str | None:
        """Run a probe once; returns why it failed, or None."""
        action = probe.action
        try:
            async with asyncio.timeout(probe.timeout):
                if "httpGet" in action:
                    return await self._http(action["httpGet"], target)
                if "tcpSocket" in action:
                    return await _tcp(action["tcpSocket"], target)
                if "exec" in action:
                    return await target.run(action["exec"]["command"])
                return f"probes of kind {', '.join(action)} are not served by this kubelet"
        except (TimeoutError, aiohttp.ClientError, OSError, KeyError) as error:
            return f"{type(error).__name__}: {error}" if str(error) else f"no answer within {probe.timeout:g} s"

    async def _http(self, action: Object, target: Target) -> str | None:
        if self._session is None:  # no connection is kept: a probe must notice a server that accepts no more
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=False, force_close=True), headers={"User-Agent": "kube-probe/1.36"}
            )
        headers = {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or []}
        path = "/" + str(action.get("path") or "").lstrip("/")
        scheme = str(action.get("scheme") or "HTTP").lower()
        host = action.get("host") or target.address
        url = f"{scheme}://{host}:{_port(action, target)}{path}"
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            if 200 <= response.status < 400:
                return None
            return f"HTTP probe failed with statuscode: {response.status}"


async def _tcp(action: Object, target: Target) -> str | None:
    _, writer = await asyncio.open_connection(action.get("host") or target.address, _port(action, target))
    writer.close()
    return None


def _port(action: Object, target: Target) -> int:
    port = action["port"]
    return target.ports[port] if isinstance(port, str) and not port.isdigit() else int(port)
