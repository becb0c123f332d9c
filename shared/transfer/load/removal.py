"""Undoes a copy: deletes exactly the rows that the run has written, batch by batch, with the ledger.

A row goes together with its ledger entry, so a killed undo goes on where it stood. Rows that were there before, and
rows that Open WebUI wrote since, have ids the ledger does not know, and stay. The table is dropped when this run
created it and nothing is left in it.
"""

from typing import Any

from ..ledger import ledger_schema
from ..pgvector import toast
from ..pgvector.database import connected
from ..progress import Progress, silent


def remove_vectors(url: str, *, run: str, progress: Progress = silent) -> dict[str, Any]:
    """Delete the run's rows; return how many, and whether the table went too."""
    with connected(url) as connection:
        if not ledger_schema.exists(connection):
            return {"run": run, "deleted": 0, "table_dropped": False}
        row = connection.execute(
            "select count(*), coalesce(sum(cardinality(ids)), 0)::bigint from scaleout.batch where run = %s", (run,)
        ).fetchone()
        total = row[1] if row else 0
        deleted = 0
        there = connection.execute("select to_regclass('document_chunk') is not null").fetchone()
        while True:
            progress("remove vectors", deleted, total, "rows")
            batch = connection.execute(
                "delete from scaleout.batch where number = (select min(number) from scaleout.batch where run"
                " = %s) returning ids",
                (run,),
            ).fetchone()
            if batch is None:
                break
            if there and there[0]:
                deleted += connection.execute("delete from document_chunk where id = any(%s)", (batch[0],)).rowcount
            connection.commit()
        dropped = _drop_table(connection, run)
        toast.reset(connection)  # a load that was killed may have left it
        connection.execute("delete from scaleout.run where id = %s", (run,))
        return {"run": run, "deleted": deleted, "table_dropped": dropped}


def _drop_table(connection: Any, run: str) -> bool:
    row = connection.execute("select bool_or(created_table) from scaleout.run").fetchone()
    there = connection.execute("select to_regclass('document_chunk') is not null").fetchone()
    if not (row and row[0] and there and there[0]):
        return False
    left = connection.execute("select exists (select 1 from document_chunk)").fetchone()
    if left and left[0]:
        return False
    connection.execute("drop table document_chunk")
    return True


def remove_batches(url: str, *, run: str, newer_than: int) -> None:
    """Delete what the run has written since this ledger entry, with the entries, in one transaction."""
    with connected(url) as connection:
        connection.execute(
            "with gone as (delete from scaleout.batch where run = %s and number > %s and kind <> 'before'"
            " returning ids)"
            " delete from document_chunk using (select unnest(ids) as one from gone) written where id = written.one",
            (run, newer_than),
        )
