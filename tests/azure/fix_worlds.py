"""Rehearsal worlds beyond the ordinary one: logins to PostgreSQL with tokens, and a server that has PgBouncer."""

import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from local.azure.logins import accept_token
from local.postgres.roles import SUPERUSER
from local.rehearsal.app_client import AppClient
from local.rehearsal.world import GROUP, SERVER, Layout, World
from local.sample import generate

IDENTITY = "id-scaleout"


@dataclass(slots=True)
class AzureWorld(World):
    """`token_seconds`: above 0, logins with tokens that are good so long."""

    token_seconds: int = 0
    pgbouncer_port: int = 0

    def _load(self, app_sql: Path, database: dict[str, Any]) -> None:
        World._load(self, app_sql, database)
        if self.token_seconds:  # what an operator does: docs/deploy.md, Entra login
            accept_token(superuser_url(database), [IDENTITY], secrets.token_hex(), time.time())
            with psycopg.connect(superuser_url(database)) as connection:
                connection.execute(f'GRANT openwebui TO "{IDENTITY}"')

    def _azure_arguments(self, kubeconfig: Path, database: dict[str, Any]) -> list[str]:
        arguments = World._azure_arguments(self, kubeconfig, database)
        file = Path(arguments[arguments.index("--config") + 1])
        content = json.loads(file.read_text())
        server = content["servers"][f"{GROUP}/{SERVER}"]
        if self.token_seconds:
            content["identity"] = {"token_seconds": self.token_seconds}
            server["entra_administrators"] = [IDENTITY]
            for vault in content["vaults"].values():
                vault.pop("postgres-admin-password")
        if self.pgbouncer_port:
            data = Path(database["ca_file"]).parent / "data"
            server["pgbouncer"] = {
                "port": self.pgbouncer_port,
                "certificate": str(data / "server.crt"),
                "key": str(data / "server.key"),
            }
        file.write_text(json.dumps(content, indent=1))
        return arguments

    @property
    def azure(self) -> Path:
        return self.layout.run / "azure"

    def calls(self) -> list[dict[str, Any]]:
        """Every call that came to Azure's endpoints."""
        return [json.loads(line) for line in (self.azure / "calls.jsonl").read_text().splitlines()]


@contextmanager
def opened(world: AzureWorld) -> Iterator[AppClient]:
    """The world with a small store, and a client of its app."""
    store = generate(world.layout.folder.parent / "store", chunks=200, files=3)
    try:
        world.open(store.data, store.app_sql)
        yield AppClient(world.url, world.key)
    finally:
        world.close()


def layout(folder: Path) -> Layout:
    folder.chmod(0o711)  # the database server's account is not ours when we are root
    return Layout(folder / "rehearsal")


def superuser_url(database: dict[str, Any]) -> str:
    password = json.loads(Path(database["password_file"]).read_text())[SUPERUSER]
    return f"postgresql://{SUPERUSER}:{quote(password)}@127.0.0.1:{database['port']}/postgres?sslmode=require"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
