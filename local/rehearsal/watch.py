"""A real Prometheus that watches a rehearsal from its beginning, as an operator's would.

Then the rules and the dashboard that phase 7 left in the cluster are held against what it saw.

It scrapes the app's own endpoint with the scrape job that we ship, the kubelet, and a stand-in for kube-state-metrics.
Where there is no Prometheus on this machine, nothing is watched and the report says so.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from local.kubernetes.kubelet.api import read_kubeconfig
from local.prometheus import browser, picture
from local.prometheus.board import queries
from local.prometheus.monitoring_files import scrape_job
from local.prometheus.server import Prometheus, find_program
from local.rehearsal.current_state import Names
from local.rehearsal.processes import Children, wait_until
from local.rehearsal.world import World
from shared.errors import VerificationFailed
from shared.wire import JsonObject

GUARD_SETTINGS = {"SCALEOUT_GUARD_SCHEDULE": "*/5 * * * * *"}
"""The guard looks more often than once a minute, so that there is something to see."""
SCRAPE = "2s"
PATIENCE_SECONDS = 60.0
SILENT = "no prometheus on this machine: scripts/prometheus.sh"


@dataclass(frozen=True, slots=True)
class Site:
    """What is watched."""

    url: str
    key: str
    kubeconfig: Path
    folder: Path
    namespace: str
    deployment: str


@contextmanager
def watching(world: World, say: Callable[[str], None]) -> Iterator["Watch"]:
    """Watch a world while it goes through a migration."""
    names = Names()
    kubeconfig = world.kubeconfig or world.layout.run / "cluster" / "kubeconfig"
    folder = world.layout.run / "prometheus"
    watch = Watch(Site(world.url, world.key, kubeconfig, folder, names.namespace, names.deployment))
    try:
        say("Prometheus" if watch.open() else f"nothing watches: {SILENT}")
        yield watch
    finally:
        watch.close()


class Watch:
    """Prometheus and what it needs; `close` ends them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._children = Children(site.folder / "logs")
        self._rules = site.folder / "rules.json"
        self._began = time.time()
        self._prometheus: Prometheus | None = None

    def open(self) -> bool:
        """Begin to scrape; False where there is no Prometheus."""
        if find_program("prometheus") is None:
            return False
        folder = self.site.folder
        folder.mkdir(parents=True, exist_ok=True)
        kube_state = ["local.prometheus.kube_state", "--kubeconfig", str(self.site.kubeconfig)]
        state = self._children.start("kube-state", kube_state)["url"]
        config = folder / "prometheus.yaml"
        config.touch(mode=0o600)  # the app's key stands in it
        config.write_text(yaml.safe_dump(self._configuration(state)))
        command = ["local.prometheus.server", "--config", str(config), "--dir", str(folder / "samples")]
        self._prometheus = Prometheus(self._children.start("prometheus", command)["url"])
        return True

    def close(self) -> None:
        self._children.stop()

    def check(self, build: Path) -> JsonObject:
        """Load what phase 7 made, and hold it against what was scraped; VerificationFailed names what has no data."""
        prometheus = self._prometheus
        if prometheus is None:
            return {"watched": False, "why": SILENT}
        name = self.site.deployment
        self._rules.write_text(self._config_map(f"{name}-alert-rules", "rules.json"))
        prometheus.reload()
        board = json.loads(self._config_map(f"{name}-dashboard", "dashboard.json"))
        asked = queries(board)
        alerts = wait_until(lambda: self._judged(prometheus), "the first evaluation of the rules", PATIENCE_SECONDS)
        silent = self._await_data(prometheus, asked)
        build.mkdir(parents=True, exist_ok=True)
        page, photo = build / "dashboard.html", build / "dashboard.png"
        page.write_text(picture.draw(board, prometheus, self._began, time.time()))
        drawn = browser.photograph(page, photo, *picture.size(board))
        targets = prometheus.targets()
        found = {
            "watched": True,
            "targets": targets,
            "queries": len(asked),
            "alerts": alerts,
            "picture": str(photo.name) if drawn else "",
        }
        problems = [f"{title}: {query}" for title, query in silent]
        problems += [f"target {job}: {health}" for job, health in targets.items() if health != "up"]
        problems += [
            f"alert {alert}: {state}" for alert, state in alerts.items() if state not in {"inactive", "pending"}
        ]
        if problems:
            raise VerificationFailed("monitoring: " + "; ".join(problems))
        return found

    def _judged(self, prometheus: Prometheus) -> dict[str, str] | None:
        """All rules have been evaluated at least once."""
        states = prometheus.alerts()
        return states if states and "unknown" not in states.values() else None

    def _await_data(self, prometheus: Prometheus, asked: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The queries that still return nothing in the end."""
        end, silent = time.monotonic() + PATIENCE_SECONDS, asked
        while silent and time.monotonic() < end:
            silent = [(title, query) for title, query in silent if not prometheus.query(query)]
            time.sleep(0.5)
        return silent

    def _configuration(self, kube_state: str) -> JsonObject:
        text = json.dumps(scrape_job() | {"scheme": "http", "scrape_interval": SCRAPE, "scrape_timeout": SCRAPE})
        host = urlsplit(self.site.url).netloc
        guard = json.loads(text.replace("$SCALEOUT_HOST", host).replace("$SCALEOUT_KEY", self.site.key))
        nodes = [{"targets": self._nodes()}]
        kubelet = {"scheme": "https", "tls_config": {"insecure_skip_verify": True}, "static_configs": nodes}
        state = urlsplit(kube_state)
        return {
            "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": [str(self._rules)],
            "scrape_configs": [
                guard,
                {"job_name": "kube-state-metrics", "static_configs": [{"targets": [state.netloc]}]},
                {"job_name": "kubelet", **kubelet},
                {"job_name": "cadvisor", "metrics_path": "/metrics/cadvisor", **kubelet},
            ],
        }

    def _nodes(self) -> list[str]:
        """Address and port of every kubelet, as the nodes tell it."""
        found = []
        for node in self._api("/api/v1/nodes")["items"]:
            status = node["status"]
            address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
            found.append(f"{address}:{status['daemonEndpoints']['kubeletEndpoint']['Port']}")
        return found

    def _config_map(self, name: str, key: str) -> str:
        found = self._api(f"/api/v1/namespaces/{self.site.namespace}/configmaps/{name}")
        return str(found["data"][key])

    def _api(self, path: str) -> Any:
        credentials = read_kubeconfig(self.site.kubeconfig)
        answer = httpx.get(credentials.server + path, headers=credentials.headers, verify=credentials.tls or True)
        return answer.raise_for_status().json()
