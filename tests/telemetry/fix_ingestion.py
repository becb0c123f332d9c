"""What Application Insights would receive: an ingestion endpoint on loopback, over TLS, that keeps every item."""

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

KEY = "00000000-0000-0000-0000-00000000000a"
TABLES = {
    "EventData": "AppEvents",
    "MessageData": "AppTraces",
    "MetricData": "AppMetrics",
    "RemoteDependencyData": "AppDependencies",
    "RequestData": "AppRequests",
    "ExceptionData": "AppExceptions",
}
"""Base type on the wire → table of the workspace.

Source: learn.microsoft.com/azure/azure-monitor/app/convert-classic-resource"""


class Ingestion:
    """Serves until closed. `authority` is a folder with `ca.key` and `ca.pem`, read when the first client comes."""

    def __init__(self, authority: Path) -> None:
        self.items: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.tokens: set[str] = set()
        self._authority = authority
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def connection_string(self) -> str:
        url = f"https://127.0.0.1:{self._server.server_address[1]}/"
        return f"InstrumentationKey={KEY};IngestionEndpoint={url};LiveEndpoint={url}"

    def table(self, name: str) -> list[dict[str, Any]]:
        return [i["data"]["baseData"] for i in list(self.items) if TABLES.get(i["data"]["baseType"]) == name]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Properties of every event of this name."""
        return [e["properties"] for e in self.table("AppEvents") if e["name"] == name]

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for item in self.table("AppMetrics"):
            for metric in item["metrics"]:
                found.setdefault(metric["name"], []).append(
                    {"value": metric["value"], **(item.get("properties") or {})}
                )
        return found

    def wait(self, what: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it was not sent"
            time.sleep(0.1)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = ((self._authority / name).read_bytes() for name in ("ca.pem", "ca.key"))
        trustme.CA.from_pem(*files).issue_cert("127.0.0.1").configure_cert(context)
        return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, owner: Ingestion) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        super().finish_request(self.owner.context().wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        text = body.decode()
        items = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines()]
        owner = self.server.owner  # type: ignore[attr-defined]
        if "/track" in self.path:
            owner.tokens.add(self.headers.get("Authorization", ""))
            owner.raw.append(text)
            owner.items.extend(items)
        answer = json.dumps({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""
