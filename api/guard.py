"""The guard's timer and its routes: start ticks, show what they decided, pause and resume."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.durable_functions as df
import azure.functions as func
from durabletask.client import OrchestrationQuery, OrchestrationStatus
from durabletask.entities import EntityInstanceId

from api import durable
from api.bodies import read_json
from api.guard_runs import RunsOfDeployment
from api.migrations import answer, bad_request
from phases.guard.activities import act_on, observe_deployment
from phases.guard.entity import read_memory
from phases.guard.memory import Memory
from phases.guard.orchestrator import GUARD_ENTITY, Deed, Tick, instance_of
from shared.guard.ports import GuardPorts
from shared.guard.readings import Reading
from shared.guard.targets import Guarded
from shared.model.request_parsing import InvalidRequest
from shared.threads import begin
from shared.wire import JsonObject, from_wire, to_wire

log = logging.getLogger(__name__)

STARTED_AT_ONCE = 20
SHOWN_VERDICTS = 20
LONGEST_PAUSE_MINUTES = 7 * 24 * 60
ALIVE = [OrchestrationStatus.RUNNING, OrchestrationStatus.PENDING, OrchestrationStatus.SUSPENDED]

type Connect = Callable[[Guarded, RunsOfDeployment], GuardPorts]
type Review = Callable[[Guarded, Reading], None]


async def tick(
    client: df.DurableFunctionsClient, guarded: Sequence[Guarded], now: datetime, *, acts: bool, past_due: bool
) -> None:
    """Start one orchestration for each Deployment; where the last still runs, or the timer is late, count a skip."""
    gate = asyncio.Semaphore(STARTED_AT_ONCE)
    running = set() if past_due else await _running(client)

    async def one(each: Guarded) -> None:
        async with gate:
            instance = instance_of(each.key)
            if past_due or instance in running:
                return await _skip(client, each, "the timer was late" if past_due else "the last tick still ran")
            order = to_wire(Tick(each.target, now, each.policy, acts))
            try:
                await durable.start(client, "guard", instance, order)
            except durable.AlreadyRunning:
                await _skip(client, each, "the last tick still ran")
        return None

    results = await asyncio.gather(*(one(each) for each in guarded), return_exceptions=True)
    for each, result in zip(guarded, results, strict=True):
        if isinstance(result, BaseException):  # the others have had their tick
            log.error("guard of %s: its tick could not be started: %s", each.key, result)


async def observe(
    payload: JsonObject, client: df.DurableFunctionsClient, connect: Connect, review: Review
) -> JsonObject:
    """The activity `guard_observe`: the reading, as plain JSON."""
    guarded, at = from_wire(payload["guarded"], Guarded), datetime.fromisoformat(payload["at"])
    runs = RunsOfDeployment(client, guarded.key, asyncio.get_running_loop())

    def look() -> Reading:
        reading = observe_deployment(connect(guarded, runs), guarded, at)
        review(guarded, reading)
        return reading

    reading: JsonObject = to_wire(await asyncio.wrap_future(begin(look, "guard")))
    return reading


async def act(payload: JsonObject, client: df.DurableFunctionsClient, connect: Connect) -> JsonObject:
    """The activity `guard_act`: what was done, and what could not be."""
    guarded, deed = from_wire(payload["guarded"], Guarded), from_wire(payload["deed"], Deed)
    runs = RunsOfDeployment(client, guarded.key, asyncio.get_running_loop())
    return await asyncio.wrap_future(begin(lambda: act_on(connect(guarded, runs), deed, datetime.now(UTC)), "guard"))


async def show(
    req: func.HttpRequest, client: df.DurableFunctionsClient, guarded: Sequence[Guarded], mode: str
) -> func.HttpResponse:
    """`GET /api/guard`: every guarded Deployment, or the one that `?deployment=` names; 404 when it is not guarded."""
    chosen = _chosen(guarded, req.params.get("deployment"))
    if not chosen and req.params.get("deployment"):
        return _unknown(guarded)
    memories = await asyncio.gather(*(_read(client, each) for each in chosen))
    shown = [describe(each, memory, datetime.now(UTC)) for each, memory in zip(chosen, memories, strict=True)]
    return answer(200, {"mode": mode, "deployments": shown})


async def pause(
    req: func.HttpRequest, client: df.DurableFunctionsClient, guarded: Sequence[Guarded]
) -> func.HttpResponse:
    """`POST /api/guard/pause`: stand still for some minutes; 202, 400 with every problem, 404."""
    try:
        body = read_json(req.get_body())
        if problems := pause_problems(body):
            raise InvalidRequest(problems)
    except InvalidRequest as error:
        return bad_request(error)
    chosen = _chosen(guarded, body.get("deployment"))
    if not chosen:
        return _unknown(guarded)
    until = datetime.now(UTC) + timedelta(minutes=body["minutes"])
    order = {"until": until.isoformat(), "because": body["because"]}
    await _signal(client, chosen, "pause", order)
    return answer(202, {"paused_until": until.isoformat(), "deployments": [each.key for each in chosen]})


async def resume(
    req: func.HttpRequest, client: df.DurableFunctionsClient, guarded: Sequence[Guarded]
) -> func.HttpResponse:
    """`POST /api/guard/resume`: end a pause now; 202, 400 with every problem, 404."""
    try:
        body = read_json(req.get_body())
        if problems := resume_problems(body):
            raise InvalidRequest(problems)
    except InvalidRequest as error:
        return bad_request(error)
    chosen = _chosen(guarded, body.get("deployment"))
    if not chosen:
        return _unknown(guarded)
    await _signal(client, chosen, "resume", {})
    return answer(202, {"deployments": [each.key for each in chosen]})


def pause_problems(body: Any) -> list[str]:
    """Every mistake in the body of a pause. Pure."""
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    problems = [f"unknown field {key!r}" for key in body if key not in {"minutes", "because", "deployment"}]
    minutes, because = body.get("minutes"), body.get("because")
    number = minutes if isinstance(minutes, int | float) and not isinstance(minutes, bool) else math.nan
    if not 0 < number <= LONGEST_PAUSE_MINUTES:
        problems.append(f"minutes must be a number above 0 and at most {LONGEST_PAUSE_MINUTES:,}")
    if not isinstance(because, str) or not because.strip():
        problems.append("because must say why, for whoever finds the guard paused")
    return problems + _deployment_problems(body)


def resume_problems(body: Any) -> list[str]:
    """Every mistake in the body of a resume. Pure."""
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    return [f"unknown field {key!r}" for key in body if key != "deployment"] + _deployment_problems(body)


def _deployment_problems(body: JsonObject) -> list[str]:
    return [] if isinstance(body.get("deployment", ""), str) else ["deployment must be the name of one"]


def describe(guarded: Guarded, memory: Memory, now: datetime) -> JsonObject:
    """One Deployment in `GET /api/guard`: the newest verdicts first. Pure."""
    state = memory.state
    paused = state.paused_until is not None and now < state.paused_until
    return {
        "deployment": guarded.key,
        "acts": memory.acts,
        "paused_until": state.paused_until.isoformat() if paused and state.paused_until else None,
        "paused_because": state.paused_because if paused else "",
        "ticks": memory.ticks,
        "skipped_ticks": state.skipped_ticks,
        "skipped_because": memory.skipped_because,
        "reading": memory.reading or None,
        "state": {
            "healthy_replicas": state.healthy_replicas,
            "healthy_revision": state.healthy_revision,
            "capped_from": to_wire(state.capped_from),
            "rolled_back": state.rolled_back,
            "fault": str(state.signs[-1].fault) if state.signs else None,
        },
        "pending": to_wire(memory.pending),
        "effects": to_wire(memory.effects[::-1]),
        "verdicts": to_wire(state.verdicts[: -SHOWN_VERDICTS - 1 : -1]),
    }


async def _running(client: df.DurableFunctionsClient) -> set[str]:
    """Guards whose last tick has not ended."""
    query = OrchestrationQuery(instance_id_prefix=instance_of(""), runtime_status=ALIVE)
    return {state.instance_id for state in await client.get_all_orchestration_states(query)}


async def _read(client: df.DurableFunctionsClient, guarded: Guarded) -> Memory:
    return read_memory(await durable.read_entity(client, GUARD_ENTITY, guarded.key))


async def _skip(client: df.DurableFunctionsClient, guarded: Guarded, because: str) -> None:
    log.warning("guard of %s: tick skipped, %s", guarded.key, because)
    await _signal(client, [guarded], "skip", {"because": because})


async def _signal(
    client: df.DurableFunctionsClient, guarded: Iterable[Guarded], operation: str, value: JsonObject
) -> None:
    entities = (EntityInstanceId(GUARD_ENTITY, each.key) for each in guarded)
    await asyncio.gather(*(client.signal_entity(entity, operation, value) for entity in entities))


def _chosen(guarded: Sequence[Guarded], key: Any) -> list[Guarded]:
    """All of them, or the one with this key (or this Deployment's name)."""
    return [each for each in guarded if not key or key in {each.key, each.target.deployment}]


def _unknown(guarded: Sequence[Guarded]) -> func.HttpResponse:
    known = ", ".join(each.key for each in guarded) or "none"
    return answer(404, {"error": f"no such Deployment is guarded; guarded are: {known}"})
