"""How the app and Open WebUI reach the rehearsal's database, where it is not by passwords on the server's own port.

With `token_seconds` the app signs in as its identity, and the vault holds no administrator's password: Azure's stand-in
makes every token that it gives out a password until it expires. With `pgbouncer_port` the server has a PgBouncer there,
off until the migration turns it on.
"""

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from local.azure import pgbouncer
from local.azure.logins import accept_token
from local.postgres.roles import APPLICATION, SUPERUSER
from shared.errors import ConfigurationError

IDENTITY = "id-scaleout"
ADMINISTRATORS_SECRET = "postgres-admin-password"  # noqa: S105 - the name of a secret
TOKEN_SECONDS = 45
"""Shorter than most runs, and longer than the 30 s after which azure-identity asks for the next one."""


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    token_seconds: int = 0
    """How long a token is good; 0: passwords."""
    pgbouncer_port: int = 0
    """0: the server has none."""

    def check(self) -> None:
        """ConfigurationError where this machine lacks what is asked for."""
        if self.pgbouncer_port and pgbouncer.find() is None:
            raise ConfigurationError("PgBouncer is not installed", hint="apt-get install pgbouncer")

    def settings(self) -> dict[str, str]:
        """Of the app."""
        found: dict[str, str] = {}
        if self.token_seconds:
            found |= {"SCALEOUT_POSTGRES_AUTH": "entra", "SCALEOUT_POSTGRES_ENTRA_USER": IDENTITY}
        if self.pgbouncer_port:
            found["SCALEOUT_POSTGRES_PGBOUNCER_PORT"] = str(self.pgbouncer_port)
        return found

    def prepare(self, database: dict[str, Any]) -> None:
        """What an operator does before: the identity becomes an administrator, and may act for Open WebUI's role."""
        if self.token_seconds:
            superuser = superuser_url(database)
            accept_token(superuser, [IDENTITY], secrets.token_hex(), time.time())
            grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(APPLICATION), sql.Identifier(IDENTITY))
            with psycopg.connect(superuser) as connection:
                connection.execute(grant)

    def configure(self, azure: dict[str, Any], database: dict[str, Any]) -> None:
        """Change what Azure's endpoints are told, in place."""
        for server in azure["servers"].values():
            if self.token_seconds:
                server["entra_administrators"] = [IDENTITY]
            if self.pgbouncer_port:
                data = data_directory(Path(database["ca_file"]).parent)
                files = {"certificate": str(data / "server.crt"), "key": str(data / "server.key")}
                server["pgbouncer"] = {"port": self.pgbouncer_port, **files}
        if self.token_seconds:
            azure["identity"] = {"token_seconds": self.token_seconds}
            for vault in azure["vaults"].values():
                vault.pop(ADMINISTRATORS_SECRET, None)


def superuser_url(database: dict[str, Any]) -> str:
    """Of the server that `python -m local.postgres` announced."""
    password = json.loads(Path(database["password_file"]).read_text())[SUPERUSER]
    return f"postgresql://{SUPERUSER}:{quote(password)}@127.0.0.1:{database['port']}/postgres?sslmode=require"


def data_directory(directory: Path) -> Path:
    """Where the server keeps its data: beside its files, or where `data.path` says."""
    elsewhere = directory / "data.path"
    return Path(elsewhere.read_text().strip()) if elsewhere.exists() else directory / "data"
