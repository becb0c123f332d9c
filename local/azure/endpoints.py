"""The endpoints behind one door: which hosts exist, which service answers, which fault strikes first."""

import logging
import secrets
import threading
import time
from pathlib import Path

from local.azure import identity, key_vault
from local.azure.access import Access
from local.azure.config import BadConfiguration, Configuration, Fault, read_configuration
from local.azure.pgbouncer import PgBouncer
from local.azure.protocol import ConnectionDropped, Reply, Request, ServiceError
from local.azure.resource_manager import arm
from local.azure.store import Operation, Store
from local.azure.tokens import TokenIssuer
from local.postgres.roles import set_allowed_extensions

log = logging.getLogger(__name__)
# These ask in the form of a write but change nothing.
_READING_ACTIONS = ("listclusterusercredential", "listclusteradmincredential")


class Endpoints:
    """Azure, as far as the app goes: the file says what exists, the directory keeps what changed."""

    def __init__(self, config_file: Path, directory: Path) -> None:
        self._file = config_file
        self._content = config_file.read_text()
        self._configuration = read_configuration(config_file)
        self._played: dict[int, int] = {}  # index of a fault → how often it struck
        self._lock = threading.Lock()
        self._directory = directory
        self._poolers: dict[str, PgBouncer] = {}
        self.store = Store(directory, self._put_in_force)
        self.identity_header = _kept_secret(directory / "identity-header")

    @property
    def configuration(self) -> Configuration:
        """The file's content, read again when it has changed; a broken change is reported and passed over."""
        with self._lock:
            content = self._file.read_text()
            if content != self._content:
                self._content = content
                try:
                    self._configuration = read_configuration(self._file)
                    self._played.clear()
                except BadConfiguration as e:
                    log.error("the changed configuration is not used: %s", e)
            return self._configuration

    def _put_in_force(self, operation: Operation) -> None:
        """Let the PostgreSQL that plays the server, or its PgBouncer, obey the new value, as the service does."""
        server = self.configuration.servers.get(operation.server)
        if server is None or not server.superuser_url:
            return
        if operation.parameter == "azure.extensions":
            set_allowed_extensions(server.superuser_url, operation.value)
        if operation.parameter.startswith("pgbouncer.") and server.pgbouncer:
            if operation.server not in self._poolers:
                folder = self._directory / "pgbouncer"
                self._poolers[operation.server] = PgBouncer(folder, server.superuser_url, server.pgbouncer)
            written = self.store.written(operation.server) | {operation.parameter: operation.value}
            self._poolers[operation.server].obey({**server.parameters, **written})

    def close(self) -> None:
        """End what was started for a server."""
        for pooler in self._poolers.values():
            pooler.stop()

    def serves(self, host: str) -> bool:
        """Whether requests to this host are answered here; nothing is ever passed on."""
        return host == arm.HOST or host.removesuffix(key_vault.DOMAIN) in self.configuration.vaults

    def answer(self, request: Request) -> Reply:
        """Answer one request and log the call.

        Raises ConnectionDropped when a fault says so.
        """
        try:
            reply = self._answer(request)
        except ServiceError as e:
            reply = e.reply
        except ConnectionDropped:
            self._log(request, 0)
            raise
        self._log(request, reply.status)
        return reply

    def answer_identity(self, request: Request) -> Reply:
        """Answer the managed identity endpoint, which is plain HTTP on loopback, as on the platform."""
        configuration = self.configuration
        try:
            self._strike(configuration, request)
            reply = identity.answer(request, configuration, self._issuer(configuration), self.identity_header)
        except ServiceError as e:
            reply = e.reply
        self._log(request, reply.status)
        return reply

    def _answer(self, request: Request) -> Reply:
        configuration = self.configuration
        fails = self._strike(configuration, request)
        issuer = self._issuer(configuration)
        access = Access(configuration.denied, issuer.client_id)
        if request.host == arm.HOST:
            return arm.answer(request, configuration, issuer, access, self.store, fails=fails)
        return key_vault.answer(request, configuration, issuer, access)

    def _issuer(self, configuration: Configuration) -> TokenIssuer:
        client_id = configuration.client_id or identity.SYSTEM_ASSIGNED_CLIENT_ID
        return TokenIssuer(self.identity_header, configuration.tenant_id, client_id)

    def _strike(self, configuration: Configuration, request: Request) -> str:
        """Play the first fault left for this request; return the error code that a started operation must end with."""
        fault = self._next_fault(configuration, f"{request.method} {request.host}{request.path}")
        if fault is None:
            return ""
        time.sleep(fault.delay_seconds)
        if fault.action == "drop":
            raise ConnectionDropped
        if fault.action == "fail_operation":
            return fault.code
        if fault.status:
            raise ServiceError(fault.status, fault.code, fault.message, headers=fault.headers)
        return ""

    def _next_fault(self, configuration: Configuration, target: str) -> Fault | None:
        with self._lock:
            for index, fault in enumerate(configuration.faults):
                if self._played.get(index, 0) < fault.times and fault.match.search(target):
                    self._played[index] = self._played.get(index, 0) + 1
                    return fault
        return None

    def _log(self, request: Request, status: int) -> None:
        reads = request.path.lower().endswith(_READING_ACTIONS)
        self.store.log_call(request.method, request.host, request.path, status, changes=False if reads else None)


def _kept_secret(path: Path) -> str:
    """A secret that outlives the process."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
    return path.read_text()
