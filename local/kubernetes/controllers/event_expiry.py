"""Events are forgotten an hour after they last happened. Source: kube-apiserver --event-ttl, 1 h."""

from collections.abc import Iterable
from datetime import timedelta

from local.kubernetes.model.kinds import EVENTS
from local.kubernetes.model.objects import from_timestamp
from local.kubernetes.registry.registry import Registry
from local.kubernetes.registry.store import DELETED, Event, Key

_TIME_TO_LIVE = timedelta(hours=1)


class EventExpiry:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is EVENTS and event.type != DELETED:
            yield event.key

    def reconcile(self, key: Key) -> timedelta | None:
        event = self._registry.store.get(key)
        if event is None:
            return None
        last = from_timestamp(event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])
        left = last + _TIME_TO_LIVE - self._registry.clock()
        if left > timedelta(0):
            return left
        self._registry.delete(key)
        return None
