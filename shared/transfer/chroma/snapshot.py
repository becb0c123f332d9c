"""A consistent private copy of a store that is being written, and the right to read a stopped one in place.

The live store is only ever read with plain reads: no SQLite connection, no lock, nothing that could make the server
wait or recover a journal. Consistency comes from fingerprints: names, sizes and modification times of all files before
and after must be the same, no journal may be open, and a change must lie long enough back for the file system's clock
to tell two writes apart. Files that changed meanwhile are copied again, until one pass sees nothing move.

A moment in which nothing moves can still be one in the middle of a write (`chroma.torn_copy`): such a copy is made
again, for a while.

Why a rerun is safe: a finished copy carries a marker with the fingerprint; an unfinished one is completed, file by
file.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigurationError, NotAStore, TransientError
from ..progress import Progress, silent
from .catalog import DATABASE_FILE
from .torn_copy import disturbance

FileState = tuple[int, int]  # size, mtime_ns
Result = TypeVar("Result")

_MARKER = ".snapshot.json"
SETTLED_NS = 50_000_000  # well over one tick of any kernel's file clock (1–10 ms)
_ROUNDS = 60
_PATIENCE_SECONDS = 3.0
"""How long to wait for a write to end; the longest part of one, writing a large index, takes about a second."""
_QUIET_ATTEMPTS = 3
JOURNALS = (f"{DATABASE_FILE}-journal", f"{DATABASE_FILE}-wal")
_NOT_THE_STORES = (_MARKER, f"{DATABASE_FILE}-shm")


def file_states(store: Path) -> dict[str, FileState]:
    """Return size and modification time of every file of the store, by relative path."""
    states: dict[str, FileState] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        with suppress(FileNotFoundError), os.scandir(store / folder) as entries:  # deleted: the next round sees it
            for entry in entries:
                relative = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{relative}/")
                elif relative not in _NOT_THE_STORES:
                    with suppress(FileNotFoundError):
                        stat = entry.stat()
                        states[relative] = (stat.st_size, stat.st_mtime_ns)
    return states


def fingerprint(states: dict[str, FileState]) -> str:
    """Return 16 hex digits that change whenever any file of the store does."""
    text = json.dumps(sorted(states.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def store_fingerprint(store: Path) -> str:
    """Return the fingerprint of a store as it is now; of a private copy, that of the store it was made from."""
    return str(_read_marker(store)["fingerprint"]) if is_marked(store) else fingerprint(file_states(store))


@contextmanager
def readable(store: Path, scratch: Path, *, progress: Progress = silent) -> Iterator[Path]:
    """Yield a directory that can be read safely: the store itself if it is stopped and clean, else a private copy.

    Raises TransientError when the store was written meanwhile after all.
    """
    before = file_states(store)
    if any(before.get(name, (0, 0))[0] for name in JOURNALS):
        shutil.rmtree(scratch / "vector_db", ignore_errors=True)
        scratch.mkdir(parents=True, exist_ok=True)
        yield private_copy(store, scratch, progress=progress)[0]
        return
    yield store
    if file_states(store) != before:
        raise TransientError(
            "the store was written while it was read",
            hint="stop every process that uses it, then run the same command again",
        )


def read_undisturbed(
    store: Path, scratch: Path, use: Callable[[Path], Result], *, progress: Progress = silent
) -> Result:
    """Call `use` with a directory that nobody wrote while it was read: the live store in a quiet moment, else a copy.

    Saves the copy, and its space, where a look takes seconds and writes are minutes apart. `use` may be called several
    times, and may fail on what it sees of a store in motion.
    """
    for _ in range(_QUIET_ATTEMPTS):
        before = file_states(store)
        if any(before.get(name, (0, 0))[0] for name in JOURNALS) or not _is_settled(before):
            continue
        try:
            result = use(store)
        except Exception:
            if file_states(store) == before:
                raise
            continue
        if file_states(store) == before:
            return result
    return use(private_copy(store, scratch, progress=progress)[0])


def is_private_copy(scratch: Path) -> bool:
    """Tell whether `scratch` holds a finished private copy."""
    return is_marked(scratch / "vector_db")


def is_marked(store: Path) -> bool:
    """Tell whether a store is a finished private copy."""
    return (store / _MARKER).is_file()


def _read_marker(copy: Path) -> dict[str, Any]:
    marker: dict[str, Any] = json.loads((copy / _MARKER).read_text())
    return marker


def private_copy(store: Path, scratch: Path, *, progress: Progress = silent) -> tuple[Path, str]:
    """Copy the store into `scratch` so that all files belong together; return the copy and the source's fingerprint.

    A finished copy in the same scratch directory is used again, whatever happened to the store since.
    """
    target = scratch / "vector_db"
    if is_marked(target):
        return target, store_fingerprint(target)
    return _copy(store, scratch, None, progress)


def renewed_copy(
    store: Path, scratch: Path, *, like: Path | None = None, progress: Progress = silent
) -> tuple[Path, str]:
    """Make a private copy of the store as it is now; files that have not changed since the last one are linked to it.

    `like` is another private copy whose files may be linked to. The copies must only be read: they share these files.
    """
    last = scratch / "last"
    if is_private_copy(scratch):
        shutil.rmtree(last, ignore_errors=True)
        (scratch / "vector_db").rename(last)
    usable = [one for one in (last, like) if one and (one / _MARKER).is_file()]
    made = _copy(store, scratch, usable[0] if usable else None, progress)
    shutil.rmtree(last, ignore_errors=True)
    return made


def _copy(store: Path, scratch: Path, earlier: Path | None, progress: Progress) -> tuple[Path, str]:
    target = scratch / "vector_db"
    target.mkdir(parents=True, exist_ok=True)
    copying = _Copying(store, target, earlier, progress)
    whole_by = time.monotonic() + _PATIENCE_SECONDS
    for _ in range(_ROUNDS):
        before = file_states(store)
        copying.require_space(before)
        if _is_settled(before) and copying.copy_changed(before) and file_states(store) == before:
            _drop_foreign(target, before)
            _recover(target)
            # What lasts longer is no write under way but what a crash has left: then the reader decides.
            if is_marked(store) or time.monotonic() > whole_by or not disturbance(target):
                print_of_source = store_fingerprint(store) if is_marked(store) else fingerprint(before)
                (target / _MARKER).write_text(json.dumps({"fingerprint": print_of_source, "files": before}))
                return target, print_of_source
            copying.forget_recovered()
        time.sleep(0.1)
    raise TransientError(
        f"the store changed in each of {_ROUNDS} attempts to copy it",
        hint="run the same command again at a quieter moment",
    )


def _is_settled(states: dict[str, FileState]) -> bool:
    """No change so recent that another one could carry the same time."""
    newest = max((mtime for _, mtime in states.values()), default=0)
    return time.time_ns() - newest > SETTLED_NS


class _Copying:
    """Brings the files of a copy to what the store's are, one look after the other."""

    def __init__(self, store: Path, target: Path, earlier: Path | None, progress: Progress) -> None:
        self._store, self._target, self._earlier, self._progress = store, target, earlier, progress
        marked = _read_marker(earlier).get("files", {}) if earlier else {}
        # The database is never shared: a copy of it is recovered, which writes.
        self._linkable = {name: tuple(state) for name, state in marked.items() if not name.startswith(DATABASE_FILE)}
        self._copied: dict[str, FileState] = {}

    def copy_changed(self, states: dict[str, FileState]) -> bool:
        """Copy what is not copied as it is now; return whether everything was still there."""
        total = sum(size for size, _ in states.values())
        done = 0
        for relative, state in sorted(states.items()):
            if self._copied.get(relative) != state:
                destination = self._target / relative
                destination.parent.mkdir(parents=True, exist_ok=True)
                destination.unlink(missing_ok=True)  # it may be shared with an earlier copy
                try:
                    if not self._link(relative, state):
                        shutil.copyfile(self._store / relative, destination)
                except FileNotFoundError:
                    return False
                self._copied[relative] = state
            done += state[0]
            self._progress("copy the store aside", done, total, "bytes")
        return True

    def forget_recovered(self) -> None:
        """Copy the database and its journals again: recovery has changed them."""
        self._copied = {name: state for name, state in self._copied.items() if not name.startswith(DATABASE_FILE)}

    def require_space(self, states: dict[str, FileState]) -> None:
        """Raise ConfigurationError when what is still to be copied does not fit."""
        here = {**self._linkable, **self._copied}
        missing = sum(state[0] for name, state in states.items() if here.get(name) != state)
        free = shutil.disk_usage(self._target).free
        if missing > free:
            raise ConfigurationError(
                f"the private copy needs {missing:,} bytes in {self._target.parent}, {free:,} are free",
                hint="give a larger --scratch",
            )

    def _link(self, relative: str, state: FileState) -> bool:
        if self._earlier is None or self._linkable.get(relative) != state:
            return False
        try:
            (self._target / relative).hardlink_to(self._earlier / relative)
        except OSError:
            return False  # a file system without links, or another one
        return True


def _drop_foreign(target: Path, states: dict[str, FileState]) -> None:
    """Remove what an earlier, unfinished copy left and the store no longer has."""
    for relative in file_states(target).keys() - states.keys():
        (target / relative).unlink()


def _recover(target: Path) -> None:
    """Let SQLite fold a write-ahead log into the copy, so that it can be opened immutable."""
    if not (target / DATABASE_FILE).is_file():
        return
    try:
        connection = sqlite3.connect(target / DATABASE_FILE)
        try:
            connection.execute("pragma journal_mode = delete").fetchone()
            connection.execute("select count(*) from sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise NotAStore(f"{DATABASE_FILE} is damaged: {error}", hint="restore the store from a backup") from error
