"""PgBouncer in front of the PostgreSQL that plays the server: on and off as `pgbouncer.enabled` says.

It needs Debian's package `pgbouncer`; without it the parameter is only remembered. Azure's keeps track of prepared
statements. Versions before 1.21 cannot: those lend a server connection for a whole session instead of a transaction.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from local.postgres import unprivileged
from local.postgres.unprivileged import Account, give, reachable_directory, server_account

log = logging.getLogger(__name__)
KEEPS_STATEMENTS = (1, 21)
"""Source: PgBouncer's changelog, max_prepared_statements."""


@dataclass(frozen=True, slots=True)
class Front:
    """Where PgBouncer listens, and the server's own certificate, which it shows too."""

    port: int
    certificate: Path
    key: Path


class PgBouncer:
    """One server's; safe to use from several threads."""

    def __init__(self, directory: Path, superuser_url: str, front: Front) -> None:
        self._directory, self._superuser_url, self._front = directory, superuser_url, front
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def obey(self, values: Mapping[str, str]) -> None:
        """Run with these server parameters, or not at all; while it runs they are read again without a restart."""
        with self._lock:
            if values.get("pgbouncer.enabled", "").lower() != "true":
                self._stop()
            elif (program := find()) is not None:
                self._run(program, values)

    def stop(self) -> None:
        with self._lock:
            self._stop()

    def _run(self, program: str, values: Mapping[str, str]) -> None:
        account = server_account()
        folder = reachable_directory(self._directory, account)
        login = urlsplit(self._superuser_url)
        users = f'"{login.username}" "{unquote(login.password or "")}"\n'
        _write(folder / "users.txt", users, account)
        for source, name in ((self._front.certificate, "server.crt"), (self._front.key, "server.key")):
            _write(folder / name, source.read_text(), account)
        keeps = version(program) >= KEEPS_STATEMENTS
        if not keeps:
            log.warning("this PgBouncer keeps no prepared statements: it pools by session, not by transaction")
        settings = _settings(self._front.port, folder, str(login.username), values, keeps=keeps)
        databases = f"[databases]\n* = host={login.hostname} port={login.port}\n\n[pgbouncer]\n"
        _write(folder / "pgbouncer.ini", databases + "".join(f"{k} = {v}\n" for k, v in settings.items()), account)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)
            return
        started = threading.Event()
        command = [program, str(folder / "pgbouncer.ini")]
        threading.Thread(target=self._keep, args=(command, account, folder, started), daemon=True).start()
        started.wait(10)

    def _keep(self, command: list[str], account: Account, folder: Path, started: threading.Event) -> None:
        """Start it and stay: it ends with the thread that started it, so that it never outlives this process."""
        with (folder / "pgbouncer.log").open("ab") as output:
            self._process = process = unprivileged.start(command, account, os.environ, output)
            started.set()
            process.wait()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def find() -> str | None:
    """The program, also where a plain user's PATH does not lead."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _settings(port: int, folder: Path, superuser: str, values: Mapping[str, str], *, keeps: bool) -> dict[str, str]:
    statements = {"max_prepared_statements": values.get("pgbouncer.max_prepared_statements", "0")} if keeps else {}
    return {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(folder / "users.txt"),
        "auth_user": superuser,
        "auth_query": "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1",
        "pool_mode": values.get("pgbouncer.pool_mode", "transaction") if keeps else "session",
        "default_pool_size": values.get("pgbouncer.default_pool_size", "50"),
        "max_client_conn": values.get("pgbouncer.max_client_conn", "5000"),
        "server_tls_sslmode": "require",
        "client_tls_sslmode": "require",
        "client_tls_cert_file": str(folder / "server.crt"),
        "client_tls_key_file": str(folder / "server.key"),
        **statements,
    }


def _write(path: Path, content: str, account: Account) -> None:
    path.touch(mode=0o600)
    path.write_text(content)
    give(path, account, mode=0o600)
