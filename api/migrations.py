"""The routes of `/api/migrations`: status codes and bodies, nothing else."""

import json
from collections.abc import Mapping
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from api import durable, rollbacks, runs
from api.bodies import read_json, read_order
from shared.model.request_parsing import InvalidRequest, parse_request
from shared.names import short_run
from shared.wire import to_wire

EVENTS = {"approve": "approval", "pause": "pause", "resume": "resume", "abort": "stop", "rollback": "stop"}
"""Action of an operator → external event of the orchestration."""


async def start(
    req: func.HttpRequest, client: df.DurableFunctionsClient, defaults: Mapping[str, str]
) -> func.HttpResponse:
    """Plan or migrate: 202, 400 with every mistake, or 409 while one runs for the same Deployment."""
    try:
        request = parse_request(read_json(req.get_body()), defaults)
    except InvalidRequest as error:
        return bad_request(error)
    key = request.target.key
    known = await durable.list_runs(client, key)
    if busy := runs.under_way(known, key):
        return _busy(req, busy.id)
    number = runs.next_number((run.id for run in known), key)
    run = runs.run_id(key, number)
    order = {"run": short_run(request.target.deployment, number), "request": to_wire(request)}
    try:
        await durable.start(client, "migrate", run, order)
    except durable.AlreadyRunning:
        return _busy(req, run)
    return answer(202, links(req, run), {"Location": links(req, run)["status"], "Retry-After": "1"})


async def list_all(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Every run, newest first."""
    return answer(200, {"migrations": [runs.summary(run) for run in await durable.list_runs(client)]})


async def read(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """One run with its plan, progress and report: 200 or 404."""
    run = await durable.read_run(client, req.route_params["id"])
    if run is None:
        return _unknown(req)
    return answer(200, runs.describe(run, await durable.read_record(client, run.id)) | {"links": links(req, run.id)})


async def act(req: func.HttpRequest, client: df.DurableFunctionsClient, action: str) -> func.HttpResponse:
    """Approve, pause, resume, abort or roll back: 202, 404, or 409 when the run is not at that point."""
    run = await durable.read_run(client, req.route_params["id"])
    if run is None:
        return _unknown(req)
    if refusal := runs.refuse(action, run):
        return answer(409, {"error": refusal.message})
    try:
        names = await _name_to_approve(client, run) if action == "approve" else ""
        order = read_order(action, read_json(req.get_body()), names=names)
    except InvalidRequest as error:
        return bad_request(error)
    if action == "rollback" and not run.active:
        return await _start_rollback(req, client, run)
    try:
        await durable.raise_event(client, run.id, EVENTS[action], order)
    except durable.HasEnded:
        return answer(409, {"error": f"run {run.id} ended before it could hear this; there is nothing to {action}"})
    return answer(202, links(req, run.id))


async def _name_to_approve(client: df.DurableFunctionsClient, run: runs.Run) -> str:
    """What an approval of the phase that waits must name; empty: nothing."""
    plans = (await durable.read_record(client, run.id) or {}).get("plans") or {}
    plan = plans.get(run.status.get("phase")) or {}
    return str(plan.get("approval_names") or "")


async def _start_rollback(req: func.HttpRequest, client: df.DurableFunctionsClient, run: runs.Run) -> func.HttpResponse:
    """Undo an ended run from what it recorded, under an id of its own."""
    started = await rollbacks.start(client, run.id, "rollback by an operator")
    if isinstance(started, rollbacks.Started):
        return answer(202, links(req, started.id), {"Location": links(req, started.id)["status"], "Retry-After": "1"})
    if started.under_way:
        return _busy(req, started.under_way)
    return answer(409, {"error": started.message} | ({"hint": started.hint} if started.hint else {}))


def links(req: func.HttpRequest, run: str) -> dict[str, str]:
    """Where this run is seen and steered."""
    origin = req.url.split("/api/", 1)[0]
    base = f"{origin}/api/migrations/{run}"
    return {"id": run, "status": base} | {action: f"{base}/{action}" for action in EVENTS}


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> func.HttpResponse:
    """A JSON response."""
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return func.HttpResponse(text, status_code=status, mimetype="application/json", headers=dict(headers or {}))


def bad_request(error: InvalidRequest) -> func.HttpResponse:
    """400 with every problem."""
    return answer(400, {"error": error.message, "problems": error.problems, "hint": error.hint})


def _busy(req: func.HttpRequest, run: str) -> func.HttpResponse:
    message = f"run {run} is under way for this Deployment; wait for its end, or abort it"
    return answer(409, {"error": message, "links": links(req, run)})


def _unknown(req: func.HttpRequest) -> func.HttpResponse:
    return answer(404, {"error": f"there is no run {req.route_params['id']}; GET /api/migrations lists them"})
