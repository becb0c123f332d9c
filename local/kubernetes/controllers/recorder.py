"""Events for people: what a controller did, and above all what it cannot do and why.

The same news about the same object is one Event with a count, as in Kubernetes, and is written at most every ten
seconds, so a scheduler that tries in vain does not fill the store.
"""

import hashlib
from contextlib import suppress
from datetime import timedelta

from local.kubernetes.model.kinds import EVENTS
from local.kubernetes.model.objects import Object, from_timestamp, name_of, namespace_of, uid_of
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.registry import Registry, Writer
from local.kubernetes.registry.store import Key

_AT_MOST_EVERY = timedelta(seconds=10)


class Recorder:
    """Writes Events in the name of one component."""

    def __init__(self, registry: Registry, component: str) -> None:
        self._registry = registry
        self._component = component

    def normal(self, subject: Object, reason: str, message: str) -> None:
        self._record("Normal", subject, reason, message)

    def warning(self, subject: Object, reason: str, message: str) -> None:
        self._record("Warning", subject, reason, message)

    def _record(self, type_: str, subject: Object, reason: str, message: str) -> None:
        digest = hashlib.sha256(f"{uid_of(subject)}{type_}{reason}{message}".encode()).hexdigest()[:16]
        namespace = namespace_of(subject) or "default"
        key = Key(EVENTS, namespace, f"{name_of(subject)[:200]}.{digest}")
        current = self._registry.store.get(key)
        with suppress(ApiError):  # a namespace that is being deleted takes no Events, and needs none
            if current is None:
                self._create(key, type_, subject, reason, message)
            elif self._registry.clock() - from_timestamp(current["lastTimestamp"]) >= _AT_MOST_EVERY:
                again = {"count": current["count"] + 1, "lastTimestamp": self._registry.now()}
                self._registry.change(key, lambda event: event.update(again), self._component)

    def _create(self, key: Key, type_: str, subject: Object, reason: str, message: str) -> None:
        now = self._registry.now()
        event: Object = {
            "metadata": {"name": key.name},
            "involvedObject": {
                "apiVersion": subject["apiVersion"],
                "kind": subject["kind"],
                "namespace": namespace_of(subject),
                "name": name_of(subject),
                "uid": uid_of(subject),
                "resourceVersion": subject["metadata"]["resourceVersion"],
            },
            "type": type_,
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._registry.create(EVENTS, key.namespace, event, Writer(self._component))
