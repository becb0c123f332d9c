"""The backup: complete, checked, made once."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.transfer.errors import PermanentError, TransientError
from shared.transfer.files import archive as archiving
from shared.transfer.files.archive import archive
from shared.transfer.progress import Progress
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
    members = f"{result['path']}.members.sha256"
    done = subprocess.run(
        ["sha256sum", "--check", members], cwd=tmp_path / "restored", capture_output=True, check=False
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(contents(store)))
    assert result["members_verified"] == len(contents(store))
    suffixes = [path.suffixes[-1] for path in (tmp_path / "share").iterdir()]
    assert sorted(suffixes) == [".gz", ".sha256", ".sha256"]


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


@pytest.mark.parametrize("what", ["other bytes", "one file less", "one file more"])
def test_an_archive_that_is_not_the_store_is_not_finished(
    stored: Callable[[str], StoredStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The archive is read back: what was written into it is not believed."""
    written = archiving._write

    def write(copy: Path, partial: Path, progress: Progress) -> str:
        wrong = tmp_path / "wrong"
        shutil.copytree(copy, wrong)
        database = wrong / "chroma.sqlite3"
        if what == "one file less":
            database.unlink()
        elif what == "one file more":
            (wrong / "more").write_text("more")
        else:
            database.write_bytes(database.read_bytes()[:-1] + b"x")
        return written(wrong, partial, progress)

    monkeypatch.setattr(archiving, "_write", write)
    with pytest.raises(TransientError, match="1 files of the archive are missing or differ"):
        archive(stored("1.5.9").path, tmp_path / "share", tmp_path / "scratch")
    assert not [path for path in (tmp_path / "share").iterdir() if not path.name.startswith(".")]


def test_a_missing_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="does not exist"):
        archive(tmp_path / "nothing", tmp_path, tmp_path)
