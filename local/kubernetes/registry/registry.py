"""Every write goes through here, a client's or a controller's: defaults, validation, ownership, finalizers.

Methods either change the store in one step or raise an `ApiError` and change nothing. There is no `await` in them, so
no two writes ever interleave; `resourceVersion` conflicts still happen, between a client's read and its write.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.kubernetes.model import custom_kinds, status_errors
from local.kubernetes.model.kinds import DEFINITIONS, DEPLOYMENTS, NAMESPACES, PODS, Resource
from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    copy_of,
    finalizers_of,
    is_terminating,
    name_of,
    namespace_of,
    to_timestamp,
)
from local.kubernetes.model.schema import empty_object, schema_of
from local.kubernetes.model.status_errors import ApiError, Cause
from local.kubernetes.registry import creation, deletion, field_ownership, field_paths
from local.kubernetes.registry.decoding import decode
from local.kubernetes.registry.defaults import fill_defaults, fill_status
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.field_ownership import APPLY, UPDATE, Owner
from local.kubernetes.registry.store import Key, Store
from local.kubernetes.registry.validation.checks import find_causes

_FIXED_METADATA = ("uid", "creationTimestamp", "generation", "resourceVersion", "name", "namespace", "generateName")
_SET_BY_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(frozen=True, slots=True)
class Writer:
    """In whose name something is written."""

    manager: str
    dry_run: bool = False
    force: bool = False
    """Whether an apply takes over what belongs to others."""

    def owner(self, operation: str, resource: Resource, subresource: str = "") -> Owner:
        return Owner(operation, self.manager, resource.api_version, subresource)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Registry:
    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self.store = store
        self.clock = clock

    def now(self) -> str:
        return to_timestamp(self.clock())

    def get(self, key: Key) -> Object:
        found = self.store.get(key)
        if found is None:
            raise status_errors.not_found(key.resource, key.name)
        return found

    # ── create ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, resource: Resource, namespace: str, given: Object, writer: Writer) -> Object:
        """Store a new object; returns it complete."""
        obj = self._new(resource, namespace, given)
        owner, empty = writer.owner(UPDATE, resource), empty_object(resource)
        owned = field_ownership.after_update(
            {}, owner, _main_part(resource, empty), _main_part(resource, obj), schema_of(resource), time=self.now()
        )
        return self._store_new(resource, obj, owned, dry_run=writer.dry_run)

    def _new(self, resource: Resource, namespace: str, given: Object) -> Object:
        """Return what is given with a name, its place and its defaults: whoever wrote it owns these fields."""
        obj = copy_of(given) | {"apiVersion": resource.api_version, "kind": resource.kind}
        obj.setdefault("metadata", {})
        creation.give_name(obj)
        self._place(resource, namespace, obj)
        existing = self.store.get(Key(resource, namespace, name_of(obj)))
        if existing is not None:
            raise status_errors.already_exists(resource, name_of(obj), terminating=is_terminating(existing))
        fill_defaults(resource, obj)
        return obj

    def _store_new(
        self, resource: Resource, obj: Object, ownership: field_ownership.Ownership, *, dry_run: bool
    ) -> Object:
        """Complete a new object with what belongs to nobody: identity, finalizers, a first status, addresses."""
        creation.give_identity(resource, obj, self.now())
        creation.prepare(resource, obj, self.store)
        fill_status(resource, obj)
        self._validate(resource, obj, None)
        creation.allocate(resource, obj, self.store)
        first = ("apiVersion", "kind", "metadata")
        ordered = {name: obj[name] for name in first} | {name: obj[name] for name in obj if name not in first}
        new = _with_managed_fields(ordered, ownership)
        if dry_run:
            return new
        if resource is DEFINITIONS:
            custom_kinds.install(new)
        return self.store.put(resource, new)

    def _place(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Put the object into the namespace of the request, which must exist and stay."""
        metadata = obj["metadata"]
        if not resource.namespaced:
            metadata.pop("namespace", None)
            return
        if metadata.get("namespace") not in (None, "", namespace):
            raise status_errors.bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request"
                f" ({metadata['namespace']} != {namespace})"
            )
        metadata["namespace"] = namespace
        home = self.get(Key(NAMESPACES, "", namespace))
        if is_terminating(home):
            raise status_errors.terminating(resource, name_of(obj), namespace)

    def _validate(self, resource: Resource, obj: Object, old: Object | None) -> None:
        causes = find_causes(resource, obj, old)
        if causes:
            raise status_errors.invalid(resource, name_of(obj), causes)

    # ── update ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def update(self, key: Key, given: Object, writer: Writer, subresource: str = "") -> Object:
        """Replace an object, or only its status.

        A `resourceVersion` in what is given must be the current one; without one the last writer wins.
        """
        old = self.get(key)
        expected = given.get("metadata", {}).get("resourceVersion")
        if expected and expected != old["metadata"]["resourceVersion"]:
            raise status_errors.modified_meanwhile(key.resource, key.name)
        new = self._prepare_changed(key.resource, old, given, subresource)
        new = self._owned_after_update(key.resource, old, new, writer.owner(UPDATE, key.resource, subresource))
        return self._store_change(key, old, new, counts=subresource != "status", dry_run=writer.dry_run)

    def change(self, key: Key, edit: Callable[[Object], None], manager: str, subresource: str = "") -> Object | None:
        """Let `edit` change a copy of an object and store it; None when the object is gone.

        This is how controllers write.
        """
        old = self.store.get(key)
        if old is None:
            return None
        new = copy_of(old)
        edit(new)
        return self.update(key, new, Writer(manager), subresource)

    def set_status(self, key: Key, status: Object, manager: str) -> Object | None:
        return self.change(key, lambda obj: obj.update(status=status), manager, "status")

    def drop_finalizer(self, key: Key, finalizer: str, manager: str) -> None:
        """Take a finalizer off; with the last one an object that is being deleted goes."""

        def edit(obj: Object) -> None:
            obj["metadata"]["finalizers"] = [name for name in finalizers_of(obj) if name != finalizer]

        self.change(key, edit, manager)

    def _prepare_changed(self, resource: Resource, old: Object, given: Object, subresource: str) -> Object:
        new = decode(_with_fixed_parts(resource, old, copy_of(given), subresource), resource).value
        added = set(finalizers_of(new)) - set(finalizers_of(old))
        if is_terminating(old) and added:
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"
            raise status_errors.invalid(resource, name_of(old), [Cause.forbidden("metadata.finalizers", why)])
        fill_defaults(resource, new)
        self._validate(resource, new, old)
        return new

    def _owned_after_update(self, resource: Resource, old: Object, new: Object, owner: Owner) -> Object:
        ownership = field_ownership.read_ownership(old) if old else {}
        ownership = field_ownership.after_update(ownership, owner, old, new, schema_of(resource), time=self.now())
        return _with_managed_fields(new, ownership)

    def _store_change(self, key: Key, old: Object, new: Object, *, counts: bool, dry_run: bool) -> Object:
        """Store what differs; nothing happens when nothing does, or only the times of managedFields.

        `counts`: a change may make a new generation, which one through the status never does.
        """
        if _without_times(new) == _without_times(old):
            return old
        if counts and key.resource.counts_generations and _counted(new) != _counted(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if dry_run:
            return new
        if key.resource is DEFINITIONS:
            custom_kinds.install(new)
        if is_terminating(new) and not deletion.is_held(new):
            self.store.put(key.resource, new)
            return self.store.remove(key)
        return self.store.put(key.resource, new)

    # ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, key: Key, configuration: Object, writer: Writer, subresource: str = "") -> tuple[Object, bool]:
        """Merge a configuration by server-side apply; returns the object and whether it is new."""
        resource = key.resource
        configuration = configuration if subresource else _main_part(resource, configuration)
        owner = writer.owner(APPLY, resource, subresource)
        old = self.store.get(key)
        if old is None:
            return self._apply_new(key, configuration, owner, dry_run=writer.dry_run), True
        applied = field_ownership.apply_configuration(
            old,
            field_ownership.read_ownership(old),
            configuration,
            owner,
            schema_of(resource),
            force=writer.force,
            time=self.now(),
        )
        if applied.conflicts:
            raise _refused(applied.conflicts)
        new = self._prepare_changed(resource, old, applied.value, subresource)
        new = _with_managed_fields(new, applied.ownership)
        stored = self._store_change(key, old, new, counts=subresource != "status", dry_run=writer.dry_run)
        return stored, False

    def _apply_new(self, key: Key, configuration: Object, owner: Owner, *, dry_run: bool) -> Object:
        obj = self._new(key.resource, key.namespace, decode(configuration, key.resource).value)
        claimed = field_paths.field_set(configuration, schema_of(key.resource))
        owned = {owner: field_ownership.Share(claimed, self.now())}
        return self._store_new(key.resource, obj, owned, dry_run=dry_run)

    # ── delete ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def delete(self, key: Key, options: Deletion | None = None) -> tuple[Object, bool]:
        """Delete an object, or mark it when finalizers or a pod's grace period stand in the way.

        Returns the object and whether it is gone.
        """
        options = options or Deletion()
        obj = self.get(key)
        deletion.check_preconditions(key, obj, options)
        if options.dry_run:
            return obj, True
        if key.resource is DEFINITIONS:
            self._remove_custom_objects(key.name)
        marked = deletion.mark(key.resource, obj, options, self.clock())
        if deletion.is_held(marked):
            return (self.store.put(key.resource, marked) if marked != obj else obj), False
        removed = self.store.remove(key)
        return (marked if key.resource is PODS else removed), True

    def _remove_custom_objects(self, definition: str) -> None:
        """With a definition go its kinds and everything of these kinds."""
        for resource in custom_kinds.uninstall(definition):
            for obj in self.store.all_of(resource):
                self.store.remove(key_of(resource, obj))


def _with_fixed_parts(resource: Resource, old: Object, given: Object, subresource: str) -> Object:
    """Return what is given with everything that this way of writing may not change taken from the old object.

    Labels, annotations and finalizers may be written with a status, too; a Deployment's labels and a custom object's
    metadata may not. Source: the PrepareForUpdate of each registry's status strategy.
    """
    given_metadata: dict[str, Any] = given.setdefault("metadata", {})
    if subresource == "status":
        status = {"status": given["status"]} if "status" in given else {}
        metadata = copy_of(old["metadata"]) if resource.custom else given_metadata
        given = copy_of({name: value for name, value in old.items() if name != "status"}) | status
        given["metadata"] = metadata
        if resource is DEPLOYMENTS:
            _take_back(metadata, old["metadata"], ("labels",))
    elif resource.has_status:
        given.pop("status", None)
        if "status" in old:
            given["status"] = old["status"]
    _take_back(given["metadata"], old["metadata"], (*_FIXED_METADATA, *_SET_BY_DELETION))
    return given | {"apiVersion": resource.api_version, "kind": resource.kind}


def _take_back(metadata: Object, old: Object, names: Iterable[str]) -> None:
    for name in names:
        metadata.pop(name, None)
        if name in old:
            metadata[name] = old[name]


def _with_managed_fields(obj: Object, ownership: field_ownership.Ownership) -> Object:
    managed = field_ownership.to_managed_fields(ownership)
    return {**obj, "metadata": {**obj["metadata"], "managedFields": managed}}


def _without_times(obj: Object) -> Object:
    managed = [{**entry, "time": ""} for entry in obj["metadata"].get("managedFields") or ()]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": managed}}


def _main_part(resource: Resource, obj: Object) -> Object:
    """Return what a write that goes to no subresource can set: the status is ignored."""
    return {name: value for name, value in obj.items() if name != "status" or not resource.has_status}


def _counted(obj: Object) -> Object:
    """Return what a change of makes a new generation: for a Deployment its annotations, too.

    Source: pkg/registry/apps/deployment/strategy.go, PrepareForUpdate.
    """
    rest = {name: value for name, value in obj.items() if name not in ("metadata", "status")}
    return rest | {"annotations": annotations_of(obj)} if obj["kind"] == DEPLOYMENTS.kind else rest


def _refused(conflicts: tuple[field_ownership.Conflict, ...]) -> ApiError:
    causes = [
        Cause(field_paths.to_words(conflict.path), f"conflict with {conflict.owner}", "FieldManagerConflict")
        for conflict in conflicts
    ]
    return status_errors.apply_conflict(field_ownership.conflict_message(conflicts), causes)


def key_of(resource: Resource, obj: Object) -> Key:
    return Key(resource, namespace_of(obj), name_of(obj))
