"""The rehearsal's PostgreSQL refuses, limits and recovers as Azure's does."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.postgres import Postgres
from shared.errors import TransientError


@pytest.fixture
def directory() -> Iterator[Path]:
    """Yield a directory that the server's account can reach (pytest's own temporary directory is private)."""
    place = Path(tempfile.mkdtemp(prefix="scaleout-ground-"))
    place.chmod(0o711)
    yield place / "server"
    shutil.rmtree(place)


def test_both_extensions_of_the_runbook_can_be_created_by_the_administrator(database):
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute('CREATE EXTENSION "uuid-ossp"')
        distance = connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'::vector").fetchone()
        name = connection.execute("SELECT uuid_generate_v5(uuid_ns_dns(), 'open-webui')").fetchone()
    assert distance == (1.0,)
    assert name == (uuid.uuid5(uuid.NAMESPACE_DNS, "open-webui"),)


def test_the_administrator_is_no_superuser_but_sees_and_ends_sessions(database):
    with psycopg.connect(database.app_url) as user, psycopg.connect(database.admin_url) as admin:
        assert admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        seen = admin.execute(
            "SELECT state, backend_type FROM pg_stat_activity WHERE pid = %s", (user.info.backend_pid,)
        ).fetchone()
        assert seen == ("idle", "client backend")
        assert admin.execute("SELECT pg_terminate_backend(%s)", (user.info.backend_pid,)).fetchone() == (True,)


def test_the_application_role_owns_its_database(database):
    with psycopg.connect(database.app_url) as connection:
        connection.execute("CREATE TABLE public.mine (id int)")
        assert connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'").fetchone() == (
            "openwebui",
        )


def test_a_wrong_password_is_refused(postgres):
    wrong = postgres.app_url().replace(postgres.app_url().split(":")[2].split("@")[0], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_connection_without_tls_is_refused(postgres):
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(postgres.app_url(), sslmode="disable")


def test_the_certificate_can_be_verified_and_a_strange_authority_is_refused(postgres, tmp_path):
    with psycopg.connect(
        postgres.app_url(), sslmode="verify-full", sslrootcert=str(postgres.certificate_authority)
    ) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    import trustme

    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(postgres.app_url(), sslmode="verify-full", sslrootcert=str(tmp_path / "other.pem"))


def test_users_get_35_of_50_connections(postgres):
    with contextlib.ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            for _ in range(50):
                stack.enter_context(contextlib.closing(psycopg.connect(postgres.app_url())))
        assert len(stack._exit_callbacks) == 35


def test_an_extension_outside_the_allow_list_is_refused_in_azures_words(directory):
    with Postgres(directory, allowed_extensions=["pg_trgm"]) as server:
        with psycopg.connect(server.admin_url("openwebui"), autocommit=True) as admin:
            with pytest.raises(psycopg.errors.RaiseException, match='extension "vector" is not allow-listed'):
                admin.execute("CREATE EXTENSION vector")
            admin.execute("CREATE EXTENSION pg_trgm")
        with psycopg.connect(server.app_url(), autocommit=True) as user:
            with pytest.raises(psycopg.errors.RaiseException, match='Only members of "azure_pg_admin" are allowed'):
                user.execute("CREATE EXTENSION hstore")
            user.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # there already: nothing is created
        server.set_allowed_extensions(["VECTOR", "UUID-OSSP"])
        with psycopg.connect(server.admin_url("openwebui"), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION vector")
            admin.execute('CREATE EXTENSION "uuid-ossp"')


def test_committed_rows_survive_a_killed_server_and_the_same_password_works_again(directory):
    server = Postgres(directory).start()
    with psycopg.connect(server.app_url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    passwords = server.password_file.read_text()
    server.kill()
    with Postgres(directory) as again, psycopg.connect(again.app_url()) as connection:
        assert again.password_file.read_text() == passwords
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_two_servers_never_share_a_directory(directory):
    with Postgres(directory), pytest.raises(TransientError, match="in use by another run"):
        Postgres(directory).start()


def test_passwords_are_readable_by_their_owner_only(postgres):
    assert stat.S_IMODE(postgres.password_file.stat().st_mode) == 0o600


def serve(directory: Path, **options) -> tuple[subprocess.Popen, dict]:
    process = subprocess.Popen(
        [sys.executable, "-m", "local.postgres", "--dir", str(directory)], stdout=subprocess.PIPE, text=True, **options
    )
    word, _, rest = process.stdout.readline().partition(" ")
    assert word == "ready"
    return process, json.loads(rest)


def test_the_command_serves_until_sigterm(directory):
    process, ready = serve(directory)
    with psycopg.connect(ready["admin_url"]) as connection:
        assert connection.info.port == ready["port"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(ready["admin_url"])


def refused_within(seconds: float, url: str) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as problem:
            if "refused" in str(problem):
                return True
        time.sleep(0.05)
    return False


def test_the_server_dies_with_a_killed_command_and_starts_again(directory):
    process, ready = serve(directory)
    process.kill()
    process.wait()
    assert refused_within(10, ready["admin_url"])
    process, ready = serve(directory)
    with psycopg.connect(ready["app_url"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    process.terminate()
    assert process.wait(20) == 0
    assert not (Postgres(directory).data_directory() / "postmaster.pid").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_directory_that_the_servers_account_cannot_reach_works_too(tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = Postgres(private / "server")
    with server, psycopg.connect(server.app_url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert private not in server.data_directory().parents
    data = server.data_directory()
    server.remove()
    assert not data.exists()


@pytest.mark.slow
def test_a_machine_without_anything_unpacks_a_complete_server(directory):
    """Also where another account's cache is of no use; fetches what the machine lacks (libossp-uuid16) from Debian."""
    cache = directory.parent / "cache"
    cache.mkdir()
    process, ready = serve(directory, env={**os.environ, "SCALEOUT_CACHE": str(cache)})
    with psycopg.connect(ready["admin_url"], dbname="openwebui", autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute('CREATE EXTENSION "uuid-ossp"')
        assert connection.execute("SELECT uuid_generate_v4() IS NOT NULL").fetchone() == (True,)
    process.terminate()
    assert process.wait(20) == 0
    assert [path.name for path in cache.iterdir() if path.name.startswith("unpack-")] == []
