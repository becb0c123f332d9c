"""How a bulk pass is cut into batches: nothing twice, nothing left out, and every worker has something to do."""

from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.transfer.chroma.catalog import Collection
from shared.transfer.load.batches import CAREFUL_ROWS, FEWEST_ROWS, MOST_ROWS, Part, batch_rows, batches_of, rows_of


def part(number: int, rows: int) -> Part:
    collection = Collection(
        id=str(number),
        name=f"file-{number}",
        tenant="default_tenant",
        database="default_database",
        dimension=3,
        space="cosine",
        metadata_segment="m",
        vector_segment="v",
        topic="t",
        rows=rows,
        watermark=1,
        metadata_lag=0,
        flushed_to=0,
        log=array("q"),
    )
    return Part(collection, np.arange(rows, dtype=np.int64) * 3 + number)


@given(st.lists(st.integers(0, 90), max_size=12), st.integers(1, 60))
def test_batches_hold_every_row_once_and_only_the_last_is_smaller(sizes: list[int], rows: int) -> None:
    batches = list(batches_of([part(number, size) for number, size in enumerate(sizes)], rows))
    held = [(one.collection.id, int(key)) for batch in batches for one in batch for key in one.keys]
    wanted = {(str(number), key * 3 + number) for number, size in enumerate(sizes) for key in range(size)}
    assert len(held) == len(wanted)
    assert set(held) == wanted
    assert all(rows_of(batch) == rows for batch in batches[:-1])
    assert all(0 < rows_of(batch) <= rows for batch in batches)
    assert all(len(one.keys) for batch in batches for one in batch)


def test_small_collections_share_a_batch() -> None:
    batches = list(batches_of([part(number, 7) for number in range(10)], 70))
    assert [len(batch) for batch in batches] == [10]


@given(st.integers(0, 10_000_000), st.integers(1, 16), st.floats(0, 100_000), st.booleans())
def test_a_batch_is_neither_tiny_nor_more_than_may_be_in_memory(
    total: int, workers: int, rate: float, careful: bool
) -> None:
    rows = batch_rows(total, workers, rate, careful=careful)
    assert FEWEST_ROWS <= rows <= (CAREFUL_ROWS if careful else MOST_ROWS)
    if total > 4 * workers * FEWEST_ROWS:
        assert total / rows >= 4 * workers * 0.99
    if rate:
        assert rows <= max(FEWEST_ROWS, rate / workers)
