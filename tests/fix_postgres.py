"""A real PostgreSQL for tests: one server per test process, a fresh database per test.

def test_something(database):
    with psycopg.connect(database.app_url) as connection: ...
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.postgres import Postgres

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database owned by the application's role `openwebui`, with no extension created."""

    name: str
    app_url: str
    admin_url: str
    superuser_url: str


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Yield a server as Azure's B1ms: 50 connections, 35 of them for users; no allow-list enforced."""
    directory = Path(tempfile.mkdtemp(prefix="scaleout-postgres-"))
    directory.chmod(0o711)  # the server's account is not ours when we are root
    server = Postgres(directory / "server")
    try:
        yield server.start()
    finally:
        server.remove()
        shutil.rmtree(directory)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """Yield a fresh database; sessions still in it are ended afterwards."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name)
    yield Database(name, postgres.app_url(name), postgres.admin_url(name), postgres.superuser_url(name))
    postgres.drop_database(name)
