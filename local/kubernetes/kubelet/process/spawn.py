"""Start a command in a container's surroundings: its directories, its pipes, and the launcher that becomes it."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from local.kubernetes.kubelet.process import launch
from local.kubernetes.kubelet.process.process_spec import ProcessSpec

_LAUNCHER = str(Path(launch.__file__).resolve())


class StartError(Exception):
    """The container's command could not be started: RunContainerError."""


def make_scratch(spec: ProcessSpec) -> None:
    """Make the directories that a container starts with."""
    places = [Path(spec.own_root.place)] if spec.own_root else []
    for directory in (spec.directory, Path(spec.environment["TMPDIR"]), *spec.own_directories, *places):
        directory.mkdir(parents=True, exist_ok=True)
    spec.termination_log.write_bytes(b"")


async def open_pipe() -> tuple[asyncio.StreamReader, int]:
    """Open a pipe for a container's output: what reads it, and the end that the process is given.

    Not asyncio's own: with that, waiting for a process lasts until whatever it left running has closed its output, too.
    """
    ours, theirs = os.pipe()
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
    )
    return reader, theirs


async def start_process(
    spec: ProcessSpec, command: Sequence[str], *, stdin: bool, output: int | None = None
) -> asyncio.subprocess.Process:
    """Start a command in a container's surroundings, in a session of its own. Raises StartError.

    `output` takes both standard output and error; without it the process has a pipe for each. The launcher holds a
    pipe that closes when it becomes the command; what it writes there is why it could not.
    """
    if not command:
        raise StartError("no command specified")
    ours, theirs = os.pipe()
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _LAUNCHER, _plan(spec, theirs), *command),
            stdin=pipe if stdin else nothing,
            stdout=pipe if output is None else output,
            stderr=pipe if output is None else output,
            cwd=spec.directory,
            env=dict(spec.environment),
            pass_fds=(theirs,),
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    failure = await asyncio.to_thread(_read_all, ours)
    if failure:
        await process.wait()
        raise StartError(failure)
    return process


def _plan(spec: ProcessSpec, failure: int) -> str:
    own = spec.own_root
    return json.dumps(
        {
            "writable": spec.writable,
            "keep_out": spec.keep_out,
            "own_root": (own.mounts, own.place, own.directory) if own else None,
            "failure": failure,
            "parent": os.getpid(),
        }
    )


def _read_all(handle: int) -> str:
    with os.fdopen(handle, "rb") as file:
        return file.read().decode("utf-8", "replace")
