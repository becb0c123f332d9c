"""How controllers run: events become keys in a queue; each key is reconciled, now and perhaps once more later.

A controller never remembers what an event said; it looks at the world as it is and makes one more step towards what
is wanted. So it does not matter how many events there were, or whether the process was restarted in between. Nothing
polls: an idle cluster does nothing.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.registry import Registry
from local.kubernetes.registry.store import ADDED, Event, Key

log = logging.getLogger(__name__)

_RETRY = timedelta(seconds=1)
_RETRY_AFTER_BUG = timedelta(seconds=10)
_BATCH = 20


class Controller(Protocol):
    """One kind of care for the cluster."""

    def affected(self, event: Event) -> Iterable[Key]:
        """Return the objects that have to be looked at again because of an event."""
        ...

    def reconcile(self, key: Key) -> timedelta | None:
        """Bring one object nearer to what is wanted; return when to look again, None when an event will tell."""
        ...


class Controllers:
    """Runs controllers over one queue, in the order in which their keys came up."""

    def __init__(self, registry: Registry, controllers: Iterable[Controller]) -> None:
        self._registry = registry
        self._controllers = tuple(controllers)
        self._queue: dict[tuple[Controller, Key], None] = {}
        self._timers: dict[tuple[Controller, Key], asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Look at everything once, then follow the events."""
        self._unsubscribe = self._registry.store.subscribe(self._on_event)
        for resource, obj in self._registry.store.everything():
            key = Key(resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            self._on_event(Event(self._registry.store.revision, ADDED, key, obj, None))
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._unsubscribe()
        for timer in self._timers.values():
            timer.cancel()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _on_event(self, event: Event) -> None:
        for controller in self._controllers:
            try:
                for key in controller.affected(event):
                    self._enqueue((controller, key))
            except Exception:  # a bug in a controller must not reach whoever wrote the object
                log.exception("%s on %s", type(controller).__name__, event.key)

    def _enqueue(self, work: tuple[Controller, Key]) -> None:
        timer = self._timers.pop(work, None)
        if timer is not None:
            timer.cancel()
        self._queue[work] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            done = 0
            while self._queue:
                work = next(iter(self._queue))
                del self._queue[work]
                self._reconcile(work)
                done += 1
                if done % _BATCH == 0:
                    await asyncio.sleep(0)  # requests come through between two batches

    def _reconcile(self, work: tuple[Controller, Key]) -> None:
        controller, key = work
        try:
            after = controller.reconcile(key)
        except ApiError as error:
            log.info("%s %s/%s: %s", type(controller).__name__, key.namespace, key.name, error)
            after = _RETRY
        except Exception:
            log.exception("%s %s/%s", type(controller).__name__, key.namespace, key.name)
            after = _RETRY_AFTER_BUG
        if after is not None and work not in self._queue:
            loop = asyncio.get_running_loop()
            self._timers[work] = loop.call_later(max(after.total_seconds(), 0.0), self._enqueue, work)
