"""Vectors that take a page of their own stay in line during the load, and the table is afterwards as it was."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.transfer.load.bulk import copy_vectors
from shared.transfer.load.removal import remove_vectors
from shared.transfer.pgvector import toast
from shared.transfer.rows.copy_binary import VectorColumn
from tests.transfer.conftest import RUN, Target
from tests.transfer.test_copy import make_store


@pytest.mark.parametrize(
    ("column", "fills"),
    [
        (VectorColumn(1536), True),
        (VectorColumn(3072, half=True), True),
        (VectorColumn(2000), False),
        (VectorColumn(1024), False),
        (VectorColumn(384), False),
        (VectorColumn(1536, half=True), False),
    ],
)
def test_only_where_no_second_row_fits_beside_it(column: VectorColumn, fills: bool) -> None:
    assert toast.fills_a_page(column) is fills


def options(target: Target) -> Any:
    with target.connect() as connection:
        row = connection.execute("select reloptions from pg_class where relname = 'document_chunk'").fetchone()
    assert row is not None
    return row[0]


def out_of_line(target: Target) -> int:
    """Count the bytes of the TOAST table."""
    with target.connect() as connection:
        row = connection.execute(
            "select pg_relation_size(reltoastrelid) from pg_class where relname = 'document_chunk'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_load_leaves_rows_in_line_and_the_table_as_it_was(make_target: Any, tmp_path: Path) -> None:
    target = make_target(1536)
    store = make_store(tmp_path / "data" / "vector_db", 300)
    assert copy_vectors(target.url, store, target.scratch, run=RUN)["rows"] == 600
    assert out_of_line(target) == 0
    assert options(target) is None


def test_what_a_killed_load_has_left_is_taken_back(make_target: Any, tmp_path: Path) -> None:
    target = make_target(1536)
    store = make_store(tmp_path / "data" / "vector_db", 20)
    for end in (
        lambda: copy_vectors(target.url, store, target.scratch, run=RUN),
        lambda: remove_vectors(target.url, run="another"),
    ):
        with target.connect() as connection:
            toast.keep_in_line(connection, target.column)
        assert options(target) == ["toast_tuple_target=8160"]
        end()
        assert options(target) is None


def test_what_somebody_else_has_set_is_left_alone(make_target: Any, tmp_path: Path) -> None:
    target = make_target(1536)
    store = make_store(tmp_path / "data" / "vector_db", 20)
    with target.connect() as connection:
        connection.execute("alter table document_chunk set (toast_tuple_target = 4096, fillfactor = 90)")
    copy_vectors(target.url, store, target.scratch, run=RUN)
    assert options(target) == ["toast_tuple_target=4096", "fillfactor=90"]
    assert out_of_line(target) > 0


def test_a_table_that_may_not_be_altered_is_loaded_all_the_same(make_target: Any) -> None:
    target = make_target(1536)
    with target.superuser() as connection:
        connection.execute("alter table document_chunk owner to session_user")
    with psycopg.connect(target.url) as connection:
        toast.keep_in_line(connection, target.column)
        assert connection.execute("show lock_timeout").fetchone() == ("0",)
    assert options(target) is None
