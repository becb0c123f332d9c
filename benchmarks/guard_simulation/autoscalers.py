"""The algorithms to compare with, as their makers publish them.

- HorizontalPodAutoscaler, autoscaling/v2 on CPU: desired = ceil(replicas × current / target), nothing within a
  tolerance of 10 %, pods that are not ready count 0 when scaling up and nothing when scaling down; every 15 s; up by
  100 % or 4 pods; down to the largest recommendation of the last 5 minutes.
  Source: kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale
- KEDA with a Prometheus trigger: polls every 30 s, feeds an HPA with an AverageValue target, and after 3 failures falls
  back to a fixed count. Source: keda.sh/docs/latest/reference/scaledobject-spec
"""

import math
from collections import deque
from dataclasses import dataclass, field

from benchmarks.guard_simulation.world import QUERIES_PER_POD, STEP, World

TOLERANCE = 0.1
STABILISATION = 300
"""Seconds."""


@dataclass(slots=True)
class HorizontalPodAutoscaler:
    """CPU utilisation to 70 %. It moves `world.replicas` between `world.minimum` and `world.maximum`."""

    target: float = 0.7
    recommendations: deque[tuple[int, int]] = field(default_factory=deque)
    desired: int = 0

    def decide(self, world: World) -> None:
        """One sync. Without metrics it leaves the replicas, except to bring them between the bounds."""
        wished = self._from_cpu(world) if world.metrics_up else world.replicas
        self.scale(world, wished)

    def scale(self, world: World, wished: int) -> None:
        """Apply bounds, the limits on speed and the stabilisation window."""
        wished = min(max(wished, world.minimum), world.maximum)
        self.recommendations.append((world.now, wished))
        while self.recommendations[0][0] < world.now - STABILISATION:
            self.recommendations.popleft()
        if wished > world.replicas:
            wished = min(wished, max(2 * world.replicas, world.replicas + 4))
        elif wished < world.replicas:
            wished = min(world.replicas, max(count for _, count in self.recommendations))
        self.desired = min(max(wished, world.minimum), world.maximum)
        world.replicas = self.desired

    def _from_cpu(self, world: World) -> int:
        serving, alive = len(world.serving()), len(world.alive())
        if not serving:
            return world.replicas
        each = min(1.5, world.load / serving / QUERIES_PER_POD)
        ratio = each / self.target
        if abs(ratio - 1) <= TOLERANCE:
            return world.replicas
        counted = serving
        if ratio > 1 and alive > serving:
            ratio, counted = each * serving / alive / self.target, alive
            if ratio <= 1 + TOLERANCE:
                return world.replicas
        return math.ceil(ratio * counted)


@dataclass(slots=True)
class Keda:
    """Queries in flight, 16 a replica; falls back to 6 replicas."""

    per_replica: float = 16
    fallback: int = 6
    failures: int = 0
    metric: float = 0.0
    hpa: HorizontalPodAutoscaler = field(default_factory=HorizontalPodAutoscaler)

    def decide(self, world: World) -> None:
        """Poll every second step; the HPA beneath it syncs every step."""
        if world.now % (2 * STEP) == 0:
            self.failures = 0 if world.metrics_up else self.failures + 1
            self.metric = world.load if world.metrics_up else self.metric
        if self.failures >= 3:
            self.hpa.scale(world, self.fallback)
            return
        ratio = self.metric / (self.per_replica * world.replicas)
        wished = world.replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(self.metric / self.per_replica)
        self.hpa.scale(world, wished)
