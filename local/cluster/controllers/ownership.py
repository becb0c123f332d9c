"""Objects that make other objects: whose they are, and pods made from a template."""

from collections.abc import Iterator, Mapping

from local.cluster import selectors
from local.cluster.kinds import PODS, Resource
from local.cluster.objects import (
    Object,
    controller_of,
    controller_reference,
    copy_of,
    is_active,
    is_controlled_by,
    is_terminating,
    labels_of,
    namespace_of,
)
from local.cluster.registry import Registry, Writer, key_of
from local.cluster.store import Event, Key

MANAGER = "kube-controller-manager"


def owner_keys(event: Event, owner: Resource) -> Iterator[Key]:
    """Return the controller of a changed object, before and after the change, if it is of the given kind."""
    seen = set()
    for obj in (event.obj, event.previous):
        reference = controller_of(obj) if obj else None
        if reference and reference["kind"] == owner.kind and reference["name"] not in seen:
            seen.add(reference["name"])
            yield Key(owner, event.key.namespace, reference["name"])


def owned_by(registry: Registry, owner: Object, kind: Resource) -> list[Object]:
    """Return the objects that `owner` controls, after adopting those that match its selector and have no controller."""
    wanted = selectors.from_object(owner["spec"]["selector"])
    owned = []
    for obj in registry.store.all_of(kind, namespace_of(owner)):
        if is_controlled_by(obj, owner):
            owned.append(obj)
        elif (
            controller_of(obj) is None
            and not is_terminating(obj)
            and selectors.matches(wanted, labels_of(obj))
            and (kind is not PODS or is_active(obj))
        ):
            adopted = registry.change(key_of(kind, obj), lambda orphan: _adopt(orphan, owner), MANAGER)
            owned.append(adopted or obj)
    return owned


def _adopt(orphan: Object, owner: Object) -> None:
    orphan["metadata"].setdefault("ownerReferences", []).append(controller_reference(owner))


def create_pod(
    registry: Registry,
    owner: Object,
    *,
    prefix: str,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    finalizers: tuple[str, ...] = (),
    spec: Object | None = None,
) -> Object:
    """Create a pod from the owner's template; the name is the prefix and five random letters."""
    template = copy_of(owner["spec"]["template"])
    given = template.get("metadata") or {}
    metadata: Object = {
        "generateName": prefix,
        "labels": {**(given.get("labels") or {}), **(labels or {})},
        "annotations": {**(given.get("annotations") or {}), **(annotations or {})},
        "ownerReferences": [controller_reference(owner)],
        "finalizers": list(finalizers),
    }
    pod = {"metadata": {k: v for k, v in metadata.items() if v}, "spec": spec or template["spec"]}
    return registry.create(PODS, namespace_of(owner), pod, Writer(MANAGER))
