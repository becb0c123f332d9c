"""A TLS server that answers /version to whoever shows the right token: enough to see how a client authenticates."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
import yaml


class KubernetesApi:
    """`accepted` are the tokens that it takes; `seen` the Authorization headers that came."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.seen: list[str] = []
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.seen.append(self.headers.get("Authorization", ""))
                good = self.headers.get("Authorization", "").removeprefix("Bearer ") in api.accepted
                version = {"gitVersion": "v1.36.0", "major": "1", "minor": "36", "platform": "linux/amd64"}
                names = ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion")
                body = {**version, **dict.fromkeys(names, "")} if good else {"kind": "Status", "code": 401}
                content = json.dumps(body).encode()
                self.send_response(200 if good else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def kubeconfig(self, user: dict[str, Any]) -> bytes:
        cluster = {
            "server": f"https://127.0.0.1:{self.server.server_address[1]}",
            "certificate-authority-data": base64.b64encode(self.authority).decode(),
        }
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": user}],
        }
        return yaml.safe_dump(content).encode()


@pytest.fixture
def kubernetes_api() -> Iterator[KubernetesApi]:
    api = KubernetesApi()
    yield api
    api.server.shutdown()
    api.server.server_close()
