"""Reads a store in place, and knows whether it was written meanwhile by looking only at the files that are read.

A store of many collections has thousands of files; to look at all of them would take longer than to read what changed.
The database and its journals are looked at before anything is read. A collection's folder is added when it is about to
be read: it must not be newer than the beginning, or its files could be of another moment than the database. Whoever
read something asks `require_still` before relying on it.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import TransientError
from ..progress import Progress, silent
from .catalog import DATABASE_FILE
from .snapshot import JOURNALS, SETTLED_NS, FileState, private_copy

_CLOCK_TICK_NS = 10_000_000
"""The file system's clock may lag by one tick of the kernel's, which is 1–10 ms."""

_PAUSE_SECONDS = 0.02


class StoreInMotion(TransientError):
    """The store was written while it was read."""


class Reading:
    """One reading of a store: in place, or of a private copy that nobody can write."""

    def __init__(self, store: Path, path: Path) -> None:
        self.store = store
        self.path = path
        self._in_place = store == path
        self._began = time.time_ns()
        self._states = self._look(()) if self._in_place else {}
        self._folders: set[str] = set()

    def include(self, folders: Iterable[str]) -> None:
        """Note the files of segments that are read from now on. Raises StoreInMotion if they were just written."""
        if not self._in_place:
            return
        fresh = {one for one in folders if one} - self._folders
        states = self._look(fresh, database=False)
        if any(mtime >= self._began - _CLOCK_TICK_NS for _, mtime in states.values()):
            raise _written()
        self._folders |= fresh
        self._states |= states

    def require_still(self) -> None:
        """Raise StoreInMotion if any file that was read has been written since."""
        if self._in_place and self._look(self._folders) != self._states:
            raise _written()

    def has_journal(self) -> bool:
        """Tell whether a transaction is open, or was cut off."""
        return any(self._states.get(name, (0, 0))[0] for name in JOURNALS)

    def is_settled(self) -> bool:
        """Tell whether no change is so recent that another one could carry the same time."""
        newest = max((mtime for _, mtime in self._states.values()), default=0)
        return self._began - newest > SETTLED_NS

    def _look(self, folders: Iterable[str], *, database: bool = True) -> dict[str, FileState]:
        names = [DATABASE_FILE, *JOURNALS] if database else []
        for folder in folders:
            if (self.store / folder).is_dir():
                names += [f"{folder}/{path.name}" for path in (self.store / folder).iterdir()]
        states = {}
        for name in names:
            try:
                stat = (self.store / name).stat()
            except FileNotFoundError:
                continue
            states[name] = (stat.st_size, stat.st_mtime_ns)
        return states


@contextmanager
def readable_now(store: Path, scratch: Path, *, progress: Progress = silent) -> Iterator[Reading]:
    """Yield the reading of a stopped store: in place if no journal is open, else of a private copy.

    Raises StoreInMotion when the store was written meanwhile after all.
    """
    reading = Reading(store, store)
    while not reading.is_settled():
        time.sleep(_PAUSE_SECONDS)  # at most a few times, for whoever stopped it a moment ago
        reading = Reading(store, store)
    if reading.has_journal():
        shutil.rmtree(scratch / "vector_db", ignore_errors=True)
        scratch.mkdir(parents=True, exist_ok=True)
        reading = Reading(store, private_copy(store, scratch, progress=progress)[0])
    yield reading
    reading.require_still()


def _written() -> "StoreInMotion":
    return StoreInMotion(
        "the store was written while it was read",
        hint="stop every process that uses it, then run the same command again",
    )
