"""Storage as AKS has it: the classes and drivers, and what the drivers do beside a cluster: provision, attach, delete.

A volume is a directory `DIR/volumes/<name>`. It goes with its PersistentVolume object when the reclaim policy says
Delete, and stays under Retain: that difference is what the migration's way back hangs on, so it is kept exactly.
"""

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from local.kubernetes.kubelet.api import Api, ApiError, Mirror, Object, ignoring
from local.kubernetes.kubelet.background import Background
from local.kubernetes.kubelet.belongings import LABEL, bring
from local.kubernetes.kubelet.events import Recorder
from local.kubernetes.kubelet.options import Options

log = logging.getLogger(__name__)

DISK, FILES = "disk.csi.azure.com", "file.csi.azure.com"
_STORAGE = "/apis/storage.k8s.io/v1"
_PROVISIONER = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_ATTACHER = "external-attacher/" + DISK.replace(".", "-")


def aks_classes() -> list[Object]:
    """Return the StorageClasses that every AKS cluster comes with.

    Source: https://learn.microsoft.com/azure/aks/concepts-storage#storage-classes
    """
    files = ["mfsymlinks", "actimeo=30", "nosharesock"]
    return [
        _class("managed-csi", DISK, {"skuname": "StandardSSD_LRS"}, "WaitForFirstConsumer"),
        _class("managed-csi-premium", DISK, {"skuname": "Premium_LRS"}, "WaitForFirstConsumer"),
        _class("azurefile-csi", FILES, {"skuName": "Standard_LRS"}, "Immediate", files),
        _class("azurefile-csi-premium", FILES, {"skuName": "Premium_LRS"}, "Immediate", files),
    ]


def _class(
    name: str, driver: str, parameters: dict[str, str], binding: str, mount_options: list[str] | None = None
) -> Object:
    default = {_DEFAULT: "true"} if name == "managed-csi" else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": default},
        "provisioner": driver,
        "parameters": parameters,
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
        "volumeBindingMode": binding,
        **({"mountOptions": mount_options} if mount_options else {}),
    }


async def install(api: Api, node: str) -> None:
    """Create the drivers and classes that are missing; a cluster that has a default class keeps that."""
    for driver, attach in ((DISK, True), (FILES, False)):
        spec = {"attachRequired": attach, "podInfoOnMount": not attach}
        body = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": driver}, "spec": spec}
        await bring(api, f"{_STORAGE}/csidrivers", body, node)
    present = (await api.get(f"{_STORAGE}/storageclasses")).get("items") or []
    has_default = any((one["metadata"].get("annotations") or {}).get(_DEFAULT) == "true" for one in present)
    for storage_class in aks_classes():
        if has_default:
            storage_class["metadata"].pop("annotations")
        await bring(api, f"{_STORAGE}/storageclasses", storage_class, node)


def wants_volume(claim: Object, binding: str) -> bool:
    """Decide whether it is our turn: the controller has handed us the claim, and its consumer has a node if need be."""
    annotations = claim["metadata"].get("annotations") or {}
    handed = any(annotations.get(key) in (DISK, FILES) for key in _PROVISIONER)
    waiting = not claim["spec"].get("volumeName") and not claim["metadata"].get("deletionTimestamp")
    return handed and waiting and (binding != "WaitForFirstConsumer" or _SELECTED_NODE in annotations)


def volume_for(claim: Object, storage_class: Object, node: str) -> Object:
    """Build the PersistentVolume that answers a claim; its label says whose directory it is."""
    meta, spec = claim["metadata"], claim["spec"]
    name, driver = f"pvc-{meta['uid']}", storage_class["provisioner"]
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    reference |= {key: meta[key] for key in ("namespace", "name", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {LABEL: node}, "annotations": {_PROVISIONED_BY: driver}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "storageClassName": storage_class["metadata"]["name"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "mountOptions": storage_class.get("mountOptions") or [],
            "claimRef": reference,
            "csi": {"driver": driver, "volumeHandle": name, "volumeAttributes": storage_class.get("parameters") or {}},
        },
    }


def directory_of(volume: Object, volumes: Path) -> Path:
    """Find a volume's directory: named after its handle, so a second PersistentVolume on the same disk finds the data.

    Raises ValueError for a volume of a kind that is not served here.
    """
    spec = volume["spec"]
    if (spec.get("csi") or {}).get("driver") in (DISK, FILES):
        name = str(spec["csi"]["volumeHandle"]).rstrip("/").rpartition("/")[2]
        if not re.fullmatch(r"[\w#-][\w.#-]*", name):
            raise ValueError(f"volume handle {spec['csi']['volumeHandle']!r} names no directory")
        return volumes / name
    local = (spec.get("hostPath") or spec.get("local") or {}).get("path")
    if not local:
        raise ValueError(f"volume {volume['metadata']['name']} is neither a disk, a file share nor a local path")
    return Path(local)


class Storage:
    """The drivers at work: they follow claims, volumes and attachments."""

    def __init__(
        self, api: Api, options: Options, background: Background, events: Recorder, *, mirrors: dict[str, Mirror]
    ) -> None:
        self._api, self._options, self._background, self._events = api, options, background, events
        self._claims, self._volumes = mirrors["claims"], mirrors["volumes"]
        self._busy: dict[tuple[str, str], bool] = {}  # True: its object changed meanwhile, so look again
        self._claims.subscribe(self._on_claim)
        self._volumes.subscribe(self._on_volume)
        mirrors["attachments"].subscribe(self._on_attachment)

    def _once(self, key: tuple[str, str], work: Callable[[], Awaitable[None]]) -> None:
        """Do a piece of work in the background, never twice at once, and again after a failure or a change."""
        if key in self._busy:
            self._busy[key] = True
        else:
            self._busy[key] = True
            self._background.start(self._until_done(key, work), f"{key[0]} {key[1]}")

    async def _until_done(self, key: tuple[str, str], work: Callable[[], Awaitable[None]]) -> None:
        delay = 0.25
        try:
            while self._busy[key]:
                self._busy[key] = False
                try:
                    await work()
                except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    log.warning("%s %s: %r", *key, error)
                    self._busy[key] = True
                    delay = min(delay * 2, 10)
                    await asyncio.sleep(delay)
        finally:
            del self._busy[key]

    def _on_claim(self, before: Object | None, after: Object | None) -> None:
        item = after or before
        assert item is not None
        link = self._options.claims / item["metadata"]["namespace"] / item["metadata"]["name"]
        if after is None:
            link.unlink(missing_ok=True)
        elif after["spec"].get("volumeName"):
            self._link(link, after["spec"]["volumeName"])
        elif wants_volume(after, ""):
            self._once(("provision", after["metadata"]["uid"]), lambda: self._provision(after["metadata"]["uid"]))

    def _link(self, link: Path, volume: str) -> None:
        target = os.path.relpath(self._options.volumes / volume, link.parent)
        if not link.is_symlink() or str(link.readlink()) != target:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    async def _provision(self, uid: str) -> None:
        claim = self._claims.objects.get(uid)
        if claim is None:
            return
        storage_class = await self._api.get(f"{_STORAGE}/storageclasses/{claim['spec']['storageClassName']}")
        if not wants_volume(claim, storage_class.get("volumeBindingMode") or "Immediate"):
            return
        await asyncio.sleep(self._options.provision_delay)
        volume = volume_for(claim, storage_class, self._options.node)
        directory = directory_of(volume, self._options.volumes)
        if (source := claim["spec"].get("dataSource") or {}).get("kind") == "VolumeSnapshot":
            await self._fill(directory, claim["metadata"]["namespace"], source["name"])
        directory.mkdir(parents=True, exist_ok=True)
        await self._api.create_missing("/api/v1/persistentvolumes", volume)
        message = f"Successfully provisioned volume {volume['metadata']['name']}"
        await self._events.normal(claim | {"kind": "PersistentVolumeClaim"}, "ProvisioningSucceeded", message)

    async def _fill(self, directory: Path, namespace: str, snapshot: str) -> None:
        """Begin a volume with what a snapshot holds; OSError, and so another try, until that is ready."""
        snapshots = "/apis/snapshot.storage.k8s.io/v1"
        found = await self._api.get(f"{snapshots}/namespaces/{namespace}/volumesnapshots/{snapshot}")
        status = found.get("status") or {}
        if not status.get("readyToUse"):
            raise OSError(f"snapshot {namespace}/{snapshot} is not ready to use")
        content = await self._api.get(f"{snapshots}/volumesnapshotcontents/{status['boundVolumeSnapshotContentName']}")
        source = self._options.snapshots / content["status"]["snapshotHandle"]
        await asyncio.to_thread(shutil.copytree, source, directory, symlinks=True, dirs_exist_ok=True)

    def _on_volume(self, before: Object | None, after: Object | None) -> None:
        item = after or before
        assert item is not None
        ours = (item["spec"].get("csi") or {}).get("driver") in (DISK, FILES)
        if not ours or item["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
            return
        name = item["metadata"]["name"]
        if after is None:
            shutil.rmtree(directory_of(item, self._options.volumes), ignore_errors=True)
            log.info("deleted volume %s with its directory", name)
        elif (after.get("status") or {}).get("phase") in ("Released", "Failed"):
            self._once(("delete", name), lambda: self._delete(name))

    async def _delete(self, name: str) -> None:
        """Delete a released volume; its directory goes when the object is gone."""
        with ignoring(404):
            current = await self._api.get(f"/api/v1/persistentvolumes/{name}")
            policy = current["spec"].get("persistentVolumeReclaimPolicy")
            if policy == "Delete" and not current["metadata"].get("deletionTimestamp"):
                version = {"resourceVersion": current["metadata"]["resourceVersion"]}
                await self._api.delete(f"/api/v1/persistentvolumes/{name}", {"preconditions": version})

    def _on_attachment(self, before: Object | None, after: Object | None) -> None:
        if after is None or after["spec"].get("attacher") != DISK:
            return
        name = after["metadata"]["name"]
        if after["metadata"].get("deletionTimestamp"):
            self._once(("detach", name), lambda: self._detach(name))
        elif not (after.get("status") or {}).get("attached"):
            self._once(("attach", name), lambda: self._attach(name))

    async def _attach(self, name: str) -> None:
        await asyncio.sleep(self._options.attach_delay)
        path = f"{_STORAGE}/volumeattachments/{name}"
        with ignoring(404):
            await self._api.merge(path, {"metadata": {"finalizers": [_ATTACHER]}})
            await self._api.merge(f"{path}/status", {"status": {"attached": True}})

    async def _detach(self, name: str) -> None:
        await asyncio.sleep(self._options.attach_delay)
        with ignoring(404):
            await self._api.merge(f"{_STORAGE}/volumeattachments/{name}", {"metadata": {"finalizers": None}})
