"""A rig: a real engine and a real host with the sample app, as processes on real sockets."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "sample_app"
WEBHOOK = "/runtime/webhooks/durabletask"


def eventually[T](read: Callable[[], T], seconds: float = 10.0) -> T:
    """Read until the answer is true; fail with the last one."""
    end = time.monotonic() + seconds
    while not (answer := read()):
        assert time.monotonic() < end, f"still {answer!r} after {seconds} s"
        time.sleep(0.03)
    return answer


class Process:
    """One helper process; `ready` holds what it said when it was ready."""

    def __init__(self, log: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "local.functions", *arguments]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:  # select() itself takes no descriptor over 1023
            selector.register(self._process.stdout, selectors.EVENT_READ)
            readable = selector.select(30)
        line = self._process.stdout.readline() if readable else ""
        assert line.startswith("ready "), f"not ready: {line!r}\n{self.log.read_text()[-3000:]}"
        self.ready = json.loads(line.removeprefix("ready "))

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait until it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=10)

    def wait(self, seconds: float = 10) -> int:
        return self._process.wait(timeout=seconds)


class Rig:
    """An engine and a host, with calls for what the tests do."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        app: Path = SAMPLE,
        *,
        real_extension: bool = False,
    ) -> None:
        self.folder = folder
        self.ticks, self.faults = folder / "ticks.jsonl", folder / "faults.json"
        own = ("engine", "--db", str(folder / "engine.db"), "--port", free_port(), "--app", str(app))
        started = ("storage", "--dir", str(folder / "azurite")) if real_extension else own
        self.engine = Process(folder / "engine.log", *started, environment=environment)
        ready = self.engine.ready
        durable = ("--storage", ready["connection"]) if real_extension else ("--engine", ready["address"])
        self._environment = {
            "TICKS": str(self.ticks),
            "TICK_SCHEDULE": "* * * * * *",
            "AzureWebJobs.switched_off.Disabled": "true",
            "SAMPLE_SETTING": "from the environment",
            **(environment or {}),
        }
        (folder / "keys.json").write_text(json.dumps({"functions": {"guarded": "the-own-key-of-one-function"}}))
        self.host = Process(
            folder / "host.log",
            *("host", "--app", str(app), *durable, "--port", free_port()),
            *("--keys", str(folder / "keys.json"), "--faults", str(self.faults)),
            environment=self._environment,
        )
        self.keys = json.loads((folder / "keys.json").read_text())
        self.url = self.host.ready["url"]
        self.http = httpx.Client(base_url=self.url, timeout=30, headers={"x-functions-key": self.keys["master"]})

    def close(self) -> None:
        self.http.close()
        self.host.stop()
        self.engine.stop()

    def start(self, orchestrator: str, given: object, instance: str | None = None) -> str:
        """Start an orchestration through the app and return its id."""
        query = {"id": instance} if instance else {}
        started = self.http.post(f"/api/runs/{orchestrator}", params=query, json=given)
        assert started.status_code == 202, started.text
        return str(started.json()["id"])

    def status(self, instance: str, **query: str) -> dict[str, Any]:
        answer = self.http.get(f"{WEBHOOK}/instances/{instance}", params=query)
        return {"code": answer.status_code, **(answer.json() if answer.content else {})}

    def result(self, instance: str, seconds: float = 15) -> Any:
        """Wait for the end and return the output of a completed run."""
        status = eventually(lambda: (s := self.status(instance))["code"] == 200 and s, seconds)
        assert status["runtimeStatus"] == "Completed", status
        return status["output"]

    def run(self, orchestrator: str, given: object, seconds: float = 15) -> Any:
        return self.result(self.start(orchestrator, given), seconds)

    def operate(self, instance: str, verb: str, method: str = "POST", **arguments: Any) -> httpx.Response:
        return self.http.request(method, f"{WEBHOOK}/instances/{instance}{verb and '/' + verb}", **arguments)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def run_engine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an engine that is expected to end by itself."""
    command = [sys.executable, "-m", "local.functions", "engine", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


def free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
