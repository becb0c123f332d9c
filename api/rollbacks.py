"""Start the rollback of a run that has ended, from what it recorded: for an operator's request and for the guard."""

from collections.abc import Sequence
from dataclasses import dataclass

import azure.durable_functions as df

from api import durable, runs
from api.runs import Run


@dataclass(frozen=True, slots=True)
class Started:
    """The rollback's own run."""

    id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no rollback now; `under_way` names the run that holds the Deployment."""

    message: str
    under_way: str = ""


async def start(client: df.DurableFunctionsClient, run: str, reason: str) -> Started | Refused:
    """Undo an ended run, under an id of its own."""
    record = await durable.read_record(client, run)
    if not record or not record.get("started"):
        return Refused(f"run {run} has changed nothing that could be taken back")
    key = runs.key_of(run)
    known = await durable.list_runs(client, key or run)
    if busy := runs.under_way(known, key):
        return Refused(f"run {busy.id} is under way", busy.id)
    if newer := _newer_migration(known, run):
        return Refused(f"run {newer} came after {run}; take that one back first")
    order = {name: record[name] for name in ("run", "request", "plans", "started")} | {"reason": reason}
    rollback = runs.rollback_id(run, (one.id for one in known))
    try:
        await durable.start(client, "roll_back", rollback, order)
    except durable.AlreadyRunning:
        return Refused(f"run {rollback} is under way", rollback)
    return Started(rollback)


def _newer_migration(known: Sequence[Run], run: str) -> str | None:
    """A later migration of the same Deployment that stands, or later phases that were added to it."""
    taken_back = {one.id.partition("-rollback-")[0] for one in known if one.is_rollback and one.state == "rolled_back"}
    newer = (one for one in known if one.id > run and not one.is_rollback and one.id not in taken_back)
    return next((one.id for one in newer if one.state in {"migrated", "applied"}), None)
