"""Give a process a root file system of its own: this machine's, with a container's mounts at their own paths.

Rewriting paths is not enough for a program that keeps absolute ones in its data: Open WebUI writes
`/app/backend/data/uploads/…` into `file.path`. So its process gets a private mount namespace, in which a tmpfs stands
for `/`: every entry of the machine's root is bound into it, and the container's mounts lie over that. Nothing is made
on the machine itself, and everything is gone with the process.

Needs the right to make a mount namespace: root (with CAP_SYS_ADMIN), or user namespaces for everybody. Standard
library only: the launcher runs this without a package path, and so does `problem`.

Source: mount_namespaces(7), user_namespaces(7), mount(2); linux/mount.h for the flags.
"""

import ctypes
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

type OwnMount = tuple[str, str, bool]
"""The path that the container sees, the directory or file behind it, whether it is read-only."""

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE = 1, 1 << 5, 1 << 12, 1 << 14
_UNBINDABLE, _PRIVATE = 1 << 17, 1 << 18
_KEPT = 0b1110  # nosuid, nodev, noexec: a read-only remount must repeat what the mount has
_TRIAL_PATH = "/scaleout-own-root/trial"


def enter(mounts: Sequence[OwnMount], place: str, directory: str) -> None:
    """Give this process its root and its working directory there; `place` is an empty directory. Raises OSError."""
    _unshare()
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    root = Path(place).resolve()
    _mount("tmpfs", str(root), "tmpfs", 0)
    _mount(None, str(root), None, _UNBINDABLE)  # else the machine's own tree, bound into it, would hold it again
    tree = _Tree(root)
    for path, source, read_only in sorted(mounts):
        tree.add(path, Path(source), read_only=read_only)
    os.chroot(root)
    os.chdir(directory)


@functools.cache
def problem() -> str | None:
    """Why this process could not get a root of its own; None when it could. Tried once, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="scaleout-own-root-") as folder:
        command = [sys.executable, "-I", "-S", __file__, folder]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return None if ran.returncode == 0 else ran.stderr.strip().rpartition("\n")[2] or f"exit code {ran.returncode}"


class _Tree:
    """The new root while it is put together, seen from the old one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ours: set[Path] = set()  # directories on a tmpfs of this tree
        self._volumes: list[Path] = []
        self._bind_entries(Path("/"), root)

    def add(self, path: str, source: Path, *, read_only: bool) -> None:
        """Mount `source` at `path`, which is made where the machine has none."""
        place = self._make(Path(os.path.realpath(path)), directory=source.is_dir())
        _bind(source, place)
        if read_only:
            kept = (os.statvfs(place).f_flag & _KEPT) | _BIND | _REMOUNT | _READ_ONLY
            _mount(None, str(place), None, kept)
        self._volumes.append(place)

    def _make(self, path: Path, *, directory: bool) -> Path:
        """Make a mount point, as a runtime does; in a volume it stays behind, everywhere else it is this tree's."""
        place = self._root
        for number, part in enumerate(path.parts[1:], start=2):
            parent, place = place, place / part
            if os.path.lexists(place):
                continue
            if parent not in self._ours and not any(parent.is_relative_to(volume) for volume in self._volumes):
                self._cover(parent)
            if directory or number < len(path.parts):
                place.mkdir()
                self._ours.add(place)
            else:
                place.touch()
        return place

    def _cover(self, place: Path) -> None:
        """Put a tmpfs with the same entries over a directory of the machine, so that something can be added to it."""
        _mount("tmpfs", str(place), "tmpfs", 0)
        self._bind_entries(Path("/") / place.relative_to(self._root), place)

    def _bind_entries(self, source: Path, place: Path) -> None:
        self._ours.add(place)
        for entry in source.iterdir():
            target = place / entry.name
            if entry.is_symlink():
                target.symlink_to(entry.readlink())
                continue
            target.mkdir() if entry.is_dir() else target.touch()
            _bind(entry, target)


def _unshare() -> None:
    """Leave the machine's mounts; who is not root becomes it in a user namespace of his own."""
    libc, user, group = _libc(), os.geteuid(), os.getegid()
    if libc.unshare(_NEW_MOUNTS) == 0:
        return
    if libc.unshare(_NEW_MOUNTS | _NEW_USER) != 0:
        _checked(-1, "no private mount namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _bind(source: Path, place: Path) -> None:
    _mount(str(source), str(place), None, _BIND | _RECURSIVE)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _checked(_libc().mount(*words, ctypes.c_ulong(flags), None), f"mount at {target}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _try(folder: str) -> None:
    """See a file of a mount at a path that the machine does not have."""
    source, root = Path(folder, "source"), Path(folder, "root")
    source.mkdir()
    root.mkdir()
    (source / "seen").touch()
    enter([(_TRIAL_PATH, str(source), True)], str(root), _TRIAL_PATH)
    if not Path("seen").exists():
        raise OSError("a mount is not seen")


if __name__ == "__main__":
    _try(sys.argv[1])
