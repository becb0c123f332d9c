"""The command line: what the phases call, and what they read."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

import shared.transfer
from shared.programs import zipapp
from shared.transfer.commands import parser
from shared.transfer.errors import ConfigurationError
from shared.transfer.pgvector.database import conninfo, from_psycopg, vectors_url
from shared.transfer.rows.cleaning import POLICIES
from tests.transfer.conftest import StoredStore, Target

DOCUMENT = Path(__file__).parents[2] / "docs" / "transfer.md"
COMMANDS = re.findall(r"^\| `([a-z-]+)[^|]*\|[^|]*\|[^|]*\|$", DOCUMENT.read_text().split("## Output")[0], re.MULTILINE)


@pytest.fixture
def mover(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the packed mover as a Job does."""
    archive = tmp_path / "mover.pyz"
    archive.write_bytes(zipapp.pack())

    def run(*arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
        environment = {
            key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "PGVECTOR_DB_URL")
        }
        return subprocess.run(
            [sys.executable, str(archive), *arguments],
            env={**environment, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(line) == {"step", "done", "total", "unit"} for line in lines[:-1])
    return dict(lines[-1])


def test_the_same_sources_pack_to_the_same_bytes() -> None:
    first, second = zipapp.pack(), zipapp.pack()
    assert first == second
    assert len(first) < 700_000
    with zipfile.ZipFile(BytesIO(first)) as archive:
        assert "__main__.py" in archive.namelist()


def test_it_imports_only_itself_numpy_psycopg_and_the_standard_library() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "psycopg", "chromadb"}
    for path in Path(shared.transfer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 11))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= allowed, path.name


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_documented_command_has_help(mover: Callable[..., Any], command: str) -> None:
    done = mover(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: mover" in done.stdout


def test_every_command_and_every_policy_is_documented() -> None:
    document = DOCUMENT.read_text()
    (commands,) = parser()._subparsers._group_actions  # type: ignore[union-attr]
    assert set(commands.choices or ()) == set(COMMANDS)
    assert not [code for code in POLICIES if f"`{code}`" not in document]


def test_a_whole_transfer_by_command(
    mover: Callable[..., Any], target: Target, stored: Callable[[str], StoredStore], tmp_path: Path
) -> None:
    data = stored("1.5.9").path.parent
    (data / "uploads").mkdir()
    (data / "uploads" / "a.txt").write_text("a")
    share = tmp_path / "share"
    share.mkdir()
    url = target.url.replace("postgresql://", "postgresql+psycopg2://")
    where = ("--data", str(data), "--scratch", str(tmp_path / "scratch"))

    def run(*arguments: str) -> dict[str, Any]:
        done = mover(*arguments, url=url)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = last_line(done)["result"]
        return result

    rows = run("inspect", *where, "--database", "--column-dimension", "16")["chroma"]["rows"]
    assert set(run("archive", *where, "--target", str(share))) == {"path", "bytes", "sha256", "members_verified"}
    assert run("copy-files", "--source", str(data), "--target", str(share))["copied"] == 2
    assert run("verify-files", "--source", str(data), "--target", str(share))["equal"]
    assert run("create-table", "--dimension", "16", "--run", "r")["type"] == "vector(16)"
    copied = run("copy-vectors", *where, "--run", "r")["rows"]
    assert copied == rows - 5  # web-search-x
    assert run("build-indexes")["recall_at_10"] == 1
    assert run("copy-vectors", "--delta", *where, "--run", "r")["collections_changed"] == 0
    verified = run("verify-vectors", *where, "--run", "r", "--full")
    assert verified["equal"] and verified["topk_checked"]
    probe = run("probe", "--data", str(share), "--sample", "5")
    assert probe["topk_self_first"] and probe["rows"] == copied
    assert run("remove-vectors", "--run", "r")["deleted"] == copied
    assert run("remove-files", "--target", str(share))["removed"] == 2


def test_it_runs_from_its_own_bytes_on_stdin(target: Target, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", zipapp.BOOTSTRAP, "probe", "--data", str(tmp_path)],
        input=zipapp.pack(),
        env={**os.environ, "DATABASE_URL": target.url},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["rows"] == 0


@pytest.mark.parametrize(
    ("arguments", "url", "kind", "words"),
    [
        (("create-table",), "", "configuration", "DATABASE_URL is not set"),
        (("create-table",), "sqlite:////app/webui.db", "configuration", "sqlite"),
        (("create-table",), "postgresql://a:b@127.0.0.1:1/x", "transient", "refused"),
        (("verify-files", "--source", "/nowhere", "--target", "/nowhere"), "", "configuration", "/nowhere"),
        (("archive", "--data", "/nowhere", "--target", "/tmp"), "", "permanent", "/nowhere"),
    ],
)
def test_errors_are_one_line_of_their_kind(
    mover: Callable[..., Any], arguments: tuple[str, ...], url: str, kind: str, words: str
) -> None:
    done = mover(*arguments, url=url)
    error = last_line(done)["error"]
    assert (done.returncode, error["kind"]) == (1, kind)
    assert words in error["message"]
    assert error["hint"]


def test_a_wrong_password_is_a_matter_of_configuration(mover: Callable[..., Any], target: Target) -> None:
    url = re.sub(r":[^:@/]+@", ":wrong@", target.url)
    error = last_line(mover("create-table", url=url))["error"]
    assert error["kind"] == "configuration"
    assert "wrong" not in error["message"]


def test_bad_usage_exits_2(mover: Callable[..., Any]) -> None:
    assert mover("copy-vectors").returncode == 2
    assert mover("dance").returncode == 2


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d?"),
        ("postgresql+psycopg2://u:p%40ss@h:5433/d?sslmode=require", "postgresql://u:p%40ss@h:5433/d?sslmode=require&"),
        ("postgresql+asyncpg://u@h/d?ssl=true&prepared_statement_cache_size=0", "postgresql://u@h/d?sslmode=require&"),
        (
            "postgresql://u:p@[::1]:5432/d?options=-csearch_path%3Dx",
            "postgresql://u:p@[::1]:5432/d?options=-csearch_path%3Dx&",
        ),
    ],
)
def test_understands_sqlalchemys_spellings(url: str, expected: str) -> None:
    assert conninfo(url).startswith(expected)
    psycopg.conninfo.conninfo_to_dict(conninfo(url))


def test_the_vectors_own_database_wins() -> None:
    assert vectors_url({"DATABASE_URL": "a", "PGVECTOR_DB_URL": "b"}) == "b"
    assert vectors_url({"DATABASE_URL": "a", "PGVECTOR_DB_URL": ""}) == "a"
    with pytest.raises(ConfigurationError):
        vectors_url({})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.TooManyConnections(), "transient"),
        (psycopg.errors.AdminShutdown(), "transient"),
        (psycopg.errors.DeadlockDetected(), "transient"),
        (psycopg.errors.DiskFull(), "transient"),
        (psycopg.errors.InsufficientPrivilege(), "configuration"),
        (psycopg.errors.InvalidCatalogName(), "configuration"),
        (psycopg.errors.UndefinedTable(), "permanent"),
        (psycopg.OperationalError("server closed the connection unexpectedly"), "transient"),
    ],
)
def test_judges_the_servers_errors(error: psycopg.Error, kind: str) -> None:
    assert from_psycopg(error).kind == kind


@pytest.mark.slow
def test_it_runs_on_python_3_11(target: Target, stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    python = shutil.which("python3.11") or pytest.skip("no Python 3.11 here")
    environment = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    subprocess.run([environment / "bin" / "pip", "install", "-q", "numpy", "psycopg[binary]"], check=True)
    archive = tmp_path / "mover.pyz"
    archive.write_bytes(zipapp.pack())
    data = stored("upgraded").path.parent
    common = ("--data", str(data), "--scratch", str(tmp_path / "scratch"), "--run", "r")
    for command in (("copy-vectors", *common), ("verify-vectors", *common, "--full"), ("build-indexes",)):
        done = subprocess.run(
            [environment / "bin" / "python", archive, *command],
            env={**os.environ, "DATABASE_URL": target.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
