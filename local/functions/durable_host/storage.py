"""The storage account of the real extension: Azurite, on loopback, with its state in a folder.

The ports are kept in the folder, so that a connection string stays good over restarts.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

from local.loopback import free_port
from shared.errors import ConfigurationError

VARIABLE = "SCALEOUT_AZURITE"
"""Names the program; otherwise `azurite` is looked for on the path."""

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's only account. Source: learn.microsoft.com/azure/storage/common/storage-connect-azurite, "Well-known"."""
SERVICES = ("Blob", "Queue", "Table")
READY_SECONDS = 30.0
GRACE_SECONDS = 2.0


def find_azurite() -> str:
    """The program. ConfigurationError says how to get one."""
    found = os.environ.get(VARIABLE) or shutil.which("azurite")
    if not found or not shutil.which(found):
        hint = f"npm install azurite, and set {VARIABLE} to node_modules/.bin/azurite."
        raise ConfigurationError("no Azurite: the real extension keeps its state in a storage account", hint=hint)
    return found


async def serve(folder: Path) -> None:
    """Serve until SIGTERM or SIGINT; say `ready` with the connection string."""
    ports = _ports(folder)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listening = [
        word
        for service, port in ports.items()
        for word in (f"--{service.lower()}Host", "127.0.0.1", f"--{service.lower()}Port", str(port))
    ]
    with (folder / "azurite.log").open("ab") as log:
        azurite = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", find_azurite(), "--silent", "--skipApiVersionCheck"),
            *("--location", str(folder), *listening),
            stdout=log,
            stderr=log,
        )
    ended, asked = asyncio.create_task(azurite.wait()), asyncio.create_task(stop.wait())
    try:
        await _until_they_listen(ports, ended)
        print("ready", json.dumps({"connection": connection_string(ports)}), flush=True)
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            raise ConfigurationError(f"Azurite ended with {azurite.returncode}", hint=f"See {folder}/azurite.log.")
    finally:
        asked.cancel()
        await _end(azurite, ended)


async def _end(azurite: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """Gently first; it may wait for connections that nobody closes."""
    for end in (azurite.terminate, azurite.kill):
        with contextlib.suppress(ProcessLookupError):
            end()
        await asyncio.wait({ended}, timeout=GRACE_SECONDS)


def connection_string(ports: dict[str, int]) -> str:
    """What `AzureWebJobsStorage` is set to."""
    endpoints = (f"{service}Endpoint=http://127.0.0.1:{port}/{ACCOUNT}" for service, port in ports.items())
    return ";".join(["DefaultEndpointsProtocol=http", f"AccountName={ACCOUNT}", f"AccountKey={KEY}", *endpoints])


def _ports(folder: Path) -> dict[str, int]:
    """The port of each service: those of the last time, where there was one."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "ports.json"
    if not kept.exists():
        kept.write_text(json.dumps({service: free_port() for service in SERVICES}))
    found: dict[str, int] = json.loads(kept.read_text())
    return found


async def _until_they_listen(ports: dict[str, int], ended: asyncio.Task[int]) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            for port in ports.values():
                while not ended.done():
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        break
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise ConfigurationError(f"Azurite does not listen after {READY_SECONDS:.0f} s") from None
