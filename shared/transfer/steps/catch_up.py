"""Before the stop: carry over, round by round, what has changed, until what is left is small.

The first round may carry hours of changes; while it runs, new ones come, but fewer. As in gh-ost the rounds end when
the last one carried next to nothing, or when they no longer get smaller: then users write as fast as we read, and what
is left is what they write in one short round.

A round reads the live store where it lies, in a moment in which nobody writes: only what changed is read, which takes a
fraction of a second, and nothing is committed unless the files still stand as they stood at the beginning. No such
moment, or files in the middle of a write: then the round works on a private copy, which shares the files of the last
one that have not changed.

Why a rerun is safe: every round leaves rows and ledger as they were at one moment of each collection; the next begins
there.
"""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..chroma.quiet_reading import Reading, StoreInMotion
from ..chroma.selection import Selection
from ..chroma.snapshot import renewed_copy
from ..errors import NotAStore, UnknownFormat
from ..files.files import copy_files
from ..progress import Progress, silent
from ..verify.increments import carry_and_compare
from ..verify.verification import verify_vectors

MOST_ROUNDS = 4
FEW_ROWS = 100
"""So few changed rows take no longer after the stop than none at all."""
_QUIET_ATTEMPTS = 5
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Round:
    """What one round carried over, and where it read it."""

    written: int
    deleted: int
    collections: int
    in_place: bool
    seconds: float

    @property
    def rows(self) -> int:
        """Count what was written or deleted."""
        return self.written + self.deleted


def is_last(rounds: list[Round]) -> bool:
    """Tell whether another round would carry little, or not less."""
    last = rounds[-1].rows
    return len(rounds) >= MOST_ROUNDS or last < FEW_ROWS or (len(rounds) > 1 and last >= rounds[-2].rows)


def catch_up(
    url: str,
    data: Path,
    share: Path,
    scratch: Path,
    *,
    run: str,
    selection: Selection | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Carry over what changed since the bulk pass; what changes from now on is `finish`'s.

    Return what files and vectors say, all rounds together, and each round.
    """
    started = time.perf_counter()
    chosen = selection or Selection()
    rounds: list[Round] = []
    files: dict[str, Any] = {}
    vectors: dict[str, Any] = {}
    while not rounds or not is_last(rounds):
        files = _together(files, copy_files(data, share, look=not rounds, progress=progress), ("copied", "bytes"))
        began = time.perf_counter()
        carried, in_place = _round(url, data / "vector_db", scratch, run, chosen, progress)
        counts = carried["written"], carried["deleted"], carried["collections_changed"]
        rounds.append(Round(*counts, in_place, round(time.perf_counter() - began, 3)))
        vectors = _together(vectors, carried, ("written", "deleted", "collections_changed", "seconds"))
    return {
        "files": files,
        "vectors": vectors,
        "rounds": [{**asdict(one), "rows": one.rows} for one in rounds],
        "seconds": round(time.perf_counter() - started, 3),
    }


def _round(
    url: str, store: Path, scratch: Path, run: str, selection: Selection, progress: Progress
) -> tuple[dict[str, Any], bool]:
    """Carry over what changed, and compare it; return the counts and whether the live store itself was read."""
    for _ in range(_QUIET_ATTEMPTS):
        reading = Reading(store, store)
        if reading.is_settled() and not reading.has_journal():
            try:
                vectors, verified = carry_and_compare(url, reading, None, run, selection, progress)
            except (StoreInMotion, UnknownFormat, NotAStore):
                continue
            except Exception:
                with suppress(StoreInMotion):
                    reading.require_still()
                    raise
                continue  # whatever it was, it was seen in files in motion
            if verified:
                return vectors, True
            break
        time.sleep(_PAUSE_SECONDS)
    return _round_on_a_copy(url, store, scratch, run, selection, progress), False


def _round_on_a_copy(
    url: str, store: Path, scratch: Path, run: str, selection: Selection, progress: Progress
) -> dict[str, Any]:
    copy, _ = renewed_copy(store, scratch / "latest", like=scratch / "vector_db", progress=progress)
    vectors, verified = carry_and_compare(url, Reading(store, copy), scratch, run, selection, progress)
    if not verified:
        verify_vectors(url, copy, scratch, run=run, selection=selection, incremental=True, progress=progress)
    return vectors


def _together(before: dict[str, Any], now: dict[str, Any], sums: tuple[str, ...]) -> dict[str, Any]:
    """Return the newer counts, with these added up."""
    return {**now, **{name: round(before.get(name, 0) + now[name], 3) for name in sums}}
