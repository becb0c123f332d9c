"""What stands in for a container image: an entry point, an environment and commands on its PATH.

`python` and `python3` in an image are the interpreter that runs the kubelet, so Jobs in Open WebUI's image find numpy
and psycopg, and those in Locust's find Locust.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROJECT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True, slots=True)
class Image:
    """What an image brings: its entry point and arguments, environment and directories of its own file system."""

    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    working_directory: str = "/"
    own_root: bool = False
    """Whether it must see its mounts at their own paths."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Where the images' commands lie: small shell scripts, one folder an image, written once at start."""

    directory: Path
    python: Path
    open_webui: Path | None = None
    """The Python environment of a real Open WebUI; None: the stand-in."""

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
