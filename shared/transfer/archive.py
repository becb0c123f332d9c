"""The runbook's backup: `vector_db` as a checksummed archive on the share, from a consistent private copy.

The archive's name carries the store's fingerprint, so the same store is archived once and a changed one beside it. It
is written under a temporary name, read back member by member against the copy, and only then renamed; `sha256sum -c`
accepts the file beside it.
"""

import gzip
import hashlib
import os
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from .errors import PermanentError, TransientError
from .progress import Progress, silent
from .snapshot import file_states, private_copy, store_fingerprint

_BLOCK = 1 << 20


def archive(store: Path, target: Path, scratch: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Archive the store; return path, size and sha256. An archive of the same fingerprint is verified and used
    again."""
    if not store.is_dir():
        raise PermanentError(f"{store} does not exist", hint="--data is the directory that holds vector_db")
    existing = _finished(target, store_fingerprint(store))
    if existing:
        return existing
    copy, fingerprint = private_copy(store, scratch, progress=progress)
    existing = _finished(target, fingerprint)
    if existing:
        return existing
    final = _path(target, fingerprint)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.partial")
    digest = _write(copy, partial, progress)
    if _sha256(partial) != digest:
        raise TransientError(f"{final.name} reads back differently", hint="run the same command again")
    _compare(copy, partial)
    _sum_file(final).write_text(f"{digest}  {final.name}\n")
    partial.replace(final)
    return _result(final, digest)


def _finished(target: Path, fingerprint: str) -> dict[str, Any] | None:
    final = _path(target, fingerprint)
    if not final.is_file() or not _sum_file(final).is_file():
        return None
    digest = _sum_file(final).read_text().split()[0]
    return _result(final, digest) if _sha256(final) == digest else None


def _result(final: Path, digest: str) -> dict[str, Any]:
    return {"path": str(final), "bytes": final.stat().st_size, "sha256": digest}


def _path(target: Path, fingerprint: str) -> Path:
    return target / f"vector_db-{fingerprint}.tar.gz"


def _sum_file(final: Path) -> Path:
    return final.with_name(f"{final.name}.sha256")


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.sha256.update(block)
        return self._file.write(block)

    def flush(self) -> None:
        self._file.flush()


def _write(copy: Path, partial: Path, progress: Progress) -> str:
    states = file_states(copy)
    total = sum(size for size, _ in states.values())
    done = 0
    with partial.open("wb") as file:
        hashing = _Hashing(file)
        # Level 1: vectors hardly compress, and the disk is waiting. mtime 0: the same store gives the same bytes.
        with gzip.GzipFile("", "wb", 1, hashing, mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w|") as tar:
            for relative in sorted(states):
                tar.add(copy / relative, f"vector_db/{relative}", recursive=False, filter=_anonymous)
                done += states[relative][0]
                progress("archive", done, total, "bytes")
        file.flush()
        os.fsync(file.fileno())
    return hashing.sha256.hexdigest()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose copy it was and when: the same store gives the same archive."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o644
    return member


def _compare(copy: Path, partial: Path) -> None:
    """Read the archive as a restore would, and compare every member with the copy."""
    expected = {f"vector_db/{relative}" for relative in file_states(copy)}
    with tarfile.open(partial, "r|gz") as tar:
        for member in tar:
            stored = tar.extractfile(member)
            if (
                member.name not in expected
                or stored is None
                or not _same(stored, copy / Path(member.name).relative_to("vector_db"))
            ):
                raise TransientError(
                    f"{member.name} in the archive differs from the store", hint="run the same command again"
                )
            expected.discard(member.name)
    if expected:
        raise TransientError(f"{len(expected)} files are missing in the archive", hint="run the same command again")


def _same(stored: Any, path: Path) -> bool:
    with path.open("rb") as file:
        while True:
            ours, theirs = file.read(_BLOCK), stored.read(_BLOCK)
            if ours != theirs:
                return False
            if not ours:
                return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
