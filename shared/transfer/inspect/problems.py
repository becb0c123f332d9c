"""What stands in the way of a move, or is worth knowing before it: each with a severity, the ids it is about, and its
policy."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..rows.cleaning import CLEAN, POLICIES

BLOCKING, WARNING, NOTE = "blocking", "warning", "note"
SHOWN_IDS = 20

_ROWS_THAT = {
    "nul": "rows contain NUL characters, which PostgreSQL refuses",
    "lone_surrogate": "rows contain text that is not valid UTF-8",
    "missing_text": "rows have no text; they are copied with none",
    "nan": "vectors contain NaN or infinity, which pgvector refuses",
    "zero_vector": "vectors are all zeros and would score NaN",
    "missing_vector": "rows have no usable vector in the store",
    "oversize_text": "texts have more distinct words than a PostgreSQL text index can hold",
}


@dataclass(slots=True)
class Problems:
    """Problems of the whole store, and counts of rows by code with the first twenty ids."""

    _whole: list[dict[str, Any]] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def count(self, code: str, one: str) -> None:
        """Count one row."""
        self._counts[code] += 1
        if len(self._ids[code]) < SHOWN_IDS:
            self._ids[code].append(one)

    def add(
        self, code: str, severity: str, message: str, *, policy: str, ids: Sequence[str] = (), count: int | None = None
    ) -> None:
        """Add a problem; its count is that of its ids unless given."""
        self._whole.append(
            {
                "code": code,
                "severity": severity,
                "message": message,
                "ids": list(ids[:SHOWN_IDS]),
                "count": max(1, len(ids)) if count is None else count,
                "policy": policy,
            }
        )

    def extend(self, other: "Problems") -> None:
        """Add everything that another look has found."""
        self._whole += other.as_json()

    def as_json(self) -> list[dict[str, Any]]:
        """Return all, blocking ones first."""
        rows = [
            {
                "code": code,
                "severity": NOTE if POLICIES[code] == CLEAN else WARNING,
                "message": f"{count:,} {_ROWS_THAT[code]}",
                "ids": self._ids[code],
                "count": count,
                "policy": POLICIES[code],
            }
            for code, count in self._counts.items()
        ]
        order = (BLOCKING, WARNING, NOTE)
        return sorted(self._whole + rows, key=lambda one: order.index(one["severity"]))
