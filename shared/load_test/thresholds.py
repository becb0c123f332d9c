"""When a load test has passed: a gate over its table and over who served. Pure.

Latency is asked of every path, not only of all requests together, so that many quick ones hide no slow one. A test that
did not run to its end has not passed. Who served is read from logs; where they say nothing, it is not measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.wire import JsonObject

TOTAL = "all"
"""The row of all requests."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The runbook's."""

    p95_ms: float = 3000
    average_ms: float = 2000
    error_share: float = 0.01
    """Of all requests; below it."""
    share_tolerance: float = 0.3
    """How far a replica's requests may be from an equal share."""


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold, what was measured, and whether it was held."""

    name: str
    """ended | p95 | average | errors | served"""
    wanted: str
    found: str
    met: bool | None
    """None: it could not be measured, for the reason that `found` gives."""


def judge(
    rows: Sequence[JsonObject], stopped_early: str, served: Mapping[str, int], thresholds: Thresholds
) -> tuple[Check, ...]:
    """Every threshold, in the order in which a person asks. `served`: pod → requests of the test that it answered."""
    total = next((row for row in rows if row["path"] == TOTAL), None)
    if total is None or not total["requests"]:
        return (Check("ended", "it ran to its end", stopped_early or "not one request was made", False),)
    return (
        Check("ended", "it ran to its end", stopped_early or f"{total['requests']:,} requests", not stopped_early),
        _latency("p95", "p95_ms", rows, thresholds.p95_ms),
        _latency("average", "average_ms", rows, thresholds.average_ms),
        _errors(rows, total, thresholds.error_share),
        _served(served, thresholds.share_tolerance),
    )


def _latency(name: str, column: str, rows: Sequence[JsonObject], limit: float) -> Check:
    """The slowest path decides."""
    slowest = max(rows, key=lambda row: float(row[column]))
    total = next(row for row in rows if row["path"] == TOTAL)
    found = f"{total[column]:,.0f} ms, slowest: {slowest['path']} with {slowest[column]:,.0f} ms"
    return Check(name, f"{name} below {limit:,.0f} ms on every path", found, bool(slowest[column] < limit))


def _errors(rows: Sequence[JsonObject], total: JsonObject, limit: float) -> Check:
    """Few in all, and no path that always fails: a rare one would hide among the others."""
    share = total["failures"] / total["requests"]
    dead = [str(row["path"]) for row in rows if row["requests"] and row["failures"] == row["requests"]]
    found = f"{share:.2%} ({total['failures']:,} of {total['requests']:,})"
    if dead:
        found += f"; every request failed on: {', '.join(dead)}"
    return Check("errors", f"errors below {limit:.0%}", found, share < limit and not dead)


def _served(served: Mapping[str, int], tolerance: float) -> Check:
    wanted = f"every replica within ±{tolerance:.0%} of an equal share"
    if not sum(served.values()):
        found = "not measured: no pod's log shows a request of the test (Open WebUI logs them at GLOBAL_LOG_LEVEL=INFO)"
        return Check("served", wanted, found, None)
    equal = sum(served.values()) / len(served)
    met = all(abs(count - equal) <= tolerance * equal for count in served.values())
    found = ", ".join(f"{pod} {count:,} ({count / equal - 1:+.0%})" for pod, count in sorted(served.items()))
    return Check("served", wanted, found, met)
