"""A simple model of what the guard looks at: load, pods, their connections, and the database's limit.

Time goes in steps of 15 seconds, the HPA's period. The numbers are those measured on Open WebUI 0.12.4: 24-48 s from
start to ready, 8 connections idle and 22 at 20 concurrent queries (0.7 for each query). A pod answers 24 queries at a
time and lets the others wait. A pod that ends keeps its connections for its grace period, one on a lost node until it
is evicted.
"""

import random
from dataclasses import dataclass, field

from shared.sizing.connection_budget import PoolSizes, ServerLimits, split_pools

STEP = 15
"""Seconds."""
IDLE_CONNECTIONS = 8
CONNECTIONS_PER_QUERY = 0.7
QUERIES_PER_POD = 24
"""At which its CPU is at 100 % of the request."""
GRACE = 30
"""Seconds that an ending pod still holds its connections."""
EVICTION = 300
"""Seconds after which pods on a lost node are replaced (the default tolerationSeconds)."""
NODES = 3
B2S = ServerLimits(429, 5, 10, "Standard_B2s", "Burstable")
POOLS = split_pools(22)


@dataclass(slots=True)
class SimulatedPod:
    """One pod; times are seconds of the simulation."""

    name: str
    revision: int
    node: int
    started: int
    ready_after: int
    ends: int | None = None
    lost_at: int | None = None
    sick: bool = False
    """Its readiness fails although it runs."""

    def ready(self, now: int) -> bool:
        return self.lost_at is None and not self.sick and self.ends is None and now >= self.started + self.ready_after


@dataclass(slots=True)
class World:
    """Everything at one moment. `bad_revisions`: those whose pods never become ready."""

    replicas: int = 3
    minimum: int = 3
    maximum: int = 20
    limits: ServerLimits = B2S
    pools: PoolSizes = POOLS
    now: int = 0
    load: float = 0.0
    foreign: int = 4
    database_up: bool = True
    metrics_up: bool = True
    revision: int = 1
    bad_revisions: set[int] = field(default_factory=set)
    lost_node: int | None = None
    pods: list[SimulatedPod] = field(default_factory=list)
    made: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    used: int = 0
    refused: int = 0
    """Connections refused in this step."""
    waiting: float = 0.0
    """Queries that no pod could take in this step."""

    def fill(self) -> None:
        """Start from a Deployment that has been up for an hour."""
        for _ in range(self.replicas):
            self._start_pod()
        for pod in self.pods:
            pod.started, pod.ready_after = -3600, 0

    def serving(self) -> list[SimulatedPod]:
        """Pods that answer; none without the database, since `/ready` pings it."""
        return [pod for pod in self.pods if pod.ready(self.now)] if self.database_up else []

    def alive(self) -> list[SimulatedPod]:
        """Pods that are not ending."""
        return [pod for pod in self.pods if pod.ends is None]

    def advance(self) -> None:
        """Go one step on: controllers of the cluster first, then the connections that result."""
        self.now += STEP
        self.pods = [pod for pod in self.pods if pod.ends is None or self.now < pod.ends]
        self._lose_node()
        self._reconcile()
        self._connect()

    def _lose_node(self) -> None:
        for pod in self.pods:
            if pod.node == self.lost_node and pod.lost_at is None:
                pod.lost_at = self.now
            if pod.lost_at is not None and pod.ends is None and self.now >= pod.lost_at + EVICTION:
                pod.ends = self.now + GRACE

    def _reconcile(self) -> None:
        """What the Deployment controller does: a rolling update (maxSurge 1, maxUnavailable 0), or plain scaling."""
        alive = self.alive()
        old = [pod for pod in alive if pod.revision != self.revision]
        if old:
            self._roll(alive, old)
            return
        for _ in range(self.replicas - len(alive)):
            self._start_pod()
        dispensable = sorted(alive, key=lambda pod: (pod.ready(self.now), -pod.started))
        for pod in dispensable[: max(0, len(alive) - self.replicas)]:
            pod.ends = self.now + GRACE

    def _roll(self, alive: list[SimulatedPod], old: list[SimulatedPod]) -> None:
        ready = sum(pod.ready(self.now) for pod in alive)
        if ready > self.replicas or len(alive) > self.replicas + 1:
            unfit = [pod for pod in old if not pod.ready(self.now)]
            (unfit or old)[0].ends = self.now + GRACE
        elif len(alive) < self.replicas + 1:
            self._start_pod()

    def _start_pod(self) -> None:
        self.made += 1
        nodes = [node for node in range(NODES) if node != self.lost_node]
        ready_after = 10**9 if self.revision in self.bad_revisions else self.dice.randint(24, 48)
        name = f"open-webui-{self.revision}-{self.made}"
        self.pods.append(SimulatedPod(name, self.revision, self.made % len(nodes), self.now, ready_after))
        self.pods[-1].node = nodes[self.made % len(nodes)]

    def _connect(self) -> None:
        serving = self.serving()
        per_pod = self.load / len(serving) if serving else 0.0
        self.waiting = max(0.0, self.load - QUERIES_PER_POD * len(serving))
        wanted = self.foreign + sum(self.connections_of(pod, per_pod) for pod in self.pods)
        self.refused = max(0, wanted - self.limits.for_users) if self.database_up else 0
        self.used = min(wanted, self.limits.for_users) if self.database_up else 0

    def connections_of(self, pod: SimulatedPod, queries: float) -> int:
        """What one pod's pools hold: a starting pod three, one for each engine; at most what the pools allow."""
        if not pod.ready(self.now) and pod.ends is None and pod.lost_at is None:
            return 3
        held = IDLE_CONNECTIONS + CONNECTIONS_PER_QUERY * min(queries, 2 * QUERIES_PER_POD)
        return int(min(self.pools.most_per_process, held))

    def busy_connections(self) -> int:
        """Sessions of all serving pods that are in use."""
        serving = self.serving()
        if not serving:
            return 0
        each = min(self.pools.most_per_process, CONNECTIONS_PER_QUERY * self.load / len(serving))
        return int(each * len(serving))
