"""What the guard needs of the migration's runs: what they do to the Deployment now, and the way to take one back."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta

import azure.durable_functions as df

from api import durable, rollbacks
from api.runs import Run
from shared.errors import PermanentError, TransientError
from shared.guard.readings import MigrationState
from shared.model.migration import Mode, RunState

RESTARTS_PODS = frozenset({"cut_over", "scale_out", "load_test"})
"""Phases that stop, replace or add pods on purpose."""
CHANGED_NOTHING = frozenset({RunState.PLANNED, RunState.REFUSED})
TIMEOUT_SECONDS = 10


class RunsOfDeployment:
    """`shared.guard.ports.MigrationWatch`, and the actuator's `roll_back`, for threads beside the client's event loop.

    `key`: of the target; `loop`: the one that the durable client belongs to.
    """

    def __init__(self, client: df.DurableFunctionsClient, key: str, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._key = key
        self._loop = loop

    def read_migration(self) -> MigrationState:
        """What the newest run does or did."""
        listing = durable.list_runs(self._client, f"{self._key}-")
        found = _result(asyncio.run_coroutine_threadsafe(listing, self._loop))
        return migration_state([run for run in found if run.key == self._key])

    def roll_back(self, run: str) -> None:
        """Start the same rollback as `POST /api/migrations/{id}/rollback`; one under way is as good."""
        starting = rollbacks.start(self._client, run, "the health guard asked for it")
        started = _result(asyncio.run_coroutine_threadsafe(starting, self._loop))
        if isinstance(started, rollbacks.Refused) and not started.under_way:
            raise PermanentError(f"run {run} cannot be rolled back: {started.message}")


def migration_state(runs: Sequence[Run]) -> MigrationState:
    """What the newest run that changed anything means to the guard. `runs`: newest first. Pure."""
    run = next((run for run in runs if run.state not in CHANGED_NOTHING and not _added_phases(run)), None)
    if run is None:
        return MigrationState()
    if run.active:
        phase = str(run.status.get("phase") or "")
        undoing = run.is_rollback or str(run.status.get("step") or "").startswith("undoing")
        return MigrationState(run.id, phase, restarts_pods=undoing or phase in RESTARTS_PODS)
    if run.is_rollback or run.state != RunState.MIGRATED:
        return MigrationState(run.id)
    soak = timedelta(seconds=float(((run.output or {}).get("options") or {}).get("soak_seconds") or 0))
    if not soak or any(_retired_source(one) for one in runs[: runs.index(run) + 1]):
        return MigrationState(run.id)
    return MigrationState(run.id, soak_until=datetime.fromisoformat(run.updated) + soak)


def _added_phases(run: Run) -> bool:
    """An ended run of later phases leaves the migration before it as it is, and its soak too."""
    return not run.active and (run.output or {}).get("mode") == Mode.PHASES


def _retired_source(run: Run) -> bool:
    """The old disk is gone or going: there is nothing left to roll back to."""
    retired = ((run.output or {}).get("results") or {}).get("retire_source") or {}
    return bool(retired.get("claim"))


def _result[T](asked: Future[T]) -> T:
    try:
        return asked.result(TIMEOUT_SECONDS)
    except TimeoutError as error:
        asked.cancel()
        raise TransientError(f"durable storage did not answer within {TIMEOUT_SECONDS} s") from error
