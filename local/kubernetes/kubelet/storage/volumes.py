"""A pod's volumes as directories, and the mounts of a container in them.

Claims are waited for: bound, and for a disk attached to this node. ConfigMaps, Secrets and projected sources are
written out once, when the pod starts. `hostPath` is refused: a manifest must not reach into this machine.
"""

import asyncio
import logging
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.kubernetes.kubelet.api import Api, ApiError, Mirror, Object
from local.kubernetes.kubelet.environment import ConfigurationMissing, ReadEntries, entries_of, expand, field_value
from local.kubernetes.kubelet.events import Recorder
from local.kubernetes.kubelet.storage.drivers import DISK, directory_of

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 0.1
_WARN_AFTER_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Mount:
    """A path that a container sees and the directory, or file, behind it."""

    path: str
    directory: Path
    read_only: bool


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that is ready to be mounted."""

    directory: Path
    read_only: bool = False
    claim: str = ""
    """The claim that it belongs to; empty: a volume of the pod's own."""
    capacity: str = ""
    """Of the claim, a quantity."""


class NotReady(Exception):
    """The volume cannot be mounted yet; the message says what it waits for."""


class PodVolumes:
    """Makes a pod's volumes ready, one after the other."""

    def __init__(self, api: Api, events: Recorder, *, node: str, volumes: Path, mirrors: Mapping[str, Mirror]) -> None:
        self._api, self._events, self._node, self._volumes = api, events, node, volumes
        self._mirrors = mirrors

    async def prepare(self, pod: Object, directory: Path, read: ReadEntries) -> dict[str, Volume]:
        """Wait for every volume of the pod; the ones of its own lie in `directory`."""
        ready = {}
        for volume in pod["spec"].get("volumes") or []:
            ready[volume["name"]] = await self._wait(pod, volume, directory / volume["name"], read)
        return ready

    async def _wait(self, pod: Object, volume: Object, directory: Path, read: ReadEntries) -> Volume:
        waited = 0.0
        while True:
            try:
                return await self._prepare(pod, volume, directory, read)
            except (NotReady, ConfigurationMissing, ApiError, OSError) as error:
                if waited % _WARN_AFTER_SECONDS < _LOOK_AGAIN_SECONDS and (waited or not isinstance(error, NotReady)):
                    message = f'MountVolume.SetUp failed for volume "{volume["name"]}": {error}'
                    await self._events.warning(pod, "FailedMount", message)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            waited += _LOOK_AGAIN_SECONDS

    async def _prepare(self, pod: Object, volume: Object, directory: Path, read: ReadEntries) -> Volume:
        if "persistentVolumeClaim" in volume:
            source = volume["persistentVolumeClaim"]
            return self._claimed(pod, source["claimName"], read_only=bool(source.get("readOnly")))
        if "hostPath" in volume:
            raise NotReady("hostPath volumes are not served by this kubelet")
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        if "configMap" in volume:
            source = volume["configMap"]
            await self._write(directory, "configmaps", source, source["name"], read)
        elif "secret" in volume:
            source = volume["secret"]
            await self._write(directory, "secrets", source, source["secretName"], read)
        elif "downwardAPI" in volume:
            self._write_fields(directory, volume["downwardAPI"], pod)
        elif "projected" in volume:
            await self._project(directory, volume["projected"], pod, read)
        elif "emptyDir" not in volume:
            raise NotReady(f"volumes of kind {', '.join(set(volume) - {'name'})} are not served by this kubelet")
        return Volume(directory, read_only="emptyDir" not in volume)

    def _claimed(self, pod: Object, name: str, *, read_only: bool) -> Volume:
        """Return the volume of a bound and attached claim; raises NotReady."""
        claim = self._mirrors["claims"].find(name, pod["metadata"]["namespace"])
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise NotReady(f'claim "{name}" is not bound')
        volume = self._mirrors["volumes"].find(claim["spec"]["volumeName"])
        if volume is None:
            raise NotReady(f'volume "{claim["spec"]["volumeName"]}" is not there')
        if (volume["spec"].get("csi") or {}).get("driver") == DISK and not self._attached(volume["metadata"]["name"]):
            raise NotReady(f'volume "{volume["metadata"]["name"]}" is not attached to node {self._node}')
        directory = directory_of(volume, self._volumes)
        if "csi" in volume["spec"]:
            directory.mkdir(parents=True, exist_ok=True)
        capacity = ((claim.get("status") or {}).get("capacity") or {}).get("storage", "")
        return Volume(directory, read_only, name, str(capacity))

    def _attached(self, volume: str) -> bool:
        return any(
            attachment["spec"]["source"].get("persistentVolumeName") == volume
            and attachment["spec"]["nodeName"] == self._node
            and (attachment.get("status") or {}).get("attached")
            and not attachment["metadata"].get("deletionTimestamp")
            for attachment in self._mirrors["attachments"].objects.values()
        )

    async def _write(self, directory: Path, kind: str, source: Object, name: str, read: ReadEntries) -> None:
        entries = await read(kind, name)
        if entries is None and not source.get("optional"):
            raise NotReady(f'{kind[:-1]} "{name}" not found')
        wanted = {item["key"]: item for item in source.get("items") or []}
        if missing := wanted.keys() - (entries or {}).keys():
            raise NotReady(f"{kind[:-1]} {name} has no key {', '.join(sorted(missing))}")
        for key, content in (entries or {}).items():
            if not wanted or key in wanted:
                item = wanted.get(key, {})
                mode = item.get("mode") or source.get("defaultMode") or 0o644
                write_file(directory, item.get("path", key), content, mode)

    def _write_fields(self, directory: Path, source: Object, pod: Object) -> None:
        for item in source.get("items") or []:
            text = field_value(pod, (item.get("fieldRef") or {}).get("fieldPath", ""))
            write_file(directory, item["path"], text.encode(), 0o644)

    async def _project(self, directory: Path, projected: Object, pod: Object, read: ReadEntries) -> None:
        for source in projected.get("sources") or []:
            for key, kind in (("configMap", "configmaps"), ("secret", "secrets")):
                if key in source:
                    await self._write(directory, kind, source[key], source[key]["name"], read)
            if "downwardAPI" in source:
                self._write_fields(directory, source["downwardAPI"], pod)
            if "serviceAccountToken" in source:
                await self._write_token(directory, source["serviceAccountToken"], pod)

    async def _write_token(self, directory: Path, source: Object, pod: Object) -> None:
        account = pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/serviceaccounts/{account}/token"
        spec = {"expirationSeconds": source.get("expirationSeconds") or 3600}
        if source.get("audience"):
            spec["audiences"] = [source["audience"]]
        answer = await self._api.create(
            path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        )
        write_file(directory, source["path"], answer["status"]["token"].encode(), 0o600)


def write_file(directory: Path, path: str, content: bytes, mode: int) -> None:
    """Write one file of a volume; raises NotReady for a path that leads out of it."""
    if posixpath.isabs(path) or ".." in path.split("/"):
        raise NotReady(f"{path} leads out of the volume")
    file = directory / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(mode)


def reader(api: Api, namespace: str) -> ReadEntries:
    """Return what reads the ConfigMaps and Secrets of one namespace."""

    async def read(kind: str, name: str) -> dict[str, bytes] | None:
        try:
            return entries_of(kind, await api.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}"))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    return read


def mounts_of(container: Object, volumes: Mapping[str, Volume], environment: Mapping[str, str]) -> list[Mount]:
    """Lay out a container's mounts; a missing `subPath` becomes a directory. Raises ConfigurationMissing."""
    mounts = []
    for mount in container.get("volumeMounts") or []:
        volume = volumes.get(mount["name"])
        if volume is None:
            raise ConfigurationMissing(f"the pod has no volume {mount['name']}")
        below = mount.get("subPath") or expand(mount.get("subPathExpr") or "", environment)
        if posixpath.isabs(below) or ".." in below.split("/"):
            raise ConfigurationMissing(f"subPath {below} leads out of volume {mount['name']}")
        directory = volume.directory / below
        if not directory.exists():
            directory.mkdir(parents=True)
        mounts.append(Mount(mount["mountPath"], directory, bool(mount.get("readOnly")) or volume.read_only))
    return mounts
