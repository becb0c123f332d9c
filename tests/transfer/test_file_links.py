"""Links as a model cache has them, holes, and a share that knows neither links nor owners nor times."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from shared.transfer.errors import VerificationFailed
from shared.transfer.files.carry_files import carry_files
from shared.transfer.files.files import copy_files, remove_files, verify_files

MODEL = "cache/embedding/models/models--a--b"
WEIGHTS = b"weights" * 1000


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a data directory with a cache as huggingface_hub makes it."""
    data = tmp_path / "disk"
    (data / MODEL / "blobs").mkdir(parents=True)
    (data / MODEL / "snapshots" / "rev").mkdir(parents=True)
    (data / MODEL / "blobs" / "sha").write_bytes(WEIGHTS)
    (data / MODEL / "snapshots" / "rev" / "model.bin").symlink_to("../../blobs/sha")
    (data / "uploads").mkdir()
    (data / "uploads" / "a.txt").write_text("a")
    return data


@pytest.fixture
def share(tmp_path: Path) -> Path:
    made = tmp_path / "share"
    made.mkdir()
    return made


@pytest.fixture
def no_links(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share without mfsymlinks."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "symlink", refuse)


def link(folder: Path) -> Path:
    return folder / MODEL / "snapshots" / "rev" / "model.bin"


def test_a_model_cache_is_shared_and_not_duplicated(disk: Path, share: Path) -> None:
    result = copy_files(disk, share)
    assert result["links_left_out"] == []
    assert str(link(share).readlink()) == "../../blobs/sha"
    assert link(share).read_bytes() == WEIGHTS
    assert result["bytes"] == len(WEIGHTS) + 1
    assert verify_files(disk, share)["equal"]
    again = copy_files(disk, share, delta=True)
    assert (again["copied"], again["deleted"]) == (0, 0)


@pytest.mark.parametrize(
    "pointed", ["/etc/passwd", "../../../uploads/a.txt", "../../../../../outside", "blobs/../../../../../uploads/a.txt"]
)
def test_links_that_lead_out_are_left_out_and_named(disk: Path, share: Path, pointed: str) -> None:
    (disk / "cache" / "embedding" / "models" / "leads-out").symlink_to(pointed)
    result = copy_files(disk, share)
    assert result["links_left_out"] == ["cache/embedding/models/leads-out"]
    assert not (share / "cache" / "embedding" / "models" / "leads-out").is_symlink()
    assert verify_files(disk, share)["equal"]


def test_links_to_links_and_to_nothing_are_left_out(disk: Path, share: Path) -> None:
    (disk / "cache" / "first").symlink_to("second")
    (disk / "cache" / "second").symlink_to("embedding")
    (disk / "cache" / "nowhere").symlink_to("embedding/gone")
    result = copy_files(disk, share)
    assert sorted(result["links_left_out"]) == ["cache/first", "cache/nowhere"]
    assert str((share / "cache" / "second").readlink()) == "embedding"


def test_a_link_that_changes_its_aim_or_goes_is_carried_over(disk: Path, share: Path) -> None:
    copy_files(disk, share)
    (disk / MODEL / "blobs" / "sha2").write_text("newer")
    link(disk).unlink()
    link(disk).symlink_to("../../blobs/sha2")
    assert copy_files(disk, share, delta=True)["copied"] == 2
    assert link(share).read_text() == "newer"
    link(disk).unlink()
    assert copy_files(disk, share, delta=True)["deleted"] == 1
    assert not link(share).is_symlink()


def test_a_link_that_somebody_turned_is_a_difference_and_is_not_removed(disk: Path, share: Path) -> None:
    copy_files(disk, share)
    link(share).unlink()
    link(share).symlink_to("../../blobs/other")
    with pytest.raises(VerificationFailed, match=r"snapshots/rev/model\.bin"):
        verify_files(disk, share)
    assert remove_files(share)["kept_changed"][0] == f"{MODEL}/snapshots/rev/model.bin"
    assert link(share).is_symlink()


def test_removal_takes_links_too(disk: Path, share: Path) -> None:
    copy_files(disk, share)
    assert remove_files(share)["kept"] == 0
    assert list(share.iterdir()) == []


@pytest.mark.usefixtures("no_links")
def test_where_the_share_takes_no_links_what_they_point_to_is_copied_once(disk: Path, share: Path) -> None:
    copy_files(disk, share)
    assert not link(share).is_symlink()
    assert link(share).read_bytes() == WEIGHTS
    assert verify_files(disk, share)["equal"]
    again = copy_files(disk, share, delta=True)
    assert (again["copied"], again["deleted"]) == (0, 0)
    link(disk).write_bytes(b"changed")
    assert copy_files(disk, share, delta=True)["copied"] == 2
    assert link(share).read_bytes() == b"changed"
    assert remove_files(share)["kept"] == 0


@pytest.mark.parametrize("links", [True, False])
def test_the_way_back_leaves_the_disks_links_as_they_are(
    disk: Path, share: Path, links: bool, request: pytest.FixtureRequest
) -> None:
    if not links:
        request.getfixturevalue("no_links")
    copy_files(disk, share)
    (share / "uploads" / "since.txt").write_text("since")
    counts = carry_files(share, disk)
    assert (counts["files_added"], counts["files_changed"], counts["files_deleted"]) == (1, 0, 0)
    assert str(link(disk).readlink()) == "../../blobs/sha"


def test_the_way_back_brings_a_model_that_was_loaded_since(disk: Path, share: Path) -> None:
    copy_files(disk, share)
    shutil.copytree(share / MODEL, share / f"{MODEL}-2", symlinks=True)
    link(share).unlink()
    counts = carry_files(share, disk)
    assert (counts["files_added"], counts["files_deleted"]) == (2, 1)
    new = disk / f"{MODEL}-2" / "snapshots" / "rev" / "model.bin"
    assert (str(new.readlink()), new.read_bytes()) == ("../../blobs/sha", WEIGHTS)
    assert not link(disk).is_symlink()


def test_a_hole_stays_a_hole(disk: Path, share: Path) -> None:
    sparse = disk / "uploads" / "sparse.bin"
    with sparse.open("wb") as file:
        file.write(b"begin")
        file.seek(30_000_000)
        file.write(b"end")
        file.truncate(40_000_000)
    copy_files(disk, share)
    copied = share / "uploads" / "sparse.bin"
    assert copied.stat().st_size == 40_000_000
    assert copied.stat().st_blocks * 512 < 5_000_000
    assert verify_files(disk, share)["equal"]


def test_owners_modes_and_times_are_not_needed(disk: Path, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an SMB share: chown and chmod are never tried, and a refused time is no failure."""

    def never(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("owners and modes do not hold on SMB")

    def refused(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chmod", "chown", "lchown", "fchmod", "fchown", "setxattr"):
        monkeypatch.setattr(os, name, never)
    monkeypatch.setattr(os, "utime", refused)
    copy_files(disk, share)
    assert verify_files(disk, share)["equal"]
    assert copy_files(disk, share, delta=True)["copied"] == 0
    (share / "uploads" / "since.txt").write_text("since")
    assert carry_files(share, disk)["files_added"] == 1
    assert carry_files(share, disk)["files_changed"] == 0


def test_a_link_that_went_from_the_share_is_made_again(disk: Path, share: Path) -> None:
    copy_files(disk, share)
    link(share).unlink()
    assert copy_files(disk, share)["copied"] == 1
    assert link(share).read_bytes() == WEIGHTS
