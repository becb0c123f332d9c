"""The backup: complete, checked, made once."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.transfer.archive import archive
from shared.transfer.errors import PermanentError
from tests.transfer.conftest import StoredStore


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_restored_archive_is_the_store(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("0.6.3").path
    (tmp_path / "share").mkdir()
    result = archive(store, tmp_path / "share", tmp_path / "scratch")
    assert (
        subprocess.run(
            ["sha256sum", "--check", "--quiet", f"{Path(result['path']).name}.sha256"],
            cwd=tmp_path / "share",
            check=False,
        ).returncode
        == 0
    )
    with tarfile.open(result["path"]) as tar:
        tar.extractall(tmp_path / "restored", filter="data")
    assert contents(tmp_path / "restored" / "vector_db") == contents(store)
    assert sorted(path.suffix for path in (tmp_path / "share").iterdir()) == [".gz", ".sha256"]


def test_the_same_store_is_archived_once(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("1.5.9").path
    first = archive(store, tmp_path, tmp_path / "scratch")
    written = Path(first["path"]).stat().st_mtime_ns
    assert archive(store, tmp_path, tmp_path / "scratch 2") == first
    assert Path(first["path"]).stat().st_mtime_ns == written


def test_a_damaged_archive_is_made_again(stored: Callable[[str], StoredStore], tmp_path: Path) -> None:
    store = stored("1.5.9").path
    first = archive(store, tmp_path, tmp_path / "scratch")
    with Path(first["path"]).open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    assert archive(store, tmp_path, tmp_path / "scratch") == first


def test_a_missing_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="does not exist"):
        archive(tmp_path / "nothing", tmp_path, tmp_path)
