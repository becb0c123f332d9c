"""Objects that make other objects: whose they are, and pods made from a template."""

from collections.abc import Callable, Iterator, Mapping

from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import PODS, Resource
from local.kubernetes.model.objects import (
    Object,
    controller_of,
    controller_reference,
    copy_of,
    is_active,
    is_controlled_by,
    is_terminating,
    labels_of,
    namespace_of,
    owners_of,
    uid_of,
)
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Event, Key

MANAGER = "kube-controller-manager"


def owner_keys(event: Event, owner: Resource) -> Iterator[Key]:
    """Return the controller of a changed object, before and after the change, if it is of the given kind."""
    seen = set()
    for obj in (event.obj, event.previous):
        reference = controller_of(obj) if obj else None
        if reference and reference["kind"] == owner.kind and reference["name"] not in seen:
            seen.add(reference["name"])
            yield Key(owner, event.key.namespace, reference["name"])


def owned_by(
    registry: Registry, owner: Object, kind: Resource, belongs: Callable[[Object], bool] = lambda _: True
) -> list[Object]:
    """Return the objects that `owner` controls and that match its selector, and `belongs`.

    Those that match and have no controller are adopted, those that no longer match are let go, unless the owner is
    being deleted. Source: pkg/controller/controller_ref_manager.go of Kubernetes 1.36, ClaimObject.
    """
    wanted, may_change = selectors.from_object(owner["spec"]["selector"]), not is_terminating(owner)
    owned = []
    for obj in registry.store.all_of(kind, namespace_of(owner)):
        fits = selectors.matches(wanted, labels_of(obj)) and belongs(obj)
        if is_controlled_by(obj, owner):
            if fits:
                owned.append(obj)
            elif may_change:
                _let_go(registry, kind, obj, owner)
        elif controller_of(obj) is None and may_change and fits and _can_be_adopted(kind, obj):
            owned.append(_adopt(registry, kind, obj, owner))
    return owned


def _can_be_adopted(kind: Resource, orphan: Object) -> bool:
    return is_active(orphan) if kind is PODS else not is_terminating(orphan)


def _adopt(registry: Registry, kind: Resource, orphan: Object, owner: Object) -> Object:
    def edit(obj: Object) -> None:
        obj["metadata"].setdefault("ownerReferences", []).append(controller_reference(owner))

    return registry.change(key_of(kind, orphan), edit, MANAGER) or orphan


def _let_go(registry: Registry, kind: Resource, obj: Object, owner: Object) -> None:
    def edit(found: Object) -> None:
        found["metadata"]["ownerReferences"] = [each for each in owners_of(found) if each["uid"] != uid_of(owner)]

    registry.change(key_of(kind, obj), edit, MANAGER)


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
