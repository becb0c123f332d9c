"""One PostgreSQL server in a directory: started, used, stopped, and started again on the same data.

It behaves as the Flexible Server of the runbook does: TLS only, passwords everywhere (scram-sha-256, loopback
included), 50 connections of which 35 are for users. The server dies with the thread that started it, also when
its process is killed; a directory left by a killed server recovers at the next start.

DIR/passwords.json superuser, administrator and application role (0600) DIR/ca.pem the authority that signed the
server's certificate, for sslmode=verify-full DIR/data/ the data, or DIR/data.path naming where it is when the
server's account cannot reach DIR DIR/postgres.log what the server says
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from local.loopback import free_port
from local.postgres import roles, unprivileged
from local.postgres.configuration import Configuration
from local.postgres.installation import Installation, installation
from shared.errors import ConfigurationError, TransientError

_START_SECONDS = 60
_STOP_SECONDS = 30


class Postgres:
    """A server with its data in `directory`; a context manager, or `start()` and `stop()`.

    `max_connections` and `reserved` are the tier's numbers (B1ms: 50, 15 of them not for users). `allowed_extensions`
    None means that no allow-list is enforced. `settings` are further server settings, `host_names` further names in the
    certificate.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        max_connections: int = 50,
        reserved: int = 15,
        allowed_extensions: Sequence[str] | None = None,
        settings: Mapping[str, str] | None = None,
        host_names: Sequence[str] = (),
    ) -> None:
        self.directory = directory.resolve()
        self.port = port
        self._configuration = Configuration(max_connections, reserved, allowed_extensions, settings or {}, host_names)
        self._account = unprivileged.server_account()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_file: int | None = None
        self._passwords: dict[str, str] = {}

    def start(self) -> Self:
        """Start the server, on the first start with new data, roles and the database `openwebui`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock()
        try:
            programs = installation()
            self._read_or_make_passwords()
            data = self.data_directory()
            if not (data / "PG_VERSION").exists():
                self._create_data(programs, data)
            _end_left_over(data)
            self._configuration.write_certificate(data, self._account, self.certificate_authority)
            self._configuration.write(data, self._account)
            self._start_on_a_free_port(programs, data)
            self._create_roles_and_databases()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Shut down cleanly; sessions still open are ended. A second call does nothing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def remove(self) -> None:
        """Stop, and delete the data wherever it lies."""
        self.stop()
        for place in (self._recorded_data_directory(), self.directory):
            shutil.rmtree(place, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server as a crash would, for tests; `start` recovers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """Return None while the server runs."""
        return self._process.poll() if self._process else 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def admin_url(self, database: str = "postgres") -> str:
        """Return the URL of the administrator: not a superuser, as on Azure."""
        return self._url(roles.ADMIN, database)

    def app_url(self, database: str = "openwebui", role: str = roles.APPLICATION) -> str:
        """Return the URL of an application's role."""
        return self._url(role, database)

    def superuser_url(self, database: str = "postgres") -> str:
        """Return the URL of the superuser, whom Azure gives to nobody: for setting scenes, never for the product."""
        return self._url(roles.SUPERUSER, database)

    def create_database(self, name: str, owner: str = roles.APPLICATION) -> None:
        """Make a database and, where it is new, the role that owns it."""
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            if owner not in self._passwords:
                self._keep_password(owner, secrets.token_hex(24))
                roles.create_owner(connection, owner, self._passwords[owner])
            roles.create_database(connection, name, owner)

    def drop_database(self, name: str) -> None:
        """Delete a database, ending the sessions in it."""
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def set_allowed_extensions(self, names: Sequence[str]) -> None:
        """Change `azure.extensions` in the running server, as Azure Resource Manager does."""
        roles.set_allowed_extensions(self.superuser_url(), ",".join(names))

    @property
    def certificate_authority(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def password_file(self) -> Path:
        return self.directory / "passwords.json"

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{quote(role)}:{quote(self._passwords[role])}@127.0.0.1:{self.port}/{quote(database)}"

    def _lock(self) -> None:
        """Hold DIR/lock for as long as the server is ours: two servers on the same data would destroy it."""
        file = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise TransientError(
                f"{self.directory} is in use by another run.", hint="Wait for it to end, or use another directory."
            ) from None
        self._lock_file = file

    def _recorded_data_directory(self) -> Path:
        pointer = self.directory / "data.path"
        return Path(pointer.read_text()) if pointer.exists() else self.directory / "data"

    def data_directory(self) -> Path:
        """Return where the data lies, creating the directory for the server's account."""
        data = unprivileged.reachable_directory(self._recorded_data_directory(), self._account)
        if data != self.directory / "data":
            (self.directory / "data.path").write_text(str(data))
        return data

    def _read_or_make_passwords(self) -> None:
        if self.password_file.exists():
            self._passwords = json.loads(self.password_file.read_text())
        for role in (roles.SUPERUSER, roles.ADMIN, roles.APPLICATION):
            if role not in self._passwords:
                self._keep_password(role, secrets.token_hex(24))

    def _keep_password(self, role: str, password: str) -> None:
        self._passwords[role] = password
        with open(os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            json.dump(self._passwords, file)

    def _create_data(self, programs: Installation, data: Path) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="scaleout-", dir=tempfile.gettempdir()) as password:
            password.write(self._passwords[roles.SUPERUSER])
            password.flush()
            unprivileged.give(Path(password.name), self._account, mode=0o600)
            argv = [
                *[
                    programs.program("initdb"),
                    "--pgdata",
                    str(data),
                    "--username",
                    roles.SUPERUSER,
                    "--pwfile",
                    password.name,
                ],
                *[
                    "--auth",
                    "scram-sha-256",
                    "--encoding",
                    "UTF8",
                    "--locale",
                    "C.UTF-8",
                    "--no-sync",
                    "--no-instructions",
                ],
            ]
            run = subprocess.run(
                argv,
                env=programs.environment(),
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                **unprivileged.command(self._account),
            )
        if run.returncode:
            raise ConfigurationError(
                f"PostgreSQL could not create its data in {data}: {' '.join(run.stderr.split())[-600:]}"
            )

    def _start_on_a_free_port(self, programs: Installation, data: Path) -> None:
        """Start; where the port was our own choice and somebody else took it in the meantime, choose again."""
        wanted = self.port
        for _ in range(1 if wanted else 5):
            self.port = wanted or free_port()
            if self._started(programs, data):
                return
        raise ConfigurationError(
            f"PostgreSQL did not start on port {self.port}: {_last_lines(self._log)}",
            hint=f"Read {self._log}; is the port taken?",
        )

    @property
    def _log(self) -> Path:
        return self.directory / "postgres.log"

    def _started(self, programs: Installation, data: Path) -> bool:
        argv = [programs.program("postgres"), "-D", str(data), "-p", str(self.port)]
        with self._log.open("ab") as log:
            self._process = unprivileged.start(argv, self._account, programs.environment(), log)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                return False
            # A server still recovering refuses; a stranger on our port would not know the password.
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(self.superuser_url(), connect_timeout=5),
            ):
                return True
            time.sleep(0.05)
        raise TransientError(
            f"PostgreSQL was not ready after {_START_SECONDS} s: {_last_lines(self._log)}", hint=f"Read {self._log}."
        )

    def _create_roles_and_databases(self) -> None:
        for database in ("template1", "postgres"):
            with psycopg.connect(self.superuser_url(database), autocommit=True) as connection:
                if database == "template1":
                    roles.create_server_roles(connection, self._passwords)
                roles.guard_extensions(connection)
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            roles.create_database(connection, "openwebui", roles.APPLICATION)


def _end_left_over(data: Path) -> None:
    """End a server that a killed run may have left on this data; the lock says that no run owns it."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text().split("\n", 1)[0])
    if not _is_server_of(pid, data):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
    for _ in range(200):
        if not _is_server_of(pid, data):
            return
        time.sleep(0.05)
    raise TransientError(f"A PostgreSQL server of an earlier run (process {pid}) does not end.", hint=f"kill -9 {pid}")


def _is_server_of(pid: int, data: Path) -> bool:
    """Say whether process `pid` still is the server of `data`: a process number may have gone to somebody else."""
    proc = Path(f"/proc/{pid}/cmdline")
    if proc.parent.parent.is_dir():
        with contextlib.suppress(OSError):
            return str(data).encode() in proc.read_bytes()  # empty for a zombie
        return False
    return (
        str(data)
        in subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    )


def _last_lines(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else "no log"
