"""Snapshots of volumes: the controller and the disk driver's part in it.

A VolumeSnapshot is answered with a copy of the volume's directory, `DIR/snapshots/<handle>`, and the
VolumeSnapshotContent that stands for it; a claim whose `dataSource` names the snapshot is filled from it. Real ones
are taken in one moment, this one file after file. What cannot be done stands in `status.error` and is tried again when
something changes.
Source: kubernetes-csi/external-snapshotter, pkg/common-controller and pkg/sidecar-controller.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from local.kubernetes.kubelet.api import Api, ApiError, Mirror, Object, ignoring
from local.kubernetes.kubelet.background import Background, now
from local.kubernetes.kubelet.options import Options
from local.kubernetes.kubelet.storage.drivers import DISK, directory_of

log = logging.getLogger(__name__)

ROOT = "/apis/snapshot.storage.k8s.io/v1"
CLASS = "csi-azuredisk-vsc"
_HELD = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
_LOOK_AGAIN_SECONDS = 1.0


def disk_class() -> Object:
    """Return the class that Azure's documentation has operators create; AKS itself comes with none.

    Source: https://learn.microsoft.com/azure/aks/azure-disk-csi#create-a-volume-snapshot
    """
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass",
        "metadata": {"name": CLASS},
        "driver": DISK,
        "deletionPolicy": "Delete",
        "parameters": {"incremental": "true"},
    }


async def are_served(api: Api) -> bool:
    """Ask whether the API server knows the kinds."""
    try:
        await api.get(ROOT)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


class CannotTake(Exception):
    """Why there is no snapshot yet, for its status."""


class Snapshots:
    """Takes and deletes what VolumeSnapshots ask for."""

    def __init__(self, api: Api, options: Options, background: Background, *, mirrors: dict[str, Mirror]) -> None:
        self._api, self._options, self._background = api, options, background
        self._mirrors = mirrors
        self._busy: set[str] = set()
        mirrors["snapshots"].subscribe(self._on_snapshot)

    def _on_snapshot(self, before: Object | None, after: Object | None) -> None:
        if after is None:
            return
        uid, meta = after["metadata"]["uid"], after["metadata"]
        ready = (after.get("status") or {}).get("readyToUse")
        if (ready and not meta.get("deletionTimestamp")) or uid in self._busy:
            return
        self._busy.add(uid)
        self._background.start(self._care(uid), f"snapshot {meta['name']}")

    async def _care(self, uid: str) -> None:
        """Take one step after another until the snapshot is ready, or gone."""
        try:
            while (snapshot := self._mirrors["snapshots"].objects.get(uid)) is not None:
                if snapshot["metadata"].get("deletionTimestamp"):
                    await self._delete(snapshot)
                    return
                try:
                    await self._take(snapshot)
                    return
                except CannotTake as error:
                    await self._say(snapshot, {"readyToUse": False, "error": {"message": str(error), "time": now()}})
                except (ApiError, OSError) as error:
                    log.warning("snapshot %s: %r", snapshot["metadata"]["name"], error)
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        finally:
            self._busy.discard(uid)

    async def _take(self, snapshot: Object) -> None:
        snapshot_class, volume = await self._class_of(snapshot), self._volume_of(snapshot)
        handle = f"snapshot-{snapshot['metadata']['uid']}"
        await self._hold(snapshot, [_HELD])
        await asyncio.sleep(self._options.provision_delay)
        source, target = directory_of(volume, self._options.volumes), self._options.snapshots / handle
        await asyncio.to_thread(_copy, source, target)
        content = content_for(snapshot, snapshot_class, volume, handle)
        await self._api.create_missing(f"{ROOT}/volumesnapshotcontents", content)
        moment, size = now(), volume["spec"]["capacity"]["storage"]
        path = f"{ROOT}/volumesnapshotcontents/{content['metadata']['name']}/status"
        await self._api.merge(path, {"status": {"snapshotHandle": handle, "readyToUse": True}})
        bound = {"boundVolumeSnapshotContentName": content["metadata"]["name"], "creationTime": moment}
        await self._say(snapshot, bound | {"readyToUse": True, "restoreSize": size, "error": None})

    async def _class_of(self, snapshot: Object) -> Object:
        name = snapshot["spec"].get("volumeSnapshotClassName") or CLASS
        try:
            found = await self._api.get(f"{ROOT}/volumesnapshotclasses/{name}")
        except ApiError as error:
            if error.status == 404:
                raise CannotTake(f'failed to get snapshot class {name}: "{name}" not found') from error
            raise
        if found["driver"] != DISK:
            raise CannotTake(f"snapshot class {name} is of driver {found['driver']}, not {DISK}")
        return found

    def _volume_of(self, snapshot: Object) -> Object:
        name, namespace = snapshot["spec"]["source"].get("persistentVolumeClaimName"), snapshot["metadata"]["namespace"]
        claim = self._mirrors["claims"].find(name, namespace) if name else None
        volume = self._mirrors["volumes"].find((claim or {}).get("spec", {}).get("volumeName") or "")
        if volume is None:
            raise CannotTake(f"failed to get volume of claim {namespace}/{name}: it is not bound")
        if (volume["spec"].get("csi") or {}).get("driver") != DISK:
            raise CannotTake(f"volume {volume['metadata']['name']} is not of driver {DISK}")
        return volume

    async def _delete(self, snapshot: Object) -> None:
        """Delete what the class says goes with the object, then let the object go."""
        name = f"snapcontent-{snapshot['metadata']['uid']}"
        with ignoring(404):
            content = await self._api.get(f"{ROOT}/volumesnapshotcontents/{name}")
            if content["spec"]["deletionPolicy"] == "Delete":
                handle = content["status"]["snapshotHandle"]
                await asyncio.to_thread(shutil.rmtree, self._options.snapshots / handle, ignore_errors=True)
                await self._api.delete(f"{ROOT}/volumesnapshotcontents/{name}")
        await self._hold(snapshot, None)

    async def _hold(self, snapshot: Object, finalizers: list[str] | None) -> None:
        with ignoring(404):
            await self._api.merge(_path(snapshot), {"metadata": {"finalizers": finalizers}})

    async def _say(self, snapshot: Object, status: Object) -> None:
        with ignoring(404):
            await self._api.merge(f"{_path(snapshot)}/status", {"status": status})


def content_for(snapshot: Object, snapshot_class: Object, volume: Object, handle: str) -> Object:
    """Build the VolumeSnapshotContent that stands for the copy `handle`."""
    meta = snapshot["metadata"]
    reference = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot"}
    reference |= {key: meta[key] for key in ("namespace", "name", "uid")}
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotContent",
        "metadata": {"name": f"snapcontent-{meta['uid']}"},
        "spec": {
            "deletionPolicy": snapshot_class["deletionPolicy"],
            "driver": snapshot_class["driver"],
            "source": {"volumeHandle": volume["spec"]["csi"]["volumeHandle"]},
            "volumeSnapshotClassName": snapshot_class["metadata"]["name"],
            "volumeSnapshotRef": reference,
        },
    }


def _path(snapshot: Object) -> str:
    return f"{ROOT}/namespaces/{snapshot['metadata']['namespace']}/volumesnapshots/{snapshot['metadata']['name']}"


def _copy(source: Path, target: Path) -> None:
    """Copy a directory that is being written to; what an earlier attempt left is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        shutil.copytree(source, target, symlinks=True)
    except shutil.Error as error:
        gone = [name for name, _, why in error.args[0] if "No such file" not in why]
        if gone:
            raise OSError(f"cannot copy {', '.join(gone[:3])}") from error
