"""The time after the stop: of the migration itself, with 1 % of the rows changed during the bulk pass, and without its
catch-up.

A migration copies the bulk while Open WebUI serves, catches up before the stop, and finishes after it. So 1 % of the
rows are changed after the bulk pass, then it catches up; meanwhile rows go on changing as fast as they did, and what
changed during its last round is what `finish` finds. The stricter figures leave the catch-up out: everything that
changed is carried over after the stop.
"""

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from shared.transfer.load.bulk import copy_vectors
from shared.transfer.pgvector.indexes import build_indexes
from shared.transfer.steps.catch_up import catch_up
from shared.transfer.steps.finish import finish, verify_copy

RUN = "bench"
SHARE_OF_ROWS = 100  # one row in so many changes during the bulk pass
_SHORT_REPEATS = 3  # what takes some hundredths of a second is measured more often


def measure(
    url: str, store: Path, rows: int, folder: Path, change: Callable[[Path, int], None], *, repeats: int
) -> dict[str, float]:
    """Return median seconds by case, and how many rows were left to `finish` after the catch-up.

    `change` changes so many rows of a store, as users do.
    """
    data, share, scratch = folder / "data", folder / "share", folder / "scratch"
    for path in (data, share, scratch):
        path.mkdir()
    live = data / "vector_db"
    shutil.copytree(store, live)
    started = time.perf_counter()
    copy_vectors(url, live, scratch, run=RUN)
    bulk_seconds = time.perf_counter() - started
    build_indexes(url)
    verify_copy(url, live, scratch, run=RUN)

    def after_the_stop(count: int) -> float:
        change(live, count)
        return float(finish(url, data, share, scratch, run=RUN)["seconds"])

    def after_catching_up() -> dict[str, float]:
        change(live, rows // SHARE_OF_ROWS)
        caught_up = catch_up(url, data, share, scratch, run=RUN)
        # What came during a round is the next round's; only what came during the last one is left.
        last = caught_up["rounds"][-1]["seconds"]
        left = max(4, round(rows / SHARE_OF_ROWS * last / bulk_seconds))
        return {
            "catch_up_seconds": caught_up["seconds"],
            "rows_after_catch_up": left,
            "delta_seconds": statistics.median(after_the_stop(left) for _ in range(_SHORT_REPEATS)),
            "delta_100_seconds": statistics.median(after_the_stop(100) for _ in range(_SHORT_REPEATS)),
            "delta_strict_seconds": after_the_stop(rows // SHARE_OF_ROWS),
        }

    found = [after_catching_up() for _ in range(repeats)]
    for path in (data, share, scratch):
        shutil.rmtree(path)
    return {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}


def ratios(sizes: list[dict[str, float]]) -> dict[str, float]:
    """Return the largest store's time after the stop over the smallest's, by case."""
    first, last = (next(s for s in order if s["dimension"] == 384) for order in (sizes, sizes[::-1]))
    cases = {
        "delta_300k_over_10k": "delta_seconds",
        "delta_same_change_300k_over_10k": "delta_100_seconds",
        "delta_without_catch_up_300k_over_10k": "delta_strict_seconds",
    }
    return {name: round(last[case] / first[case], 2) for name, case in cases.items()}
