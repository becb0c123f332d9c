"""The runbook's backup: `vector_db` as a checksummed archive on the share, from a consistent private copy.

The archive's name carries the store's fingerprint, so the same store is archived once and a changed one beside it. It
is written under a temporary name, read back as a restore would read it, size and sha256 of every member compared with
the copy, and only then renamed. Beside it lie its own checksum (`.sha256`) and its members' (`.members.sha256`), as
`sha256sum -c` takes them before and after a restore: infra/kubernetes/restore-backup.yaml.
"""

import gzip
import hashlib
import os
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from ..chroma.snapshot import file_states, private_copy, store_fingerprint
from ..errors import PermanentError, TransientError
from ..progress import Progress, silent

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
    members = _verify(copy, partial, progress)
    _members_file(final).write_text("".join(f"{one}  {name}\n" for name, (_, one) in sorted(members.items())))
    _sum_file(final).write_text(f"{digest}  {final.name}\n")
    partial.replace(final)
    return _result(final, digest)


def _finished(target: Path, fingerprint: str) -> dict[str, Any] | None:
    final = _path(target, fingerprint)
    if not all(path.is_file() for path in (final, _sum_file(final), _members_file(final))):
        return None
    digest = _sum_file(final).read_text().split()[0]
    return _result(final, digest) if _sha256(final) == digest else None


def _result(final: Path, digest: str) -> dict[str, Any]:
    members = len(_members_file(final).read_text().splitlines())
    return {"path": str(final), "bytes": final.stat().st_size, "sha256": digest, "members_verified": members}


def _path(target: Path, fingerprint: str) -> Path:
    return target / f"vector_db-{fingerprint}.tar.gz"


def _sum_file(final: Path) -> Path:
    return final.with_name(f"{final.name}.sha256")


def _members_file(final: Path) -> Path:
    return final.with_name(f"{final.name}.members.sha256")


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


def _verify(copy: Path, partial: Path, progress: Progress) -> dict[str, tuple[int, str]]:
    """Read the archive as a restore would; return size and sha256 of every member, all of them those of the copy."""
    expected = {f"vector_db/{relative}": size for relative, (size, _) in file_states(copy).items()}
    members: dict[str, tuple[int, str]] = {}
    with tarfile.open(partial, "r|gz") as tar:
        for at, member in enumerate(tar):
            stored = tar.extractfile(member)
            members[member.name] = (member.size, _digest_of(stored) if stored else "")
            progress("verify archive", at + 1, len(expected), "files")
    wrong = sorted(
        name
        for name in expected.keys() | members.keys()
        if members.get(name) != (expected.get(name), _sha256(copy / Path(name).relative_to("vector_db")))
    )
    if wrong:
        raise TransientError(
            f"{len(wrong)} files of the archive are missing or differ from the store: {', '.join(wrong[:5])}",
            hint="run the same command again",
        )
    return members


def _digest_of(stored: Any) -> str:
    hashed = hashlib.sha256()
    while block := stored.read(_BLOCK):
        hashed.update(block)
    return hashed.hexdigest()


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
