"""What a StatefulSet does next, pure: from its pods and its spec to the pods to create and to delete now.

With `OrderedReady` it does one thing at a time: pods come from the lowest number up, each when all before it are
available, and go from the highest down. So one pod that never gets ready halts everything behind it, also its own
repair: a broken update stays until someone deletes the pod. With `Parallel` pods come and go together, only an
update still takes one after the other. An update replaces the highest number first and waits until the new pod is
available.
Source: pkg/controller/statefulset/stateful_set_control.go of Kubernetes 1.36, updateStatefulSet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod of the set, as far as it decides anything."""

    ordinal: int
    revision: str
    phase: str = ""
    """Empty for a pod that is still to be created."""
    ready: bool = False
    available: bool = False
    """Ready for `minReadySeconds`."""
    terminating: bool = False

    @property
    def is_missing(self) -> bool:
        return not self.phase

    @property
    def is_finished(self) -> bool:
        return self.phase in ("Failed", "Succeeded")

    @property
    def is_unavailable(self) -> bool:
        return not self.available or self.terminating

    @property
    def is_healthy(self) -> bool:
        """Whether what comes after it need not wait."""
        return self.phase == "Running" and self.ready and not self.is_unavailable


@dataclass(frozen=True, slots=True)
class Wish:
    """What the set should be."""

    replicas: int
    current: str
    """The name of the revision that it comes from."""
    update: str
    """The name of its template's revision."""
    start: int = 0
    """The first number."""
    is_ordered: bool = True
    replaces: bool = True
    """Whether an update replaces pods by itself (`RollingUpdate`) or waits for someone to delete them (`OnDelete`)."""
    partition: int | None = 0
    """How many of the lowest numbers an update leaves out; None where the spec has no `rollingUpdate`."""
    current_replicas: int = 0
    """From the status; decides only where `partition` is None."""

    @property
    def ordinals(self) -> range:
        return range(self.start, self.start + self.replicas)

    def revision_of(self, ordinal: int) -> str:
        """Return the revision that a new pod is made from. Source: newVersionedStatefulSetPod."""
        kept = self.current_replicas if self.partition is None else self.partition
        return self.current if self.replaces and ordinal < self.start + kept else self.update


@dataclass(frozen=True, slots=True)
class Create:
    ordinal: int
    revision: str


@dataclass(frozen=True, slots=True)
class ProvideClaims:
    """Make the claims of a pending pod that someone has deleted."""

    ordinal: int


@dataclass(frozen=True, slots=True)
class Delete:
    ordinal: int


type Step = Create | ProvideClaims | Delete


def next_steps(wish: Wish, pods: Sequence[Replica]) -> list[Step]:
    """Return what is to be done now; what comes after it shows when these pods have changed."""
    found = {pod.ordinal: pod for pod in pods}
    replicas = [found.get(ordinal) or Replica(ordinal, wish.revision_of(ordinal)) for ordinal in wish.ordinals]
    condemned = sorted((pod for pod in pods if pod.ordinal not in wish.ordinals), key=lambda pod: -pod.ordinal)
    steps = _ordered(wish, replicas, condemned) if wish.is_ordered else _parallel(wish, replicas, condemned)
    return list(dict.fromkeys(steps))


def _ordered(wish: Wish, replicas: Sequence[Replica], condemned: Sequence[Replica]) -> Iterator[Step]:
    for replica in replicas:
        yield from _tend(replica)
        if not replica.is_healthy:
            return
    if condemned:
        yield from _condemn_highest(condemned)
    else:
        yield from _update(wish, replicas)


def _parallel(wish: Wish, replicas: Sequence[Replica], condemned: Sequence[Replica]) -> Iterator[Step]:
    for replica in replicas:
        yield from _tend(replica)
    for pod in condemned:
        if not pod.terminating:
            yield Delete(pod.ordinal)
    yield from _update(wish, replicas)


def _tend(replica: Replica) -> Iterator[Step]:
    """Make a pod that is missing, and make room for one that has ended, whether well or not."""
    if replica.is_finished and not replica.terminating:
        yield Delete(replica.ordinal)
    elif replica.is_missing:
        yield Create(replica.ordinal, replica.revision)
    elif replica.phase == "Pending":
        yield ProvideClaims(replica.ordinal)


def _condemn_highest(condemned: Sequence[Replica]) -> Iterator[Step]:
    """Delete the highest pod, if it is healthy or none below it is unavailable.

    So two pods that have become unavailable, or have ended, are never scaled away: someone must delete the higher one.
    """
    highest = condemned[0]
    first_unavailable = next((pod for pod in reversed(condemned) if pod.is_unavailable), None)
    if not highest.terminating and (highest.is_healthy or highest is first_unavailable):
        yield Delete(highest.ordinal)


def _update(wish: Wish, replicas: Sequence[Replica]) -> Iterator[Step]:
    """Delete the highest pod of another revision, unless one above it is still to become available."""
    if not wish.replaces:
        return
    for replica in reversed(replicas[wish.partition or 0 :]):
        if replica.revision != wish.update and not replica.terminating:
            yield Delete(replica.ordinal)
            return
        if replica.is_unavailable:
            return
