"""Copies `uploads/` and `cache/` to a share: resumable, checked by checksum, undone exactly.

The manifest on the target says what was copied (`manifest`). A partial file lives under `.scaleout/partial/` only.
A rerun skips files whose size and mtime are as in the manifest; the delta also removes copies whose source has gone.
Nothing that this module did not copy is ever changed or deleted.

The target may be SMB, where ownership and permissions do not hold, so they are not touched, and times are set as well
as they can be. Links within `uploads/` or `cache/` stay links: a model cache is made of them (source: huggingface_hub,
`snapshots/<revision>/… -> ../../blobs/…`). Where the target takes none, what they point to is copied in their place.
Other links are left out and named: on a share they would point into whatever pod reads it.
"""

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, PermanentError, TransientError, VerificationFailed
from ..progress import Progress, silent
from .manifest import LINK, OWN_FOLDER, CopiedFile, Manifest

ROOTS = ("uploads", "cache")

_BLOCK = 1 << 20
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EACCES})
"""How SMB without mfsymlinks refuses a link. Source: cifs, fs/smb/client/link.c."""


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
            if _is_copied(known.get(path), entry, source / path, target / path if look else None):
                unchanged += 1
            elif entry.link and not (source / path).exists():
                links.append(path)  # it points at nothing
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
            if not _is_equal(source / path, target / path, entry):
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


def list_entries(source: Path) -> tuple[dict[str, CopiedFile], list[str]]:
    """Return files and directories by relative path (a directory has the digest ''), and the links and other things
    left out."""
    found: dict[str, CopiedFile] = {}
    left_out: list[str] = []
    for path in _walk(source):
        relative = path.relative_to(source).as_posix()
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode) and (link := inner_link(path, relative)):
            found[relative] = CopiedFile(relative, 0, 0, LINK, link=link)
        elif stat.S_ISDIR(state.st_mode):
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


def inner_link(path: Path, relative: str) -> str:
    """Return where this link points; nothing when that is not within the same root, or a chain of links."""
    pointed = str(path.readlink())
    root = relative.partition("/")[0]
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(relative), pointed))
    inside = not posixpath.isabs(pointed) and meant.startswith(f"{root}/")
    return pointed if inside and not (path.parent / pointed).is_symlink() else ""


def _is_equal(source: Path, target: Path, entry: CopiedFile) -> bool:
    if entry.digest == "":
        return target.is_dir()
    if entry.link and target.is_symlink():
        return str(target.readlink()) == entry.link
    if not source.is_file():
        return False
    return target.is_file() and digest_of(source) == digest_of(target)


def _is_copied(known: CopiedFile | None, entry: CopiedFile, source: Path, target: Path | None) -> bool:
    if known is None or known.link != entry.link:
        return False
    if entry.link and known.digest != LINK:  # the target takes no links: a copy of what it points to
        entry = _pointed_to(source, entry)
    if (known.size, known.mtime_ns) != (entry.size, entry.mtime_ns):
        return False
    return target is None or _is_there(target, known)


def _pointed_to(source: Path, entry: CopiedFile) -> CopiedFile:
    try:
        state = source.stat()
    except FileNotFoundError:
        return entry
    return CopiedFile(entry.path, state.st_size, state.st_mtime_ns, None, link=entry.link)


def _is_there(target: Path, known: CopiedFile) -> bool:
    """Look whether the copy is as it was made, as far as that can be seen without reading it."""
    if known.digest == LINK:
        return target.is_symlink() and str(target.readlink()) == known.link
    if known.digest == "":
        return target.is_dir()
    try:
        return target.stat().st_size == known.size
    except FileNotFoundError:
        return False


def copy_link(target: Path, root: Path, entry: CopiedFile) -> bool:
    """Make the same link on the target; False where that takes none."""
    partial = _partial(root, entry)
    partial.unlink(missing_ok=True)
    try:
        partial.symlink_to(entry.link)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
    return True


def _partial(root: Path, entry: CopiedFile) -> Path:
    partial = root / OWN_FOLDER / "partial" / hashlib.blake2b(os.fsencode(entry.path), digest_size=16).hexdigest()
    partial.parent.mkdir(parents=True, exist_ok=True)
    return partial


def copy_entry(source: Path, target: Path, root: Path, entry: CopiedFile) -> CopiedFile:
    """Copy under a partial name, read it back, compare, rename. A source that changes meanwhile is copied again."""
    if entry.digest == "":
        target.mkdir(parents=True, exist_ok=True)
        return entry
    if entry.link and copy_link(target, root, entry):
        return entry
    if source.is_dir():
        raise PermanentError(
            f"{entry.path!r} is a link to a folder, and the target takes no links",
            hint="mount the share with mfsymlinks, as AKS's own classes do",
        )
    for _ in range(5):
        before = source.stat()
        partial = _partial(root, entry)
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
        return CopiedFile(entry.path, after.st_size, after.st_mtime_ns, digest, link=entry.link)
    raise TransientError(f"{entry.path!r} changes faster than it can be copied", hint="run the same command again")


def _copy_bytes(source: Path, target: Path) -> str:
    hashed = hashlib.blake2b(digest_size=32)
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            hashed.update(block)
            if block.count(0) == len(block):
                writing.seek(len(block), os.SEEK_CUR)  # a hole stays a hole
            else:
                writing.write(block)
        writing.truncate()
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
        elif entry.digest == LINK:
            if str(path.readlink()) != entry.link:
                return "changed"
            path.unlink()
        elif path.is_symlink() or path.stat().st_size != entry.size or digest_of(path) != entry.digest:
            return "changed"
        else:
            path.unlink()
    except FileNotFoundError:
        return "gone"
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EINVAL):  # EINVAL: no longer a link
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
