"""Durable Functions' client, in the words of `api.runs`."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import azure.durable_functions as df
import grpc
from durabletask.client import OrchestrationQuery, OrchestrationState, OrchestrationStatus
from durabletask.entities import EntityInstanceId

from api.runs import Run
from shared.wire import JsonObject

RUN_ENTITY = "run"
RUNS = frozenset({"migrate", "roll_back"})
"""Orchestrations that are runs; the guard's ticks are not."""
ENDED_OR_HELD = frozenset({OrchestrationStatus.FAILED, OrchestrationStatus.TERMINATED, OrchestrationStatus.SUSPENDED})


LONGEST_REASON = 2000
"""Characters shown of what Durable says; all of it is in the log."""


class AlreadyRunning(Exception):
    """Another request started this run between our look and our start."""


class HasEnded(Exception):
    """The run ended, or was purged, between our look and our event."""


async def list_runs(client: df.DurableFunctionsClient, prefix: str = "") -> list[Run]:
    """All runs, newest first."""
    query = OrchestrationQuery(instance_id_prefix=prefix or None, fetch_inputs_and_outputs=True)
    states = await client.get_all_orchestration_states(query)
    runs = [_run(state) for state in states if state.name in RUNS]
    return sorted(runs, key=lambda run: run.created, reverse=True)


async def read_run(client: df.DurableFunctionsClient, run: str) -> Run | None:
    """One run, or None."""
    state = await client.get_orchestration_state(run, fetch_payloads=True)
    return None if state is None else _run(state)


async def read_record(client: df.DurableFunctionsClient, run: str) -> JsonObject | None:
    """What the run recorded of its plans and results."""
    return await read_entity(client, RUN_ENTITY, run)


async def read_entity(client: df.DurableFunctionsClient, name: str, key: str) -> JsonObject | None:
    """The state of an entity that keeps a JSON object; None where there is none."""
    found = await client.get_entity(EntityInstanceId(name, key), include_state=True)
    state = found.get_state() if found is not None else None
    record = json.loads(state) if isinstance(state, str) and state else state
    return record if isinstance(record, dict) else None


async def start(client: df.DurableFunctionsClient, orchestrator: str, run: str, order: JsonObject) -> None:
    """Start an orchestration under this id; AlreadyRunning when somebody was quicker.

    Other errors say nothing of a run, and are not taken for one. Source: tests/local_functions/answers.json.
    """
    try:
        await client.schedule_new_orchestration(orchestrator, input=order, instance_id=run)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.ALREADY_EXISTS:
            raise AlreadyRunning(run) from error
        raise


async def raise_event(client: df.DurableFunctionsClient, run: str, event: str, value: Any) -> None:
    """Send an event; HasEnded where nobody is left to hear it. Source: tests/local_functions/answers.json."""
    try:
        await client.raise_orchestration_event(run, event, data=value)
    except grpc.aio.AioRpcError as error:
        if error.code() in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND}:
            raise HasEnded(run) from error
        raise


def report_of(state: OrchestrationState) -> JsonObject | None:
    """What the orchestrator returned. Until then the output may hold words about a suspension, which are no report."""
    return _object(state.serialized_output) if state.runtime_status is OrchestrationStatus.COMPLETED else None


def reason_of(state: OrchestrationState) -> str:
    """Why Durable Functions itself ended or holds a run: plain text, or the message of the extension's own JSON.

    With Azure Storage it stands in the output (tests/local_functions/answers.json); the Durable Task Scheduler gives
    the failure apart.
    """
    if state.runtime_status not in ENDED_OR_HELD:
        return ""
    words, details = state.serialized_output or "", state.failure_details
    with contextlib.suppress(ValueError):
        value = json.loads(words)
        words = str(value.get("message") or words) if isinstance(value, dict) else str(value)
    words = words or (f"{details.error_type}: {details.message}" if details else "")
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}… ({len(words):,} characters)"


def _run(state: OrchestrationState) -> Run:
    return Run(
        id=state.instance_id,
        runtime_status=state.runtime_status.name,
        created=_utc(state.created_at).isoformat(),
        updated=_utc(state.last_updated_at).isoformat(),
        status=_object(state.serialized_custom_status) or {},
        output=report_of(state),
        reason=reason_of(state),
    )


def _utc(moment: datetime) -> datetime:
    """The client gives times in UTC and leaves the zone out."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _object(text: str | None) -> JsonObject | None:
    """Text that is not a JSON object is none."""
    with contextlib.suppress(ValueError):
        value = json.loads(text or "null")
        return value if isinstance(value, dict) else None
    return None
