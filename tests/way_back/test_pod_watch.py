"""What tells whether two stores could have answered at once."""

from typing import Any

import pytest

from tests.way_back.fix_pod_watch import overlaps

OLD, NEW = [], [{"name": "VECTOR_DB", "value": "pgvector"}]


def event(kind: str, uid: str, env: list[dict[str, str]], phase: str = "Running") -> dict[str, Any]:
    spec = {"containers": [{"name": "sidecar"}, {"name": "web", "env": env}]}
    return {"type": kind, "object": {"metadata": {"uid": uid}, "spec": spec, "status": {"phase": phase}}}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event("ADDED", "a", OLD), event("DELETED", "a", OLD), event("ADDED", "b", NEW, "Pending")], 0),
        ([event("ADDED", "a", OLD), event("ADDED", "b", NEW, "Pending"), event("DELETED", "a", OLD)], 1),
        ([event("ADDED", "a", OLD), event("ADDED", "b", NEW), event("MODIFIED", "b", NEW)], 2),
        ([event("ADDED", "a", OLD), event("MODIFIED", "a", OLD, "Failed"), event("ADDED", "b", NEW)], 0),
        ([event("ADDED", "b", NEW), event("ADDED", "c", NEW)], 0),
    ],
)
def test_pods_of_two_stores_at_once_are_seen(events: list[dict[str, Any]], expected: int) -> None:
    assert len(overlaps(events)) == expected
