"""The shipped rules, scrape format and dashboard on a real Prometheus, fed with what a cluster exposes."""

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from test_metrics import memory
from test_monitoring import TARGET

from api.metrics import render
from local.kubernetes.kubelet.serving.metrics import VolumeMeter, of_containers
from local.kubernetes.kubelet.storage.volumes import Volume
from local.prometheus import picture
from local.prometheus.board import panels, queries
from local.prometheus.kube_state import exposition
from local.prometheus.server import Prometheus, find_program
from shared.alerting.alert_rules import METRICS, rule_groups
from shared.alerting.dashboard import dashboard
from shared.rendering.prometheus_text import FORMAT, OPEN_METRICS

pytestmark = pytest.mark.skipif(not find_program("prometheus"), reason="no prometheus: scripts/prometheus.sh")
POD = "open-webui-6745bc55c-bttfx"
BOARD = dashboard(TARGET)


def cluster_objects(*, waiting=""):
    """A Deployment of two with its autoscaler, and one pod."""
    metadata = {"name": "open-webui", "namespace": "ollama"}
    deployment = {"metadata": metadata, "spec": {"replicas": 2}, "status": {"availableReplicas": 1}}
    autoscaler = {
        "metadata": metadata,
        "spec": {"minReplicas": 2, "maxReplicas": 7},
        "status": {"desiredReplicas": 2},
    }
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    pod = {
        "metadata": {"name": POD, "namespace": "ollama", "uid": "u"},
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "open-webui", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}],
        },
        "status": {"containerStatuses": [{"name": "open-webui", "restartCount": 1, "state": state}]},
    }
    return {"deployments": [deployment], "autoscalers": [autoscaler], "pods": [pod]}


def usage(began):
    """A pod that uses a fifth of a core."""
    cpu = {"usageCoreNanoSeconds": (time.time() - began) * 2e8}
    container = {"name": "open-webui", "cpu": cpu, "memory": {"workingSetBytes": 3 << 20}}
    return [{"podRef": {"namespace": "ollama", "name": POD, "uid": "u"}, "containers": [container]}]


class Exposed:
    """What the guard, a kubelet and kube-state-metrics say, on one port."""

    def __init__(self, folder):
        self.waiting, self.began, self.asked = "", time.time(), {}
        (folder / "a").write_bytes(b"x" * 1000)
        pod = SimpleNamespace(namespace="ollama", claimed=[Volume(folder, claim=TARGET.files_claim, capacity="100Gi")])
        guard = memory(ready=2, answering=2, connections_used=7, connections_for_users=35, slowest_answer_ms=20)
        guard.reading["at"] = datetime.now(UTC).isoformat()
        self.paths = {
            "/guard": lambda: (OPEN_METRICS, render({TARGET.key: guard}, open_metrics=True)),
            "/state": lambda: (FORMAT, exposition(**cluster_objects(waiting=self.waiting))),
            "/metrics": lambda: (FORMAT, VolumeMeter().read([pod])),
            "/cadvisor": lambda: (FORMAT, of_containers(usage(self.began))),
        }

    def handler(self):
        exposed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                exposed.asked[self.path] = self.headers["Accept"]
                kind, text = exposed.paths[self.path]()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    found = Exposed(tmp_path_factory.mktemp("share"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), found.handler())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.port = server.server_port
    yield found
    server.shutdown()


@pytest.fixture(scope="module")
def prometheus(exposed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    groups = json.loads(json.dumps(rule_groups(TARGET)).replace('"for": "2m"', '"for": "1s"'))
    (folder / "rules.json").write_text(json.dumps(groups))
    targets = [{"targets": [f"127.0.0.1:{exposed.port}"]}]
    jobs = [{"job_name": path[1:], "metrics_path": path, "static_configs": targets} for path in exposed.paths]
    times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"}
    config = {"global": times, "rule_files": ["rules.json"], "scrape_configs": jobs}
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "local.prometheus.server", "--config", str(folder / "prometheus.yaml")]
    process = subprocess.Popen(
        [*command, "--dir", str(folder / "samples")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield Prometheus(json.loads(process.stdout.readline().removeprefix("ready "))["url"])
    finally:
        process.terminate()
        process.wait(20)


def eventually(look, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not come")


def test_every_metric_is_exposed(prometheus):
    eventually(lambda: all(prometheus.query(name) for name in METRICS if "waiting" not in name))


def test_the_guard_is_asked_for_open_metrics(prometheus, exposed):
    eventually(lambda: prometheus.query("scaleout_guard_ticks_total"))
    assert "application/openmetrics-text" in exposed.asked["/guard"]
    eventually(lambda: set(prometheus.targets().values()) == {"up"})


def test_every_query_of_every_panel_has_data(prometheus):
    eventually(lambda: all(prometheus.query(query) for _, query in queries(BOARD)))


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Replicas answering", [2.0]),
        ("Connections taken", [0.2]),
        ("Share used", [1000 / (100 * 2**30)]),
        ("Memory", [float(3 << 20), float(1 << 30)]),
        ("Replicas", [1.0, 2.0, 2.0, 2.0, 7.0]),
    ],
)
def test_a_panel_shows_what_was_exposed(prometheus, title, expected):
    asked = [query for name, query in queries(BOARD) if name == title]
    found = eventually(lambda: all(map(prometheus.query, asked)) and [prometheus.query(query) for query in asked])
    assert [series[0][1][0][1] for series in found] == expected


def test_cpu_is_a_share_of_what_is_requested(prometheus):
    query = next(query for name, query in queries(BOARD) if name.startswith("CPU"))
    assert "[2m]" in query  # two samples also of a Prometheus that scrapes once a minute
    query = query.replace("[2m]", "[5s]")
    # a fifth of a core, of half a core; the first seconds know too little
    eventually(lambda: [round(series[1][0][1], 1) for series in prometheus.query(query)] == [0.4])
    assert [labels for labels, _ in prometheus.query(query)] == [{"pod": POD}]


def test_a_failing_pod_raises_its_alert_and_it_resolves_when_the_pod_is_well(prometheus, exposed):
    name = "OpenWebUIPodFailing"
    eventually(lambda: prometheus.alerts().get(name) == "inactive")
    exposed.waiting = "CrashLoopBackOff"
    eventually(lambda: prometheus.alerts()[name] == "firing")
    exposed.waiting = ""
    eventually(lambda: prometheus.alerts()[name] == "inactive")


def test_the_picture_holds_every_panel_and_no_gap(prometheus):
    eventually(lambda: all(prometheus.query(query) for _, query in queries(BOARD)))
    page = picture.draw(BOARD, prometheus, time.time() - 60, time.time())
    assert page.count("<section") == len(panels(BOARD))
    assert "No data" not in page
    assert f"{POD} &nbsp;3 MiB" in page


def test_a_panel_whose_metric_is_gone_says_so(prometheus):
    lost = json.loads(json.dumps(BOARD).replace("scaleout_connections_used", "scaleout_connections_lost"))
    page = picture.draw(lost, prometheus, time.time() - 60, time.time())
    assert page.count("No data") == 1  # the other panel still has its limit
