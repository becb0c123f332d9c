"""Attaching disks to nodes: a VolumeAttachment for every volume and node with a pod that needs it.

A disk that may be written by one node only is not attached to a second one before it is detached from the first: that
is the Multi-Attach trap of a rolling update across nodes. Attaching itself is the driver's work.
Source: pkg/controller/volume/attachdetach of Kubernetes 1.36.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.model.kinds import CLAIMS, CSI_DRIVERS, PODS, VOLUME_ATTACHMENTS, VOLUMES
from local.kubernetes.model.objects import Object, claims_of, is_finished, is_terminating, name_of, namespace_of
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Event, Key

_SHARED_MODES = {"ReadWriteMany", "ReadOnlyMany"}


class AttachmentController:
    """Reconciles volumes: the key is the volume's."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events = Recorder(registry, "attachdetach-controller")

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is VOLUMES:
            yield event.key
        elif event.resource is VOLUME_ATTACHMENTS:
            yield Key(VOLUMES, "", event.obj["spec"]["source"].get("persistentVolumeName", ""))
        elif event.resource is CLAIMS and "volumeName" in event.obj["spec"]:
            yield Key(VOLUMES, "", event.obj["spec"]["volumeName"])
        elif event.resource is PODS:
            yield from (key_of(VOLUMES, volume) for volume in self._volumes_of(event.obj))

    def reconcile(self, key: Key) -> timedelta | None:
        volume = self._registry.store.get(key)
        attachments = [
            found
            for found in self._registry.store.all_of(VOLUME_ATTACHMENTS)
            if found["spec"]["source"].get("persistentVolumeName") == key.name
        ]
        needed = self._nodes_in_need(volume) if volume and self._must_be_attached(volume) else {}
        for attachment in attachments:
            if attachment["spec"]["nodeName"] not in needed and not is_terminating(attachment):
                self._registry.delete(key_of(VOLUME_ATTACHMENTS, attachment))
        attached_to = {attachment["spec"]["nodeName"] for attachment in attachments}
        for node in needed:
            is_free = not attached_to - {node} or _may_be_shared(volume)
            if volume and node not in attached_to and is_free:
                self._attach(volume, node)
                attached_to.add(node)
            elif volume and node not in attached_to:
                message = f'Multi-Attach error for volume "{key.name}" Volume is already used by pod(s) on another node'
                self._events.warning(needed[node], "FailedAttachVolume", message)
        return None

    def _volumes_of(self, pod: Object) -> Iterator[Object]:
        for name in claims_of(pod):
            claim = self._registry.store.get(Key(CLAIMS, namespace_of(pod), name))
            volume = claim and self._registry.store.get(Key(VOLUMES, "", claim["spec"].get("volumeName", "")))
            if volume:
                yield volume

    def _nodes_in_need(self, volume: Object) -> dict[str, Object]:
        """Return the nodes with a pod, even one that is being stopped, that mounts the volume; with such a pod."""
        nodes: dict[str, Object] = {}
        for pod in self._registry.store.all_of(PODS, volume["spec"].get("claimRef", {}).get("namespace", "")):
            node = pod["spec"].get("nodeName")
            if node and not is_finished(pod) and any(found is volume for found in self._volumes_of(pod)):
                nodes[node] = pod
        return nodes

    def _must_be_attached(self, volume: Object) -> bool:
        driver = volume["spec"].get("csi", {}).get("driver")
        found = self._registry.store.get(Key(CSI_DRIVERS, "", driver)) if driver else None
        return found is not None and bool(found["spec"]["attachRequired"])

    def _attach(self, volume: Object, node: str) -> None:
        csi = volume["spec"]["csi"]
        digest = hashlib.sha256(f"{csi['volumeHandle']}{csi['driver']}{node}".encode()).hexdigest()
        name = f"csi-{digest}"
        if self._registry.store.get(Key(VOLUME_ATTACHMENTS, "", name)) is not None:
            return  # still being detached from its last use
        attachment = {
            "metadata": {"name": name},
            "spec": {
                "attacher": csi["driver"],
                "nodeName": node,
                "source": {"persistentVolumeName": name_of(volume)},
            },
        }
        self._registry.create(VOLUME_ATTACHMENTS, "", attachment, Writer(MANAGER))


def _may_be_shared(volume: Object | None) -> bool:
    return volume is not None and bool(_SHARED_MODES & set(volume["spec"]["accessModes"]))
