"""The HTTP server: the identity endpoint in plain HTTP, and an HTTPS proxy that ends the TLS itself.

The SDK clients keep the real host names; `HTTPS_PROXY` brings them here. CONNECT is accepted for the hosts that exist
and refused with 403 for any other, so nothing of the app leaves the machine.
"""

import contextlib
import json
import logging
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.azure import identity
from local.azure.endpoints import Endpoints
from local.azure.protocol import ConnectionDropped, Reply, Request

log = logging.getLogger(__name__)


class AzureServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1 only."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, endpoints: Endpoints, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.endpoints = endpoints
        self.tls = tls

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a client went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection. After CONNECT the same class serves the requests inside the tunnel."""

    protocol_version = "HTTP/1.1"
    server_version = "local-azure"
    timeout = 120  # an idle connection is closed
    server: AzureServer
    tunnel_host = ""  # set inside a tunnel

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        endpoints = self.server.endpoints
        if port != "443" or not endpoints.serves(host.lower()):
            log.warning("refused: the app wanted to reach %s, which does not exist here", self.path)
            endpoints.store.log_call("CONNECT", host.lower(), "", 403)
            return self._refuse(f"{self.path} is not one of the local Azure endpoints")
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError), self.server.tls.wrap_socket(self.connection, server_side=True) as tunnel:
            inner = type("_TunnelHandler", (_Handler,), {"tunnel_host": host.lower()})
            inner(tunnel, self.client_address, self.server)
        return None

    def _serve(self) -> None:
        request = self._request()
        try:
            if self.tunnel_host:
                reply = self.server.endpoints.answer(request)
            elif request.path == identity.PATH:
                reply = self.server.endpoints.answer_identity(request)
            else:
                log.warning("refused: %s %s in plain HTTP", self.command, self.path)
                return self._refuse(f"{self.path} is not served in plain HTTP")
        except ConnectionDropped:
            self.close_connection = True
            return None
        return self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _request(self) -> Request:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return Request(
            method=self.command,
            host=self.tunnel_host or "identity",
            path=url.path if not url.netloc else self.path,
            query=dict(parse_qsl(url.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(content) if content else None,
        )

    def _send(self, reply: Reply) -> None:
        content = reply.encoded()
        self.send_response(reply.status)
        for name, value in {**reply.all_headers(), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, reason: str) -> None:
        self.close_connection = True
        self._send(Reply(403, {"error": {"code": "NotLocal", "message": reason}}, {"Connection": "close"}))

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
