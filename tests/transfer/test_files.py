"""Copying uploads and cache: exact, resumable, undone exactly."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.programs import zipapp
from shared.transfer.errors import ConfigurationError, VerificationFailed
from shared.transfer.files.files import copy_files, remove_files, verify_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Yield a data directory with everything that a file name or a file can be."""
    data = tmp_path / "source"
    uploads = data / "uploads"
    uploads.mkdir(parents=True)
    (data / "vector_db").mkdir()
    (data / "vector_db" / "chroma.sqlite3").write_text("not copied")
    (data / "webui.db").write_text("not copied")
    (uploads / "id_日本語 🎉.txt").write_text("日本語")
    (uploads / "new\nline.txt").write_text("x")
    (uploads / os.fsdecode(b"latin1-\xe9.txt")).write_text("not UTF-8")
    (uploads / "empty.bin").touch()
    (uploads / ".hidden").write_text("h")
    (uploads / "large.bin").write_bytes(random.Random(1).randbytes(3_000_001))
    with (uploads / "sparse.bin").open("wb") as file:
        file.truncate(5_000_000)
    (data / "cache" / "embedding" / "models" / "empty folder").mkdir(parents=True)
    (data / "cache" / "audio" / "speech").mkdir(parents=True)
    (data / "cache" / "audio" / "speech" / "a.mp3").write_bytes(b"\0" * 10)
    (uploads / "link").symlink_to("/etc/passwd")
    return data


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Yield an empty share with something of someone else's on it."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "theirs.txt").write_text("theirs")
    return share


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for root in ("uploads", "cache")
        for path in (folder / root).rglob("*")
        if not path.is_symlink()
    }


def test_copies_everything_but_links_and_databases(source: Path, target: Path) -> None:
    result = copy_files(source, target)
    assert tree(target) == tree(source)
    assert result["links_left_out"] == ["uploads/link"]
    assert result["files_total"] == 8
    assert not (target / "vector_db").exists()
    assert not (target / "webui.db").exists()
    assert verify_files(source, target) == {"equal": True, "files": 8, "bytes": result["bytes_total"]}
    mtimes = {name: (source / name).stat().st_mtime_ns for name in ("uploads/large.bin", "uploads/empty.bin")}
    assert mtimes == {name: (target / name).stat().st_mtime_ns for name in mtimes}


def test_a_rerun_copies_only_what_changed(source: Path, target: Path) -> None:
    copy_files(source, target)
    (source / "uploads" / "empty.bin").write_text("no longer")
    (source / "uploads" / "later.txt").write_text("later")
    (source / "uploads" / ".hidden").unlink()
    result = copy_files(source, target)
    assert (result["copied"], result["deleted"]) == (2, 0)
    assert (target / "uploads" / ".hidden").exists()
    result = copy_files(source, target, delta=True)
    assert (result["copied"], result["deleted"]) == (0, 1)
    assert tree(target) == tree(source)


def test_the_delta_never_deletes_what_it_did_not_copy(source: Path, target: Path) -> None:
    copy_files(source, target)
    (target / "uploads" / "written by a replica.txt").write_text("new")
    (target / "uploads" / ".hidden").write_text("changed there")
    (source / "uploads" / ".hidden").unlink()
    assert copy_files(source, target, delta=True)["deleted"] == 0
    assert (target / "uploads" / "written by a replica.txt").exists()
    assert (target / "uploads" / ".hidden").read_text() == "changed there"


def test_undo_removes_exactly_what_was_copied_and_is_unchanged(source: Path, target: Path) -> None:
    copy_files(source, target)
    (target / "uploads" / "large.bin").write_bytes(b"changed")
    (target / "uploads" / "new.txt").write_text("new")
    result = remove_files(target)
    assert set(result["kept_changed"]) == {"uploads/large.bin", "uploads"}
    assert set(tree(target)) == {"uploads/large.bin", "uploads/new.txt"}
    assert not (target / ".scaleout").exists()
    assert (target / "theirs.txt").read_text() == "theirs"
    assert remove_files(target)["removed"] == 0


def test_undo_leaves_an_untouched_share_as_it_was(source: Path, target: Path) -> None:
    copy_files(source, target)
    remove_files(target)
    assert sorted(path.name for path in target.iterdir()) == ["theirs.txt"]


def test_verification_names_what_differs(source: Path, target: Path) -> None:
    copy_files(source, target)
    path = target / "uploads" / "large.bin"
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[1_500_000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    (target / "uploads" / "empty.bin").unlink()
    with pytest.raises(VerificationFailed, match=r"2 files .*(empty|large).bin.*(empty|large).bin"):
        verify_files(source, target)


def test_a_torn_manifest_line_is_forgotten_not_trusted(source: Path, target: Path) -> None:
    copy_files(source, target)
    manifest = target / ".scaleout" / "files.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    assert copy_files(source, target)["copied"] == 1
    assert copy_files(source, target)["copied"] == 0
    remove_files(target)
    assert not (target / "uploads").exists()


def test_a_full_check_of_arguments(source: Path, target: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a directory"):
        copy_files(source, target / "missing")
    with pytest.raises(ConfigurationError, match="same directory"):
        copy_files(source, source)


def test_killed_copies_leave_no_partial_file_and_go_on(source: Path, target: Path, tmp_path: Path) -> None:
    for number in range(60):
        (source / "uploads" / f"more-{number}").write_bytes(os.urandom(200_000))
    archive = tmp_path / "mover.pyz"
    archive.write_bytes(zipapp.pack())
    command = [sys.executable, str(archive), "copy-files", "--source", str(source), "--target", str(target)]
    expected = tree(source)
    for pause in (0.1, 0.15, 0.2, 0.25, 0.3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(pause)
        process.kill()
        process.wait()
        found = tree(target)
        assert all(found[name] == expected[name] for name in found)
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert tree(target) == expected


_names = st.sampled_from(["a", "b", "c/d", "c/e", "ü", "f g"])
_steps = st.lists(st.tuples(st.sampled_from(["write", "remove", "copy", "delta"]), _names, st.binary(max_size=50)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=_steps)
def test_whatever_happened_a_delta_makes_both_sides_equal(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("trees")
    source, target = folder / "source", folder / "target"
    (source / "uploads").mkdir(parents=True)
    target.mkdir()
    for number, (step, name, content) in enumerate(steps):
        path = source / "uploads" / name
        if step == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(number, number))
        elif step == "remove":
            path.unlink(missing_ok=True)
        else:
            copy_files(source, target, delta=step == "delta")
    copy_files(source, target, delta=True)
    assert tree(target) == tree(source)
    remove_files(target)
    assert not any(target.iterdir())
