"""The arithmetic of a rolling update, pure: from the sizes of the ReplicaSets to their next sizes.

Invariants, whatever pods do: never more than `wanted + surge` pods are asked for, and pods are taken away only while
at least `wanted − unavailable` stay available.
Source: pkg/controller/deployment/rolling.go and util/deployment_util.go of Kubernetes 1.36.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """One ReplicaSet: how many pods it should have and how many of them are available."""

    name: str
    desired: int
    available: int


@dataclass(frozen=True, slots=True)
class Limits:
    """By how many pods a rollout may go over and under the wanted number."""

    surge: int
    unavailable: int

    @classmethod
    def resolve(cls, max_surge: int | str, max_unavailable: int | str, wanted: int) -> "Limits":
        """Turn percentages into pods: surge rounds up, unavailable down, and both zero would be a standstill."""
        surge = resolve_percentage(max_surge, wanted, round_up=True)
        unavailable = resolve_percentage(max_unavailable, wanted, round_up=False)
        return cls(surge, 1 if surge == unavailable == 0 else unavailable)


def resolve_percentage(value: int | str, total: int, *, round_up: bool) -> int:
    """Resolve an IntOrString: `2` is 2, `"25%"` is a quarter of the total."""
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * total / 100
    return math.ceil(share) if round_up else math.floor(share)


def next_sizes(new: Size, old: Sequence[Size], wanted: int, limits: Limits) -> Mapping[str, int]:
    """Return the ReplicaSets to resize; `old` is ordered from the oldest to the youngest.

    First the new one grows as far as the surge allows; only when it cannot, the old ones shrink, unhealthy pods first.
    """
    total = new.desired + sum(size.desired for size in old)
    grown = _grow(new, wanted, wanted + limits.surge - total)
    if grown != new.desired:
        return {new.name: grown}
    return _shrink(new, old, total, wanted - limits.unavailable)


def _grow(new: Size, wanted: int, room: int) -> int:
    if new.desired > wanted:
        return wanted
    return min(wanted, new.desired + max(0, room))


def _shrink(new: Size, old: Sequence[Size], total: int, least_available: int) -> Mapping[str, int]:
    """Take away old pods that do not work, then as many working ones as can be spared."""
    starting = max(0, new.desired - new.available)
    spare = total - least_available - starting
    if spare <= 0:
        return {}
    sizes = {size.name: size.desired for size in old}
    for size in old:
        broken = min(spare, max(0, size.desired - size.available))
        sizes[size.name] -= broken
        spare -= broken
    for size in old:
        taken = min(spare, sizes[size.name])
        sizes[size.name] -= taken
        spare -= taken
    return {size.name: sizes[size.name] for size in old if sizes[size.name] != size.desired}
