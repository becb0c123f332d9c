"""Deletion that spreads: from owners to what they own, and from namespaces to what is in them.

Background: the owner goes at once, its dependents after it. Foreground: dependents that block the owner go first.
Orphan: dependents stay and lose the reference. An object whose owners are all gone is deleted, whoever made it.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.model.kinds import NAMESPACES, find_kind
from local.kubernetes.model.objects import (
    Object,
    finalizers_of,
    is_terminating,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)
from local.kubernetes.registry.deletion import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Deletion
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import DELETED, Event, Key, Store


class GarbageCollector:
    """Looks at an object when it loses an owner, loses a dependent, or is being deleted itself."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.type == DELETED:
            yield from (key for key, _ in dependents_of(self._registry.store, uid_of(event.obj)))
            yield from _owner_keys(event.obj)
        elif is_terminating(event.obj) or owners_of(event.obj):
            yield event.key

    def reconcile(self, key: Key) -> timedelta | None:
        obj = self._registry.store.get(key)
        if obj is None:
            return None
        if is_terminating(obj):
            self._finish(key, obj)
        else:
            self._collect(key, obj)
        return None

    def _finish(self, key: Key, obj: Object) -> None:
        """Do what the propagation finalizers stand for, then take them off."""
        finalizers = finalizers_of(obj)
        dependents = list(dependents_of(self._registry.store, uid_of(obj)))
        if ORPHAN_FINALIZER in finalizers:
            for dependent, _ in dependents:
                self._registry.change(dependent, lambda found: _release(found, uid_of(obj)), MANAGER)
            self._registry.drop_finalizer(key, ORPHAN_FINALIZER, MANAGER)
        elif FOREGROUND_FINALIZER in finalizers:
            for dependent, found in dependents:
                if not is_terminating(found):
                    self._registry.delete(dependent, Deletion("Foreground"))
            if not any(_blocks(found, obj) for _, found in dependents_of(self._registry.store, uid_of(obj))):
                self._registry.drop_finalizer(key, FOREGROUND_FINALIZER, MANAGER)

    def _collect(self, key: Key, obj: Object) -> None:
        """Delete an object none of whose owners exists."""
        owners = owners_of(obj)
        if owners and not any(self._exists(obj, owner) for owner in owners):
            self._registry.delete(key, Deletion("Background", required_uid=uid_of(obj)))

    def _exists(self, obj: Object, owner: Object) -> bool:
        resource = find_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return True  # of a kind that is not served here: nobody can know
        found = self._registry.store.get(Key(resource, namespace_of(obj) if resource.namespaced else "", owner["name"]))
        return found is not None and uid_of(found) == owner["uid"]


class NamespaceController:
    """Empties a namespace that is being deleted, then lets it go."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        name = event.key.name if event.resource is NAMESPACES else event.key.namespace
        namespace = self._registry.store.get(Key(NAMESPACES, "", name)) if name else None
        if namespace is not None and is_terminating(namespace):
            yield key_of(NAMESPACES, namespace)

    def reconcile(self, key: Key) -> timedelta | None:
        namespace = self._registry.store.get(key)
        if namespace is None or not is_terminating(namespace):
            return None
        content = [
            (resource, obj) for resource, obj in self._registry.store.everything() if namespace_of(obj) == key.name
        ]
        for resource, obj in content:
            if not is_terminating(obj):
                self._registry.delete(key_of(resource, obj), Deletion("Background"))
        if not any(namespace_of(obj) == key.name for _, obj in self._registry.store.everything()):
            self._registry.change(key, lambda found: found["spec"].update(finalizers=[]), MANAGER, "finalize")
        return None


def dependents_of(store: Store, uid: str) -> Iterator[tuple[Key, Object]]:
    for resource, obj in store.everything():
        if any(owner["uid"] == uid for owner in owners_of(obj)):
            yield Key(resource, namespace_of(obj), name_of(obj)), obj


def _owner_keys(obj: Object) -> Iterator[Key]:
    """Return the owners that may be waiting for this dependent's end."""
    for owner in owners_of(obj):
        resource = find_kind(owner["apiVersion"], owner["kind"])
        if resource is not None:
            yield Key(resource, namespace_of(obj) if resource.namespaced else "", owner["name"])


def _release(dependent: Object, uid: str) -> None:
    dependent["metadata"]["ownerReferences"] = [owner for owner in owners_of(dependent) if owner["uid"] != uid]


def _blocks(dependent: Object, owner: Object) -> bool:
    return any(
        reference["uid"] == uid_of(owner) and reference.get("blockOwnerDeletion") for reference in owners_of(dependent)
    )
