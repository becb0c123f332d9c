"""Child processes: started, awaited, started again when they were killed, and ended by the pid that we know."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120


class Child:
    """One `python -m local.…` process. Its log is a file; `ready` is what it said when it began to serve."""

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.arguments = [sys.executable, "-m", "local.rehearsal.mortal", str(os.getpid()), *arguments]
        self.log = log
        self.environment = dict(environment or {})
        self.ready: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None
        self._wanted = False

    def start(self, *, keep_alive: bool = False) -> dict[str, Any]:
        """Start and wait for its `ready` line; with `keep_alive` it is started again whenever it dies."""
        self._wanted = True
        self.ready = self._spawn()
        if keep_alive:
            threading.Thread(target=self._watch, daemon=True, name=f"keep-{self.name}").start()
        return self.ready

    def stop(self, grace_seconds: float = 10) -> None:
        """End it, gently first."""
        self._wanted = False
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it as a machine that goes does; one that is kept alive is started again."""
        if self._process is not None:
            self._process.kill()

    def _spawn(self) -> dict[str, Any]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.environment}
        with self.log.open("a") as log:
            process = subprocess.Popen(
                self.arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._process = process
        return self._await_ready(process)

    def _await_ready(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        stdout = process.stdout
        if stdout is None:
            raise RuntimeError("no pipe")
        for line in stdout:
            if line.startswith("ready "):
                threading.Thread(target=_drain, args=(stdout, self.log), daemon=True).start()
                found: dict[str, Any] = json.loads(line.removeprefix("ready "))
                return found
        code = process.wait()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        raise ConfigurationError(f"{self.name} did not start (exit code {code}):\n{tail}", hint=f"See {self.log}.")

    def _watch(self) -> None:
        while self._wanted:
            process = self._process
            if process is not None:
                process.wait()
            if not self._wanted:
                return
            with self.log.open("a") as log:
                log.write(f"{self.name} ended; starting it again\n")
            try:
                self._spawn()
            except ConfigurationError:
                time.sleep(1)


def _drain(stream: Any, log: Path) -> None:
    with log.open("a") as file:
        for line in stream:
            file.write(line)


class Children:
    """All children of one rehearsal, ended in reverse order."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        keep_alive: bool = False,
    ) -> dict[str, Any]:
        child = Child(name, arguments, self._logs / f"{name}.log", environment)
        self._children.append(child)
        return child.start(keep_alive=keep_alive)

    def kill(self, name: str) -> None:
        """SIGKILL the child of this name."""
        for child in self._children:
            if child.name == name:
                child.kill()

    def stop(self) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children.clear()


def wait_until[T](look: Callable[[], T | None], what: str, seconds: float = READY_SECONDS) -> T:
    """Poll until there is an answer; ConfigurationError names what did not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise ConfigurationError(f"{what} did not come within {seconds:g} s")
