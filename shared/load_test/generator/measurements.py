"""From single requests to a table, a course over time and the commonest errors. Pure: no clock, no Locust."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

BUCKETS = 60
"""Points of the course over time: enough for a picture, small enough for a line of a log (16 KiB)."""
TOTAL = "all"
MOST_ERRORS = 5
LONGEST_ERROR = 160

type Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    at: float
    """Seconds since the start, when it ended."""
    path: str
    milliseconds: float
    error: str = ""
    """Empty: it succeeded."""


def table(samples: Sequence[Sample], seconds: float) -> list[Row]:
    """One row a path, in order of the names, and one for all of them last."""
    by_path: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_path[sample.path].append(sample)
    return [_row(path, by_path[path], seconds) for path in sorted(by_path)] + [_row(TOTAL, samples, seconds)]


def course(samples: Sequence[Sample], users: Callable[[float], int], seconds: float) -> list[Row]:
    """The test in at most `BUCKETS` equal parts: users, requests a second, percentiles and failures of each."""
    width = max(1.0, math.ceil(seconds / BUCKETS))
    parts: list[list[Sample]] = [[] for _ in range(max(1, math.ceil(seconds / width)))]
    for sample in samples:
        parts[min(int(sample.at / width), len(parts) - 1)].append(sample)
    return [_part(index * width, part, width, users((index + 1) * width)) for index, part in enumerate(parts)]


def commonest_errors(samples: Sequence[Sample]) -> list[Row]:
    """What went wrong most often."""
    counted = Counter((s.path, s.error[:LONGEST_ERROR]) for s in samples if s.error)
    return [{"path": path, "error": error, "times": n} for (path, error), n in counted.most_common(MOST_ERRORS)]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed; 0 without any."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def failing(samples: Sequence[Sample], now: float, *, window_seconds: float = 10, least: int = 50) -> str:
    """Why to stop early, or nothing: over half of the last seconds' requests failed, and there were enough of them."""
    recent = [sample for sample in samples if sample.at > now - window_seconds]
    failed = sum(1 for sample in recent if sample.error)
    if len(recent) < least or failed * 2 <= len(recent):
        return ""
    return f"{failed} of {len(recent)} requests failed in {window_seconds:g} s"


def _row(path: str, samples: Sequence[Sample], seconds: float) -> Row:
    times = sorted(sample.milliseconds for sample in samples)
    return {
        "path": path,
        "requests": len(times),
        "failures": sum(1 for sample in samples if sample.error),
        "average_ms": round(sum(times) / len(times), 1) if times else 0.0,
        "p50_ms": round(percentile(times, 0.5), 1),
        "p95_ms": round(percentile(times, 0.95), 1),
        "p99_ms": round(percentile(times, 0.99), 1),
        "longest_ms": round(times[-1], 1) if times else 0.0,
        "a_second": round(len(times) / seconds, 1) if seconds else 0.0,
    }


def _part(at: float, samples: Sequence[Sample], width: float, users: int) -> Row:
    times = sorted(sample.milliseconds for sample in samples)
    return {
        "at": at,
        "users": users,
        "a_second": round(len(times) / width, 1),
        "p50_ms": round(percentile(times, 0.5)),
        "p95_ms": round(percentile(times, 0.95)),
        "failures": sum(1 for sample in samples if sample.error),
    }
