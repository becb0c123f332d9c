"""Runs the Open WebUI stand-in as a process on a database and a data directory of a test's own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOUNT = "/app/backend/data"


@dataclass(slots=True)
class Replica:
    """A running stand-in."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer; a dict is sent as JSON."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def json(self, path: str, body: Any = None, **headers: str) -> Any:
        status, _, answer = self.ask(path, body, **headers)
        assert status == 200, (status, answer)
        return json.loads(answer)

    def upload(self, name: str, content: bytes) -> Any:
        boundary = b"a-boundary-that-is-in-no-file"
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'.encode()
        body = b"--%s\r\n%s\r\nContent-Type: text/plain\r\n\r\n%s\r\n--%s--\r\n"
        kind = f"multipart/form-data; boundary={boundary.decode()}"
        return self.json("/api/v1/files/", body % (boundary, disposition, content, boundary), **{"Content-Type": kind})


def environment(database_url: str, data: Path, **more: str) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "HOSTNAME": "open-webui-1",
        "KUBELET_MOUNTS": json.dumps({MOUNT: str(data)}),
        **more,
    }


@contextmanager
def replica(database_url: str, data: Path, **more: str) -> Iterator[Replica]:
    """Run a stand-in until the block ends; raises AssertionError with its log when it does not start."""
    variables = environment(database_url, data, **more)
    log = data / f".log-{variables['PORT']}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.open_webui"],
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        while "ready {" not in log.read_text():
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"the stand-in ended with {process.returncode}: {log.read_text()}")
        yield Replica(process, f"http://127.0.0.1:{variables['PORT']}", log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_failure(database_url: str, data: Path, **more: str) -> str:
    """Run a stand-in that must not start; returns what it said."""
    ran = subprocess.run(
        [sys.executable, "-m", "local.open_webui"],
        env=environment(database_url, data, **more),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.returncode == 1, (ran.returncode, ran.stdout, ran.stderr)
    return ran.stdout


def copy_of_sample(extracted: Path, target: Path) -> Path:
    return Path(shutil.copytree(extracted, target))
