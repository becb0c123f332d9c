"""However little of the traces is kept, every event and every warning arrives, with the run that it belongs to."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from fix_ingestion import Ingestion

ROOT = Path(__file__).resolve().parents[2]
COUNT = 200
TELLS = """
import logging, os
from opentelemetry import _logs, trace
from shared.adapters.azure_monitor import configure
from shared.model.settings import read_settings
from shared.telemetry import Event, activity, announce, bound, conclude

configure(read_settings(os.environ))
log = logging.getLogger("phases.run.activity")
with bound(run="run-0001"):
    for i in range(int(os.environ["COUNT"])):
        with activity("cut_over", "", phase="cut_over") as span:
            announce(Event.CUT_OVER, "stopped", {"mark": "stop"})
            log.warning("cut_over: tried again")
            conclude(span, "done")
trace.get_tracer_provider().force_flush()
_logs.get_logger_provider().force_flush()
"""


class _Identity(BaseHTTPRequestHandler):
    """The endpoint that gives a managed identity its tokens. Source: the App Service protocol, 2019-08-01."""

    def do_GET(self) -> None:
        token = {"access_token": "a.b.c", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        body = json.dumps({**token, "resource": "https://monitor.azure.com"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def identity() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Identity)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/msi/token"
    server.shutdown()
    server.server_close()


def tell(identity: str, folder: Path, **sampler: str) -> Ingestion:
    """Let a process of its own tell COUNT times; what arrived."""
    authority = trustme.CA()
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (folder / "ca.key").write_bytes(authority.private_key_pem.bytes())
    ingestion = Ingestion(folder)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "AZURE_"))},
        "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string,
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "IDENTITY_ENDPOINT": identity,
        "IDENTITY_HEADER": "x",
        "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
        "NO_PROXY": "127.0.0.1",
        "COUNT": str(COUNT),
        **sampler,
    }
    try:
        subprocess.run([sys.executable, "-c", TELLS], cwd=ROOT, env=environment, check=True, timeout=120)
        ingestion.wait(lambda: len(ingestion.events("cut_over")) >= COUNT, 20)
    finally:
        ingestion.close()
    return ingestion


def test_of_the_traces_one_in_a_hundred_is_kept_and_of_the_events_all(identity: str, tmp_path: Path) -> None:
    sent = tell(identity, tmp_path, OTEL_TRACES_SAMPLER="microsoft.fixed_percentage", OTEL_TRACES_SAMPLER_ARG="0.01")
    assert len(sent.events("cut_over")) == COUNT
    assert {event["run"] for event in sent.events("cut_over")} == {"run-0001"}
    assert len(warnings(sent)) == COUNT
    assert len(spans(sent)) < COUNT / 4
    assert {item.get("sampleRate", 100) for item in sent.items if item["data"]["baseType"] == "EventData"} == {100}


def test_without_a_word_from_the_operator_nothing_is_sampled_at_all(identity: str, tmp_path: Path) -> None:
    sent = tell(identity, tmp_path)
    assert len(sent.events("cut_over")) == len(warnings(sent)) == len(spans(sent)) == COUNT


def warnings(sent: Ingestion) -> list[dict[str, Any]]:
    return [t for t in sent.table("AppTraces") if t["properties"].get("run") == "run-0001" and "tried" in t["message"]]


def spans(sent: Ingestion) -> list[dict[str, Any]]:
    return [d for d in sent.table("AppDependencies") if d["name"] == "cut_over"]
