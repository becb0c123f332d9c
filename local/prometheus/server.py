"""A real Prometheus on this machine, where there is one: started with a configuration, asked through its HTTP API.

    python -m local.prometheus.server --config FILE --dir DIR     prints `ready {"url": …}`

`scripts/prometheus.sh` unpacks Debian's. The process turns into Prometheus itself, so whoever ends it ends Prometheus.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from local.loopback import free_port
from shared.errors import ConfigurationError

UNPACKED = Path(__file__).resolve().parents[2] / "build" / "prometheus"
READY_SECONDS = 90.0

type Series = tuple[dict[str, str], list[tuple[float, float]]]
"""Labels, and (unix time, value) in order."""


def find_program(name: str) -> str | None:
    """Path of `prometheus` or `promtool`: `PROMTOOL=…`, what the script unpacked, the PATH; None: not here."""
    chosen, unpacked = os.environ.get(name.upper()), UNPACKED / name
    return chosen or (str(unpacked) if unpacked.exists() else shutil.which(name))


class Prometheus:
    """The HTTP API of a Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)

    def reload(self) -> None:
        """Read the configuration and the rule files again."""
        self._http.post("/-/reload").raise_for_status()

    def query(self, expression: str) -> list[Series]:
        """The expression now; ConfigurationError with Prometheus' own words when it is none."""
        return [(each["metric"], [_pair(each["value"])]) for each in self._ask("query", query=expression)["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The expression over time."""
        found = self._ask("query_range", query=expression, start=f"{start}", end=f"{end}", step=f"{step}")["result"]
        return [(each["metric"], [_pair(pair) for pair in each["values"]]) for each in found]

    def targets(self) -> dict[str, str]:
        """Job → `up`, or what went wrong in its last scrape."""
        found = self._ask("targets", state="active")["activeTargets"]
        return {each["scrapePool"]: each["lastError"] or each["health"] for each in found}

    def alerts(self) -> dict[str, str]:
        """Name of every alerting rule → inactive, pending or firing, or why it cannot be judged."""
        rules = [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError") or rule["state"] for rule in rules}

    def _ask(self, what: str, **parameters: str) -> Any:
        answer = self._http.get(f"/api/v1/{what}", params=parameters).json()
        if answer["status"] != "success":
            raise ConfigurationError(f"Prometheus refuses {parameters}: {answer['error']}")
        return answer["data"]


def _pair(found: list[Any]) -> tuple[float, float]:
    return float(found[0]), float(found[1])


def _await_ready(url: str, process: int) -> None:
    """Print the ready line once it serves, or end when it has ended."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and os.getppid() == process:
        try:
            if httpx.get(f"{url}/-/ready").is_success:
                print("ready " + json.dumps({"url": url}), flush=True)
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m local.prometheus.server", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", type=Path, required=True, help="prometheus.yaml")
    parser.add_argument("--dir", type=Path, required=True, help="where its samples are kept")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: a free one)")
    given = parser.parse_args()
    program = find_program("prometheus")
    if program is None:
        sys.exit("error: there is no prometheus here: run scripts/prometheus.sh")
    port = given.port or free_port()
    url, process = f"http://127.0.0.1:{port}", os.getpid()
    if os.fork() == 0:
        _await_ready(url, process)
        os._exit(0)
    options = [
        f"--config.file={given.config}",
        f"--storage.tsdb.path={given.dir}",
        "--log.level=warn",
        "--web.enable-lifecycle",
    ]
    os.execv(program, [program, *options, f"--web.listen-address=127.0.0.1:{port}"])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
