"""Claims and volumes: binding them to each other, asking the provisioner for new ones, and what happens afterwards.

What a migration lives by: a claim that is deleted leaves its volume Released, never Available; a Released volume
whose `claimRef.uid` is cleared can be bound again by a claim that names it; a claim in use, and a volume that is
bound, stay until they are free.
Source: pkg/controller/volume/persistentvolume/pv_controller.go and the two protection controllers of Kubernetes 1.36.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.controllers.volumes.volume_matching import best_volume, fits_modes_and_class, is_reserved_for
from local.kubernetes.model.kinds import CLAIMS, PODS, STORAGE_CLASSES, VOLUMES
from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    claims_of,
    copy_of,
    finalizers_of,
    is_terminating,
    name_of,
    namespace_of,
    status_of,
    uid_of,
)
from local.kubernetes.registry.creation import CLAIM_PROTECTION, VOLUME_PROTECTION
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Event, Key

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
_PROVISIONER = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_NOT_PROVISIONED = "kubernetes.io/no-provisioner"


class ClaimController:
    """Binds claims, and keeps those in use from being deleted."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events = Recorder(registry, "persistentvolume-controller")

    def affected(self, event: Event) -> Iterable[Key]:
        store = self._registry.store
        if event.resource is CLAIMS:
            yield event.key
        elif event.resource is VOLUMES:
            reserved = claim_key_of(event.obj)
            if reserved is not None:
                yield reserved
            else:
                yield from (key_of(CLAIMS, claim) for claim in store.all_of(CLAIMS) if not _is_bound(claim))
        elif event.resource is STORAGE_CLASSES:
            yield from (key_of(CLAIMS, claim) for claim in store.all_of(CLAIMS) if not _is_bound(claim))
        elif event.resource is PODS:
            yield from (Key(CLAIMS, event.key.namespace, name) for name in claims_of(event.obj))

    def reconcile(self, key: Key) -> timedelta | None:
        claim = self._registry.store.get(key)
        if claim is None:
            return None
        if is_terminating(claim):
            self._release_if_unused(key, claim)
        elif BIND_COMPLETED in annotations_of(claim):
            self._check_bound(key, claim)
        elif "volumeName" in claim["spec"]:
            self._bind_named(claim)
        else:
            self._find(key, claim)
        return None

    def _release_if_unused(self, key: Key, claim: Object) -> None:
        if CLAIM_PROTECTION in finalizers_of(claim) and not pods_using(self._registry, claim):
            self._registry.drop_finalizer(key, CLAIM_PROTECTION, MANAGER)

    def _check_bound(self, key: Key, claim: Object) -> None:
        """A bound claim whose volume is gone, or another's, is lost."""
        volume = self._registry.store.get(Key(VOLUMES, "", claim["spec"]["volumeName"]))
        if volume is None or not is_reserved_for(volume, claim):
            if status_of(claim).get("phase") != "Lost":
                self._registry.set_status(key, {**status_of(claim), "phase": "Lost"}, MANAGER)
        elif not _is_bound(claim):
            self._finish(claim, volume)

    def _bind_named(self, claim: Object) -> None:
        """Bind to the volume that the claim asks for by name, if that is free or reserved for it; else wait."""
        volume = self._registry.store.get(Key(VOLUMES, "", claim["spec"]["volumeName"]))
        if volume is None or is_terminating(volume) or not fits_modes_and_class(volume, claim):
            return
        if "claimRef" not in volume["spec"] or is_reserved_for(volume, claim):
            self._bind(claim, volume)

    def _find(self, key: Key, claim: Object) -> None:
        volumes = self._registry.store.all_of(VOLUMES)
        volume = best_volume(claim, volumes)
        waits = self._waits_for_consumer(claim)
        if volume is not None and (not waits or is_reserved_for(volume, claim)):
            self._bind(claim, volume)
        elif not waits:
            self._ask_for_volume(key, claim)

    def _waits_for_consumer(self, claim: Object) -> bool:
        storage_class = self._class_of(claim)
        return (
            storage_class is not None
            and storage_class["volumeBindingMode"] == "WaitForFirstConsumer"
            and SELECTED_NODE not in annotations_of(claim)
        )

    def _class_of(self, claim: Object) -> Object | None:
        return self._registry.store.get(Key(STORAGE_CLASSES, "", claim["spec"].get("storageClassName") or ""))

    def _ask_for_volume(self, key: Key, claim: Object) -> None:
        """Hand the claim to the class's provisioner, which watches for its name in an annotation."""
        storage_class = self._class_of(claim)
        wanted = claim["spec"].get("storageClassName")
        if storage_class is None and wanted:
            self._events.warning(claim, "ProvisioningFailed", f'storageclass.storage.k8s.io "{wanted}" not found')
        if storage_class is None or storage_class["provisioner"] == _NOT_PROVISIONED:
            return
        provisioner = {name: str(storage_class["provisioner"]) for name in _PROVISIONER}
        self._registry.change(key, lambda obj: _annotate(obj, provisioner), MANAGER)

    def _bind(self, claim: Object, volume: Object) -> None:
        """Point the volume at the claim, then the claim at the volume, then say so in both statuses."""
        reference = {
            "apiVersion": "v1",
            "kind": CLAIMS.kind,
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
            "resourceVersion": claim["metadata"]["resourceVersion"],
        }
        if volume["spec"].get("claimRef", {}).get("uid") != uid_of(claim):
            ours = {} if "claimRef" in volume["spec"] else {BOUND_BY_CONTROLLER: "yes"}

            def point(obj: Object) -> None:
                obj["spec"]["claimRef"] = reference
                _annotate(obj, ours)

            volume = self._registry.change(key_of(VOLUMES, volume), point, MANAGER) or volume
        self._finish(claim, volume)

    def _finish(self, claim: Object, volume: Object) -> None:
        marks = {BIND_COMPLETED: "yes"}
        if "volumeName" not in claim["spec"]:
            marks[BOUND_BY_CONTROLLER] = "yes"

        def point(obj: Object) -> None:
            obj["spec"]["volumeName"] = name_of(volume)
            _annotate(obj, marks)

        key = key_of(CLAIMS, claim)
        self._registry.change(key, point, MANAGER)
        capacity = copy_of(volume["spec"]["capacity"])
        status = {"phase": "Bound", "accessModes": list(volume["spec"]["accessModes"]), "capacity": capacity}
        self._registry.set_status(key, status, MANAGER)


class VolumeController:
    """Keeps the phases of volumes true, and bound ones from being deleted.

    Deleting a released volume under reclaim policy Delete is the work of the driver that provisioned it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is VOLUMES:
            yield event.key
        elif event.resource is CLAIMS:
            name = event.obj["spec"].get("volumeName")
            if name:
                yield Key(VOLUMES, "", name)
            for volume in self._registry.store.all_of(VOLUMES):
                if is_reserved_for(volume, event.obj):
                    yield key_of(VOLUMES, volume)

    def reconcile(self, key: Key) -> timedelta | None:
        volume = self._registry.store.get(key)
        if volume is None:
            return None
        phase = self._phase(volume)
        if status_of(volume).get("phase") != phase:
            status = {"phase": phase, "lastPhaseTransitionTime": self._registry.now()}
            self._registry.set_status(key, status, MANAGER)
        if is_terminating(volume) and phase != "Bound" and VOLUME_PROTECTION in finalizers_of(volume):
            self._registry.drop_finalizer(key, VOLUME_PROTECTION, MANAGER)
        return None

    def _phase(self, volume: Object) -> str:
        key, uid = claim_key_of(volume), volume["spec"].get("claimRef", {}).get("uid")
        if key is None or not uid:
            return "Available"
        claim = self._registry.store.get(key)
        if claim is None or uid_of(claim) != uid:
            return "Released"
        return "Bound" if claim["spec"].get("volumeName") == name_of(volume) else "Available"


def claim_key_of(volume: Object) -> Key | None:
    """Return the claim that a volume is bound to or reserved for."""
    reference = volume["spec"].get("claimRef")
    return Key(CLAIMS, reference.get("namespace", ""), reference.get("name", "")) if reference else None


def pods_using(registry: Registry, claim: Object) -> list[Object]:
    """Return the pods that keep a claim in use: all that were given a node, those that have ended too.

    Source: pkg/controller/volume/pvcprotection/pvc_protection_controller.go, podUsesPVCForDeletion.
    """
    pods = registry.store.all_of(PODS, namespace_of(claim))
    return [pod for pod in pods if name_of(claim) in claims_of(pod) and pod["spec"].get("nodeName")]


def _is_bound(claim: Object) -> bool:
    return bool(status_of(claim).get("phase") == "Bound")


def _annotate(obj: Object, annotations: Mapping[str, str]) -> None:
    obj["metadata"].setdefault("annotations", {}).update(annotations)
