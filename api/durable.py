"""Durable Functions' client, in the words of `api.runs`."""

import json
from datetime import UTC, datetime
from typing import Any

import azure.durable_functions as df
import grpc
from durabletask.client import OrchestrationQuery, OrchestrationState
from durabletask.entities import EntityInstanceId

from api.runs import Run
from shared.wire import JsonObject

RUN_ENTITY = "run"
RUNS = frozenset({"migrate", "roll_back"})
"""Orchestrations that are runs; the guard's ticks are not."""


class AlreadyRunning(Exception):
    """Another request started this run between our look and our start."""


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
    """Start an orchestration under this id; AlreadyRunning when somebody was quicker."""
    try:
        await client.schedule_new_orchestration(orchestrator, input=order, instance_id=run)
    except grpc.aio.AioRpcError as error:
        if error.code() in {grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}:
            raise AlreadyRunning(run) from error
        raise


async def raise_event(client: df.DurableFunctionsClient, run: str, event: str, value: Any) -> None:
    await client.raise_orchestration_event(run, event, data=value)


def _run(state: OrchestrationState) -> Run:
    return Run(
        id=state.instance_id,
        runtime_status=state.runtime_status.name,
        created=_utc(state.created_at).isoformat(),
        updated=_utc(state.last_updated_at).isoformat(),
        status=_object(state.serialized_custom_status) or {},
        output=_object(state.serialized_output),
    )


def _utc(moment: datetime) -> datetime:
    """The client gives times in UTC and leaves the zone out."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _object(text: str | None) -> JsonObject | None:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else None
