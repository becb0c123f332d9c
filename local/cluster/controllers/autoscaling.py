"""How many replicas an autoscaler wants, pure.

Source: pkg/controller/podautoscaler/{horizontal,replica_calculator}.go of Kubernetes 1.36. Implemented: utilization
and average value of CPU and memory, the tolerance, the default scaling rates and the stabilization windows; not
implemented: other metrics and custom rates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.cluster.objects import Object
from local.cluster.quantities import to_millis

_TOLERANCE = 0.1
_DEFAULT_DOWN_WINDOW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric over the ready pods: what they use and what they ask for, in thousandths."""

    used: int
    requested: int
    pods: int


@dataclass(frozen=True, slots=True)
class Bounds:
    least: int
    most: int

    def clamp(self, replicas: int) -> int:
        return min(self.most, max(self.least, replicas))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What was wanted at one time; the stabilization window looks back at these."""

    time: datetime
    replicas: int


def bounds_of(autoscaler: Object) -> Bounds:
    return Bounds(autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"])


def wanted_replicas(metric: Object, measured: Measurement, current: int) -> int:
    """Return the replicas that bring one metric to its target; within the tolerance nothing changes."""
    target = metric["resource"]["target"]
    ratio: float
    if target["type"] == "Utilization":
        ratio = measured.used / measured.requested * 100 / target["averageUtilization"]
    else:
        ratio = measured.used / measured.pods / to_millis(target["averageValue"])
    if abs(ratio - 1.0) <= _TOLERANCE:
        return current
    return math.ceil(ratio * measured.pods)


def limit_rate(current: int, wanted: int) -> int:
    """Grow at most to the double, or by four pods, in one step, as the default behaviour has it."""
    return min(wanted, max(2 * current, current + 4))


def stabilize(
    autoscaler: Object, history: Sequence[Recommendation], wanted: int, current: int, now: datetime
) -> tuple[int, tuple[Recommendation, ...]]:
    """Return the replicas after the stabilization windows, and the recommendations to remember.

    Scaling down takes the highest recommendation of its window (300 s unless set), scaling up the lowest of its own
    (0 s).
    """
    up = _window(autoscaler, "scaleUp", 0)
    down = _window(autoscaler, "scaleDown", _DEFAULT_DOWN_WINDOW_SECONDS)
    remembered = (*history, Recommendation(now, wanted))
    kept = tuple(each for each in remembered if now - each.time <= max(up, down))
    lowest = min(each.replicas for each in kept if each.time == now or now - each.time < up)
    highest = max(each.replicas for each in kept if each.time == now or now - each.time < down)
    if current < lowest:
        return lowest, kept
    return min(current, highest) if current > highest else current, kept


def _window(autoscaler: Object, direction: str, default_seconds: int) -> timedelta:
    rules: Mapping[str, int] = (autoscaler["spec"].get("behavior") or {}).get(direction) or {}
    return timedelta(seconds=rules.get("stabilizationWindowSeconds", default_seconds))
