"""Watching: the changes to a collection as a stream of events, seen through a selector.

An object that begins to match is ADDED and one that ceases to match is DELETED, whatever was written. Bookmarks tell
the client how far it has seen when nothing that it selects has changed.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object
from local.kubernetes.model.selectors import Predicate
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.store import ADDED, DELETED, MODIFIED, Event, Store

BOOKMARK, ERROR = "BOOKMARK", "ERROR"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_BOOKMARK_EVERY_SECONDS = 60.0
# Source: kube-apiserver --min-request-timeout, 1800 s: a watch without a timeout ends after one to two times that.
_LONGEST_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class WatchRequest:
    resource: Resource
    picks: Predicate
    revision: int | None
    """Begin after this resourceVersion; None: begin with what is there."""
    timeout_seconds: float | None = None
    bookmarks: bool = False
    initial_events_end: bool = False
    """Whether to mark the end of what was there with a bookmark."""


def seen_through(event: Event, picks: Predicate) -> str | None:
    """Return what an event is to someone who sees only what `picks` accepts; None when it is nothing."""
    before = event.previous is not None and picks(event.previous)
    if event.type == DELETED:
        return DELETED if before else None
    now = picks(event.obj)
    if now:
        return MODIFIED if before else ADDED
    return DELETED if before else None


async def watch(store: Store, request: WatchRequest) -> AsyncIterator[Object]:
    """Yield watch events until the time is up."""
    queue: asyncio.Queue[Event] = asyncio.Queue()
    stop = store.subscribe(lambda event: queue.put_nowait(event) if event.resource is request.resource else None)
    try:
        try:
            for first in _begin(store, request):
                yield first
        except ApiError as error:
            yield {"type": ERROR, "object": error.status()}
            return
        async for event in _follow(queue, request, store):
            yield event
    finally:
        stop()


def _begin(store: Store, request: WatchRequest) -> list[Object]:
    resource = request.resource
    if request.revision is not None:
        return [seen for event in store.events_since(request.revision) if (seen := _seen(event, request))]
    objects = [obj for obj in store.all_of(resource) if request.picks(obj)]
    events: list[Object] = [{"type": ADDED, "object": obj} for obj in objects]
    if request.initial_events_end:
        events.append(_bookmark(resource, store.revision, {INITIAL_EVENTS_END: "true"}))
    return events


async def _follow(queue: asyncio.Queue[Event], request: WatchRequest, store: Store) -> AsyncIterator[Object]:
    loop = asyncio.get_running_loop()
    end = loop.time() + (request.timeout_seconds or _LONGEST_SECONDS)
    while (left := end - loop.time()) > 0:
        try:
            event = await asyncio.wait_for(queue.get(), min(left, _BOOKMARK_EVERY_SECONDS))
        except TimeoutError:
            if request.bookmarks:
                yield _bookmark(request.resource, store.revision)
            continue
        if seen := _seen(event, request):
            yield seen


def _seen(event: Event, request: WatchRequest) -> Object | None:
    if event.resource is not request.resource:
        return None
    type_ = seen_through(event, request.picks)
    if type_ is None:
        return None
    obj = event.obj
    if type_ == DELETED and event.type != DELETED and event.previous is not None:
        # It still exists and only left the selection: the client sees it as it last knew it, at the revision of the
        # change.
        metadata = {**event.previous["metadata"], "resourceVersion": obj["metadata"]["resourceVersion"]}
        obj = {**event.previous, "metadata": metadata}
    return {"type": type_, "object": obj}


def _bookmark(resource: Resource, revision: int, annotations: dict[str, str] | None = None) -> Object:
    metadata: Object = {"resourceVersion": str(revision)}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "type": BOOKMARK,
        "object": {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata},
    }
