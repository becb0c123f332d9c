"""Run programs that refuse to run as root, and find them a directory that they can reach.

PostgreSQL will not start as root. A plain user runs it as himself; root hands it to the account `nobody`, which
can open only what lies under directories that everybody may enter. A home directory or pytest's own temporary
directory often is not of that kind; the data then lives under the system's temporary directory, at a place
derived from the directory asked for.
"""

import contextlib
import ctypes
import hashlib
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Account:
    """Who a server process runs as; `switch` is false when that is who we are already."""

    uid: int
    gid: int
    switch: bool


def server_account() -> Account:
    """Return ourselves, or `nobody` for root."""
    if os.getuid() != 0:
        return Account(os.getuid(), os.getgid(), switch=False)
    with contextlib.suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        return Account(nobody.pw_uid, nobody.pw_gid, switch=True)
    return Account(65534, 65534, switch=True)


def reachable(directory: Path, account: Account) -> bool:
    """Say whether every parent of `directory` lets `account` through."""
    if not account.switch:
        return True
    parents = directory.resolve().parents
    return all(parent.stat().st_mode & stat.S_IXOTH or parent.stat().st_uid == account.uid for parent in parents)


def reachable_directory(wanted: Path, account: Account) -> Path:
    """Create `wanted` for `account`, or a stand-in under the temporary directory where `account` cannot get there."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    place = wanted
    if not reachable(wanted, account):
        digest = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
        place = Path(tempfile.gettempdir()) / f"scaleout-postgres-{digest}"
    place.mkdir(mode=0o700, exist_ok=True)
    owner = place.lstat().st_uid
    if place.is_symlink() or owner not in {os.getuid(), account.uid}:
        raise PermissionError(f"{place} belongs to somebody else (uid {owner})")
    give(place, account)
    return place


def give(path: Path, account: Account, mode: int = 0o700) -> None:
    """Make `account` the owner of `path`, with nobody else let in."""
    path.chmod(mode)
    if account.switch:
        os.chown(path, account.uid, account.gid)


def command(account: Account) -> dict[str, Any]:
    """Return the arguments for `subprocess` that make a command run as `account`."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account.switch else {}


def start(
    argv: Sequence[str], account: Account, environment: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server as `account` that shuts down by itself when this process dies, however it dies."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        preexec_fn=_end_with_parent(),  # noqa: PLW1509 (it makes one system call)
        **command(account),
    )


def _end_with_parent() -> Callable[[], None] | None:
    """Ask the kernel for a SIGINT (a fast shutdown) when the parent is gone; runs after the change of account."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # loaded here: after the fork it would not be safe
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
