"""The program with the extension: started with the app's functions, followed, and ended with our host.

Source of its variables: `Program.cs` of the program: HOST_JSON (whose `extensions.durableTask` the extension reads),
FUNCTIONS (what it has a function for), BRIDGE (where their bodies are), SHUTDOWN_SECONDS. `AzureFunctionsJobHost__…`
in the environment overrides single values, as in Azure.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from local.functions.runtime.worker import Function
from shared.errors import ConfigurationError

log = logging.getLogger(__name__)

VARIABLE = "SCALEOUT_DURABLE_HOST"
"""Names the program. Where it is not set, what needs the real extension does not run, and says so."""

READY_SECONDS = 60.0
OPENED = re.compile(r"gRPC.*?http://(?:127\.0\.0\.1|localhost):(\d+)")
"""The line with which the extension tells where it listens."""
CHATTER = "MS_DURABLE_FUNCTION_EVENTS_LOGS"
"""Begins the lines that the Functions host collects: one for each event of every instance."""
LONGEST_LINE = 1 << 24
SHUTDOWN_SECONDS = 2


def find_program() -> Path:
    """The program that the environment names. ConfigurationError says how to name one."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        hint = f"Set {VARIABLE} to the program, and SCALEOUT_AZURITE to Azurite; docs/local-durable.md."
        raise ConfigurationError(f"no program with the real durable extension: {VARIABLE} is not set", hint=hint)
    if not os.access(named, os.X_OK) or Path(named).is_dir():
        raise ConfigurationError(f"{VARIABLE} names {named}, which is no program")
    return Path(named).resolve()


@dataclass(frozen=True, slots=True)
class Setting:
    """What the program is started with. `storage`: a connection string; `folder`: where its files are."""

    program: Path
    storage: str
    host_json: Path
    folder: Path


class DurableHost:
    """The running program. It dies with this process, however that ends: the two are one instance of the app."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._process: asyncio.subprocess.Process | None = None
        self._log = setting.folder / "extension.log"

    async def start(self, functions: Sequence[Function], bridge: str) -> str:
        """Start it and return the address of its gRPC endpoint. ConfigurationError with the end of its log."""
        listed = self._setting.folder / "functions.json"
        listed.write_text(json.dumps([{"name": f.name, "bindings": [dict(b) for b in f.bindings]} for f in functions]))
        self._process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", str(self._setting.program)),
            env=self._environment(listed, bridge),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await self._opened(self._process)
        except TimeoutError:
            raise self._failed(f"said nothing of its gRPC endpoint within {READY_SECONDS:.0f} s") from None

    async def run(self) -> None:
        """Follow it; ConfigurationError when it ends by itself."""
        if self._process and self._process.stdout:
            with self._log.open("a") as file:
                async for line in self._process.stdout:
                    _keep(file, line)
            raise self._failed(f"ended with {await self._process.wait()}")

    async def drain(self, _seconds: float) -> None:
        """End it, gently first. It gives what runs its own time."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS + 1):
                await self._process.wait()
                return
        self._process.kill()
        await self._process.wait()

    def _environment(self, functions: Path, bridge: str) -> dict[str, str]:
        return os.environ | {
            "AzureWebJobsStorage": self._setting.storage,
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
            "SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
            "HOST_JSON": str(self._setting.host_json),
            "FUNCTIONS": str(functions),
            "BRIDGE": bridge,
        }

    async def _opened(self, process: asyncio.subprocess.Process) -> str:
        if process.stdout:
            with self._log.open("a") as file:
                async for line in process.stdout:
                    if opened := OPENED.search(_keep(file, line)):
                        return f"127.0.0.1:{opened[1]}"
        raise self._failed(f"ended with {await process.wait()} before it listened")

    def _failed(self, how: str) -> ConfigurationError:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
        return ConfigurationError(f"{self._setting.program} {how}:\n{tail}", hint=f"See {self._log}.")


def _keep(file: TextIO, line: bytes) -> str:
    """Write one line of its output to the log, unless it is chatter."""
    text = line.decode(errors="replace")
    if not text.startswith(CHATTER):
        file.write(text)
        file.flush()
    return text
