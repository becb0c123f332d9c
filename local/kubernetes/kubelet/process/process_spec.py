"""Decide how a container becomes a process: command, environment, working directory, and what it may write. Pure.

The order of the environment is a runtime's: what the machine gives, then the image, then the pod. Mount paths and
Service names are rewritten in what the image and the pod say; addresses and directories that the kubelet adds are real
already. An image with a root of its own sees its mounts where the pod says, so there no path is rewritten.
"""

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.kubernetes.kubelet.api import Object
from local.kubernetes.kubelet.environment import expand
from local.kubernetes.kubelet.network import service_names
from local.kubernetes.kubelet.network.service_names import Addresses
from local.kubernetes.kubelet.process import paths
from local.kubernetes.kubelet.process.image import Image
from local.kubernetes.kubelet.process.own_root import OwnMount
from local.kubernetes.kubelet.storage.volumes import Mount

_EVERYWHERE_WRITABLE = ("/dev", "/proc", "/tmp", "/var/tmp")  # noqa: S108
_WILDCARD_ADDRESSES = ("0.0.0.0", "::", "[::]", "*")  # noqa: S104
_HOST_OPTIONS = ("-h", "--host", "--hostname")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container finds around it."""

    namespace: str
    pod_name: str
    pod_ip: str
    scratch: Path  # the container's own directory, in place of its image's file system
    services: Addresses
    api_server: tuple[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)  # what the node gives every container


@dataclass(frozen=True, slots=True)
class OwnRoot:
    """What `own_root.enter` takes."""

    mounts: Sequence[OwnMount]
    place: str
    directory: str


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A container ready to be started."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    mounts: Mapping[str, str]
    writable: tuple[str, ...]
    keep_out: tuple[str, ...]
    namespace: str
    termination_log: Path
    own_directories: tuple[Path, ...] = ()
    """What the image brings, as far as no volume covers it; made when the container starts."""
    own_root: OwnRoot | None = None

    def rewrite_command(self, command: Sequence[str], services: Addresses) -> tuple[str, ...]:
        """Rewrite a command given from outside, of exec or of a probe, as the container's own."""
        return _rewrite_command(command, self.mounts, services, self.namespace)


def decide(
    container: Object, image: Image, values: Mapping[str, str], mounts: Sequence[Mount], around: Surroundings
) -> ProcessSpec:
    """Turn a container into a process; `values` is its resolved `env` and `envFrom`."""
    termination_log = around.scratch / "termination-log"
    own = _image_directories(image, mounts, around.scratch)
    places = own | {mount.path: str(mount.directory) for mount in mounts}
    places[container.get("terminationMessagePath") or "/dev/termination-log"] = str(termination_log)
    seen = {} if image.own_root else places
    command = [expand(text, values) for text in container.get("command") or image.entrypoint]
    arguments = container.get("args") or ([] if container.get("command") else image.arguments)
    command += [expand(text, values) for text in arguments]
    directory = container.get("workingDir") or image.working_directory
    return ProcessSpec(
        command=_rewrite_command(command, seen, around.services, around.namespace),
        environment=_environment(image, values, seen, around),
        directory=_working_directory(directory, places, around.scratch),
        mounts=seen,
        writable=(
            str(around.scratch),
            *(str(mount.directory) for mount in mounts if not mount.read_only),
            *_EVERYWHERE_WRITABLE,
        ),
        keep_out=tuple(str(mount.directory) for mount in mounts if mount.read_only),
        namespace=around.namespace,
        termination_log=termination_log,
        own_directories=tuple(map(Path, own.values())),
        own_root=_own_root(places, mounts, directory, around.scratch) if image.own_root else None,
    )


def _own_root(places: Mapping[str, str], mounts: Sequence[Mount], directory: str, scratch: Path) -> OwnRoot:
    read_only = {mount.path for mount in mounts if mount.read_only}
    lain = {path: (path, source, path in read_only) for path, source in places.items()}
    if paths.locate(directory, places) is None and directory.strip("/"):
        lain[directory] = (directory, str(_working_directory(directory, places, scratch)), False)
    return OwnRoot(list(lain.values()), str(scratch / "root"), directory)


def _image_directories(image: Image, mounts: Sequence[Mount], scratch: Path) -> dict[str, str]:
    """Give every directory of the image that no volume covers a place of its own."""
    covered = {posixpath.normpath(mount.path): str(mount.directory) for mount in mounts}
    return {path: str(scratch / path[1:]) for path in image.directories if paths.locate(path, covered) is None}


def _environment(
    image: Image, values: Mapping[str, str], mounts: Mapping[str, str], around: Surroundings
) -> dict[str, str]:
    result = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(around.scratch),
        "TMPDIR": str(around.scratch / "tmp"),
        "HOSTNAME": around.pod_name,
        "PYTHONDONTWRITEBYTECODE": "1",
        "KUBERNETES_SERVICE_HOST": around.api_server[0],
        "KUBERNETES_SERVICE_PORT": str(around.api_server[1]),
        # For programs that keep container paths in their data, as Open WebUI does in `file.path`.
        "KUBELET_MOUNTS": json.dumps(dict(mounts)),
        **around.environment,
    }
    for name, value in image.environment.items():
        result[name] = value if name == "PATH" else paths.rewrite(value, mounts)
    for name, value in values.items():
        text = service_names.rewrite_hosts(
            value, around.services, around.namespace, bare=service_names.is_host_variable(name)
        )
        result[name] = paths.rewrite(text, mounts)
    result["POD_IP"] = around.pod_ip
    if result.get("HOST", "0.0.0.0") in _WILDCARD_ADDRESSES:  # noqa: S104
        result["HOST"] = around.pod_ip  # every pod listens on its own address, so that their ports do not clash
    return result


def _rewrite_command(
    command: Sequence[str], mounts: Mapping[str, str], services: Addresses, namespace: str
) -> tuple[str, ...]:
    rewritten = []
    for before, text in zip(["", *command], command, strict=False):
        with_hosts = service_names.rewrite_hosts(text, services, namespace, bare=before in _HOST_OPTIONS)
        rewritten.append(paths.rewrite(with_hosts, mounts))
    return tuple(rewritten)


def _working_directory(wanted: str, mounts: Mapping[str, str], scratch: Path) -> Path:
    """Find the working directory: within a mount, else a directory of the container's own, never one of the machine."""
    located = paths.locate(wanted, mounts)
    return Path(located) if located else scratch / wanted.strip("/")
