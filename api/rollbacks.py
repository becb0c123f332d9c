"""Start the rollback of a run that has ended, from what it recorded: for an operator's request and for the guard."""

from collections.abc import Sequence
from dataclasses import dataclass

import azure.durable_functions as df

from api import durable, runs
from api.runs import Run
from shared.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Started:
    """The rollback's own run."""

    id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no rollback now; `under_way` names the run that holds the Deployment."""

    message: str
    under_way: str = ""
    hint: str = ""


async def start(client: df.DurableFunctionsClient, run: str, reason: str) -> Started | Refused:
    """Undo an ended run, under an id of its own."""
    record = await durable.read_record(client, run)
    if not record or not record.get("started"):
        return Refused(f"run {run} has changed nothing that could be taken back")
    key = runs.key_of(run)
    known = await durable.list_runs(client, key or run)
    if refused := refusal(known, run):
        return refused
    order = {name: record[name] for name in ("run", "request", "plans", "started")} | {"reason": reason}
    rollback = runs.rollback_id(run, (one.id for one in known))
    try:
        await durable.start(client, "roll_back", rollback, order)
    except durable.AlreadyRunning:
        return Refused(f"run {rollback} is under way", rollback)
    return Started(rollback)


def refusal(known: Sequence[Run], run: str) -> Refused | None:
    """What stands against taking this ended run back, as the others stand. Pure. `known`: of the same Deployment."""
    if busy := runs.under_way(known, runs.key_of(run)):
        return Refused(f"run {busy.id} is under way", busy.id)
    if retired := next((one for one in known if one.id >= run and _retired(one)), None):
        return _without_way_back(retired, run)
    if back := next((one for one in known if one.state == "rolled_back" and _undoes(one, run)), None):
        return Refused(f"run {run} was taken back already, by {back.id} ({back.updated[:19]} UTC)")
    if newer := _newer_migration(known, run):
        return Refused(f"run {newer} came after {run}; take that one back first")
    return None


def _retired(run: Run) -> JsonObject:
    """What this run's phase 10 gave up; empty when it gave up nothing."""
    retired: JsonObject = ((run.output or {}).get("results") or {}).get("retire_source") or {}
    return retired if retired.get("claim") else {}


def _without_way_back(by: Run, run: str) -> Refused:
    gone = _retired(by)
    what = f"claim {gone['claim']}" + (f" and its disk {gone['volume']}" if gone.get("disk_deleted") else "")
    kept = ", ".join(gone.get("snapshots_kept") or ())
    message = f"run {run} cannot be taken back: {what} were deleted by run {by.id}, which ended {by.updated[:19]} UTC"
    snapshots = f"VolumeSnapshot {kept}, and " if kept else ""
    return Refused(message, hint=f"What is left: {snapshots}the archive on the share; docs/operate.md, how to restore.")


def _undoes(rollback: Run, run: str) -> bool:
    return rollback.is_rollback and rollback.id.partition("-rollback-")[0] == run


def _newer_migration(known: Sequence[Run], run: str) -> str | None:
    """A later migration of the same Deployment that stands, or later phases that were added to it."""
    taken_back = {one.id.partition("-rollback-")[0] for one in known if one.is_rollback and one.state == "rolled_back"}
    newer = (one for one in known if one.id > run and not one.is_rollback and one.id not in taken_back)
    return next((one.id for one in newer if one.state in {"migrated", "applied"}), None)
