"""How many replicas an autoscaler wants, pure.

Source: pkg/controller/podautoscaler/{horizontal,replica_calculator}.go of Kubernetes 1.36. Implemented: utilization
and average value of CPU and memory, the tolerance, stabilization windows and scaling policies; not: other metrics.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from local.kubernetes.model.objects import Object
from local.kubernetes.model.quantities import to_millis

_TOLERANCE = 0.1
_LONGEST_PERIOD = timedelta(seconds=1800)  # the API allows no longer periodSeconds
_DOUBLE = {"type": "Percent", "value": 100, "periodSeconds": 15}
_DEFAULT_RULES: Mapping[str, Object] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [_DOUBLE, {"type": "Pods", "value": 4, "periodSeconds": 15}],
    },
    "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [_DOUBLE]},
}


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


@dataclass(frozen=True, slots=True)
class Change:
    """By how many replicas the autoscaler changed its target; the policies count these."""

    time: datetime
    difference: int


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


def limit_rate(
    autoscaler: Object, current: int, wanted: int, changes: Sequence[Change], now: datetime
) -> tuple[int, tuple[Change, ...]]:
    """Return the replicas that the scaling policies allow now, and the changes to remember.

    A policy allows so many pods, or so many percent, more or fewer than there were when its period began. Of several
    the most generous decides unless `selectPolicy` says Min; Disabled allows nothing.
    """
    if wanted == current:
        return current, tuple(changes)
    direction = 1 if wanted > current else -1
    rules = _rules(autoscaler, direction)
    recent = tuple(each for each in changes if now - each.time < _LONGEST_PERIOD)
    if rules.get("selectPolicy") == "Disabled":
        return current, recent
    allowed = [_allowed(policy, direction, current, recent, now) for policy in rules["policies"]]
    generous = max if (rules.get("selectPolicy", "Max") == "Max") is (direction == 1) else min
    limit = generous(allowed)
    replicas = max(current, min(wanted, limit)) if direction == 1 else min(current, max(wanted, limit))
    return replicas, (*recent, Change(now, replicas - current)) if replicas != current else recent


def _allowed(policy: Object, direction: int, current: int, changes: Sequence[Change], now: datetime) -> int:
    """Return how far one policy lets the replicas go."""
    period = timedelta(seconds=policy["periodSeconds"])
    at_its_beginning = current - sum(each.difference for each in changes if now - each.time < period)
    if policy["type"] == "Pods":
        return int(at_its_beginning + direction * policy["value"])
    factor = 1 + direction * policy["value"] / 100
    return math.ceil(at_its_beginning * factor) if direction == 1 else int(at_its_beginning * factor)


def _rules(autoscaler: Object, direction: int) -> Object:
    """Return the rules of one direction, completed by the defaults."""
    name = "scaleUp" if direction == 1 else "scaleDown"
    return {**_DEFAULT_RULES[name], **((autoscaler["spec"].get("behavior") or {}).get(name) or {})}


def stabilize(
    autoscaler: Object, history: Sequence[Recommendation], wanted: int, current: int, now: datetime
) -> tuple[int, tuple[Recommendation, ...]]:
    """Return the replicas after the stabilization windows, and the recommendations to remember.

    Scaling down takes the highest recommendation of its window (300 s unless set), scaling up the lowest of its own
    (0 s).
    """
    up = _window(autoscaler, 1)
    down = _window(autoscaler, -1)
    remembered = (*history, Recommendation(now, wanted))
    kept = tuple(each for each in remembered if now - each.time <= max(up, down))
    lowest = min(each.replicas for each in kept if each.time == now or now - each.time < up)
    highest = max(each.replicas for each in kept if each.time == now or now - each.time < down)
    if current < lowest:
        return lowest, kept
    return min(current, highest) if current > highest else current, kept


def _window(autoscaler: Object, direction: int) -> timedelta:
    return timedelta(seconds=_rules(autoscaler, direction)["stabilizationWindowSeconds"])
