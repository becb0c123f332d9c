"""What the ledger is asked after the stop must not take each collection with each: PostgreSQL's own plans tell.

The tables are as a migration finds them: just filled, and not analyzed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from shared.transfer.ledger import ledger
from tests.transfer.conftest import RUN, Target

COLLECTIONS = 600
SEVENTH = f"file-{7:036}"


class Explained(psycopg.Connection[Any]):
    """A connection that asks for the plan of whatever it is asked."""

    discarded = 0

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        plan = super().execute(f"explain (analyze, format json) {query}", params).fetchone()
        assert plan is not None
        self.discarded += sum(_discarded(one["Plan"]) for one in plan[0])
        return super().execute(query, params, **options)


def _discarded(node: dict[str, Any]) -> int:
    here = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Join Filter", "Filter"))
    return here * node["Actual Loops"] + sum(map(_discarded, node.get("Plans", [])))


@pytest.fixture
def filled(target: Target) -> Iterator[Explained]:
    with Explained.connect(target.url) as connection:
        plain = psycopg.Connection.execute
        names = [f"file-{at:036}" for at in range(COLLECTIONS)]
        ledger.add_collections(connection, RUN, [ledger.CopiedCollection(f"{one}-id", one, 16, 1) for one in names])
        ledger.add_entries(
            connection, RUN, [ledger.Entry(f"{one}-id", "bulk", 2, 7, ["a", "b"], 1, 2, written=7) for one in names]
        )
        assert plain(connection, "select count(*) from scaleout.batch").fetchone() == (COLLECTIONS,)
        yield connection


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda c: ledger.expected(c, RUN)[SEVENTH], (2, 7)),
        (lambda c: ledger.expected(c, RUN, [SEVENTH]), {SEVENTH: (2, 7)}),
        (lambda c: ledger.own_rows(c, RUN)[SEVENTH], 2),
        (lambda c: len(ledger.unverified(c, RUN)), COLLECTIONS),
        (lambda c: ledger.unverified_writes(c, RUN)[SEVENTH], ledger.Writes(["a", "b"], 7, 16)),
        (lambda c: ledger.summary(c, RUN).rows, 2 * COLLECTIONS),
    ],
    ids=["expected", "expected of one", "own rows", "unverified", "unverified writes", "summary"],
)
def test_no_plan_compares_each_with_each(
    filled: Explained, ask: Callable[[psycopg.Connection], Any], answer: Any
) -> None:
    assert ask(filled) == answer
    assert filled.discarded < 5 * COLLECTIONS
