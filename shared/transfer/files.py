"""Copies `uploads/` and `cache/` to a share: resumable, checked by checksum, undone exactly.

The manifest `.scaleout/files.jsonl` on the target says what was copied: one JSON line a file (path, size, mtime_ns of
the source, blake2b), appended after the file got its final name. A partial file lives under `.scaleout/partial/` only.
A rerun skips files whose size and mtime are as in the manifest; the delta also removes copies whose source has gone.
Nothing that this module did not copy is ever changed or deleted.

The target may be SMB, where ownership and permissions do not hold, so they are not touched, and times are set as well
as they can be. Links are left out and named: a link on a share would point into whatever pod reads it.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigurationError, PermanentError, TransientError, VerificationFailed
from .progress import Progress, silent

ROOTS = ("uploads", "cache")
OWN_FOLDER = ".scaleout"

_MANIFEST = "files.jsonl"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One manifest line; `digest` is None for a directory and for a file that was removed again."""

    path: str
    size: int
    mtime_ns: int
    digest: str | None
    gone: bool = False


def copy_files(
    source: Path, target: Path, *, delta: bool = False, look: bool = True, progress: Progress = silent
) -> dict[str, Any]:
    """Copy what the manifest does not know as copied; with `delta` also delete what disappeared at the source.

    Without `look` the manifest is believed about the target: asking a share about every file takes milliseconds each.
    """
    with io_errors():
        require_folders(source, target)
        manifest = Manifest(target)
        known = manifest.read()
        found, links = list_entries(source)
        total = sum(entry.size for entry in found.values())
        done = copied = unchanged = copied_bytes = 0
        for path, entry in found.items():
            done += entry.size
            if _is_copied(known.get(path), entry, target / path if look else None):
                unchanged += 1
            else:
                fresh = copy_entry(source / path, target / path, target, entry)
                manifest.append(fresh)
                copied += 1
                copied_bytes += fresh.size
            progress("copy files", done, total, "bytes")
        gone = [entry for path, entry in known.items() if path not in found] if delta else []
        deleted = delete_entries(target, manifest, gone)
        manifest.compact()
        return {
            "copied": copied,
            "deleted": deleted,
            "unchanged": unchanged,
            "bytes": copied_bytes,
            "files_total": sum(1 for entry in found.values() if entry.digest != ""),
            "bytes_total": total,
            "verified": copied,
            "links_left_out": links,
        }


def verify_files(source: Path, target: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Compare every file by checksum. Raises VerificationFailed naming the paths that differ."""
    with io_errors():
        require_folders(source, target)
        found, _ = list_entries(source)
        total = sum(entry.size for entry in found.values())
        done = 0
        wrong = []
        for path, entry in found.items():
            if entry.digest == "":
                equal = (target / path).is_dir()
            else:
                equal = (target / path).is_file() and digest_of(source / path) == digest_of(target / path)
            if not equal:
                wrong.append(path)
            done += entry.size
            progress("verify files", done, total, "bytes")
    if wrong:
        raise VerificationFailed(
            f"{len(wrong)} files differ or are missing at the target: {', '.join(map(repr, wrong[:20]))}",
            hint="run copy-files --delta again, then verify-files",
        )
    return {"equal": True, "files": sum(1 for entry in found.values() if entry.digest != ""), "bytes": total}


def remove_files(target: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Remove exactly what the manifest says was copied and is unchanged since; what changed stays and is named."""
    with io_errors():
        manifest = Manifest(target)
        known = manifest.read()
        kept = []
        removed = 0
        for at, entry in enumerate(sorted(known.values(), key=lambda one: one.path, reverse=True)):
            outcome = _remove(target / entry.path, entry)
            kept += [entry.path] if outcome == "changed" else []
            removed += outcome == "removed"
            progress("remove files", at + 1, len(known), "files")
        manifest.forget()
        for root in ROOTS:
            with suppress(OSError):
                (target / root).rmdir()
        return {"removed": removed, "kept_changed": kept[:100], "kept": len(kept)}


class Manifest:
    """What was copied to a target; a line is only trusted when it is whole."""

    def __init__(self, target: Path) -> None:
        self._path = target / OWN_FOLDER / _MANIFEST

    def read(self) -> dict[str, CopiedFile]:
        """Return the entries by path, the last line of a path counting."""
        entries: dict[str, CopiedFile] = {}
        if self._path.is_file():
            for line in self._path.read_text("ascii").splitlines():
                try:
                    entry = CopiedFile(**json.loads(line))
                except ValueError:
                    continue  # the line that was being written when the process was killed
                entries.pop(entry.path, None)
                if not entry.gone:
                    entries[entry.path] = entry
        return entries

    def append(self, entry: CopiedFile) -> None:
        """Add one entry. A torn last line is closed first, so that it cannot swallow this one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(b"\n" + json.dumps(asdict(entry)).encode("ascii") + b"\n")

    def compact(self) -> None:
        """Rewrite the manifest with one line a path."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in self.read().values())
        fresh = self._path.with_suffix(".new")
        fresh.write_text(lines, "ascii")
        fresh.replace(self._path)

    def forget(self) -> None:
        """Remove the manifest and everything partial."""
        for folder in (self._path.parent / "partial", self._path.parent):
            if folder.is_dir():
                for path in folder.iterdir():
                    if path.name == _MANIFEST or folder.name == "partial":
                        path.unlink()
                with suppress(OSError):
                    folder.rmdir()


def list_entries(source: Path) -> tuple[dict[str, CopiedFile], list[str]]:
    """Return files and directories by relative path (a directory has the digest ''), and the links and other things
    left out."""
    found: dict[str, CopiedFile] = {}
    left_out: list[str] = []
    for path in _walk(source):
        relative = path.relative_to(source).as_posix()
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode):
            found[relative] = CopiedFile(relative, 0, 0, "")
        elif stat.S_ISREG(state.st_mode):
            found[relative] = CopiedFile(relative, state.st_size, state.st_mtime_ns, None)
        else:
            left_out.append(relative)
    return found, left_out


def _walk(source: Path) -> Iterator[Path]:
    for root in ROOTS:
        if (source / root).is_dir():
            yield source / root
            for folder, folders, names in os.walk(source / root):
                for name in sorted(folders) + sorted(names):
                    yield Path(folder, name)


def _is_copied(known: CopiedFile | None, entry: CopiedFile, target: Path | None) -> bool:
    if known is None or (known.size, known.mtime_ns) != (entry.size, entry.mtime_ns):
        return False
    if target is None:
        return True
    if entry.digest == "":
        return target.is_dir()
    try:
        return target.stat().st_size == known.size
    except FileNotFoundError:
        return False


def copy_entry(source: Path, target: Path, root: Path, entry: CopiedFile) -> CopiedFile:
    """Copy under a partial name, read it back, compare, rename. A source that changes meanwhile is copied again."""
    if entry.digest == "":
        target.mkdir(parents=True, exist_ok=True)
        return entry
    for _ in range(5):
        before = source.stat()
        partial = root / OWN_FOLDER / "partial" / hashlib.blake2b(os.fsencode(entry.path), digest_size=16).hexdigest()
        partial.parent.mkdir(parents=True, exist_ok=True)
        digest = _copy_bytes(source, partial)
        after = source.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            continue
        if digest_of(partial) != digest:
            raise TransientError(
                f"{entry.path!r} reads back differently from the target", hint="run the same command again"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            os.utime(partial, ns=(after.st_atime_ns, after.st_mtime_ns))
        partial.replace(target)
        return CopiedFile(entry.path, after.st_size, after.st_mtime_ns, digest)
    raise TransientError(f"{entry.path!r} changes faster than it can be copied", hint="run the same command again")


def _copy_bytes(source: Path, target: Path) -> str:
    hashed = hashlib.blake2b(digest_size=32)
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            hashed.update(block)
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())
    return hashed.hexdigest()


def digest_of(path: Path) -> str:
    hashed = hashlib.blake2b(digest_size=32)
    with path.open("rb") as reading:
        while block := reading.read(_BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def delete_entries(target: Path, manifest: Manifest, entries: list[CopiedFile]) -> int:
    deleted = 0
    for entry in sorted(entries, key=lambda one: one.path, reverse=True):
        if _remove(target / entry.path, entry) != "changed":
            manifest.append(CopiedFile(entry.path, 0, 0, None, gone=True))
            deleted += 1
    return deleted


def _remove(path: Path, entry: CopiedFile) -> str:
    try:
        if entry.digest == "":
            path.rmdir()
        elif path.stat().st_size != entry.size or digest_of(path) != entry.digest:
            return "changed"
        else:
            path.unlink()
    except FileNotFoundError:
        return "gone"
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return "changed"
        raise
    return "removed"


def require_folders(source: Path, target: Path) -> None:
    for name, path in (("--source", source), ("--target", target)):
        if not path.is_dir():
            raise ConfigurationError(f"{name} {path} is not a directory", hint="mount the volume there")
    if source.resolve() == target.resolve():
        raise ConfigurationError("--source and --target are the same directory", hint="mount the share elsewhere")


class io_errors:
    """Turn the file system's errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            where = f" ({error.filename})" if error.filename else ""
            message = f"{error.strerror or error}{where}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PermanentError(
                    message, hint="the share is full: give it a larger quota, then run the command again"
                ) from error
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise ConfigurationError(message, hint="the mount does not allow this") from error
            raise TransientError(message, hint="run the same command again: it goes on where it stood") from error
