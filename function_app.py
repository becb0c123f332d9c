"""Composition root: settings → adapters → triggers. No decision is made here."""

import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import azure.durable_functions as df
import azure.functions as func
from durabletask.entities import DurableEntity

from api import guard as guard_api
from api import handbooks, metrics, migrations, pages
from api import permissions as permissions_api
from api.guard_runs import RunsOfDeployment
from phases.guard.entity import GuardMemory
from phases.guard.orchestrator import ACT, GUARD_ENTITY, OBSERVE, guard
from phases.run.activity import as_activity
from phases.run.catalogue import PHASES
from phases.run.orchestrator import RUN_ENTITY, migrate, roll_back
from shared.adapters import azure_monitor
from shared.adapters.composition import connector
from shared.adapters.guard_sources import GuardConnector
from shared.guard.ports import GuardPorts
from shared.guard.targets import Guarded, read_guarded
from shared.model.settings import read_settings

settings = read_settings(os.environ)
guarded = read_guarded(settings.guard_targets, settings.target_defaults())
azure_monitor.configure(settings)
logging.getLogger("azure").setLevel(logging.WARNING)
app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)

app.orchestration_trigger(context_name="context")(migrate)
app.orchestration_trigger(context_name="context")(roll_back)
app.orchestration_trigger(context_name="context")(guard)

connect = connector(settings)
for phase in PHASES:
    for name, step in phase.activities().items():
        app.activity_trigger(input_name="payload")(as_activity(name, step, connect))


@app.entity_trigger(context_name="context", entity_name=RUN_ENTITY)
class RunRecord(DurableEntity):
    """What one run planned, started and found: shown by GET, used by a rollback days later."""

    def record(self, value: dict) -> None:  # type: ignore[type-arg]  # the worker accepts only the bare type
        self.set_state(value)


@app.route(route="migrations", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_migration(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await migrations.start(req, client, settings.target_defaults())


@app.route(route="migrations", methods=["GET"])
@app.durable_client_input(client_name="client")
async def list_migrations(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await migrations.list_all(req, client)


@app.route(route="migrations/{id}", methods=["GET"])
@app.durable_client_input(client_name="client")
async def read_migration(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await migrations.read(req, client)


@app.route(route="migrations/{id}/handbook", methods=["GET"])
@app.durable_client_input(client_name="client")
async def read_handbook(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await handbooks.read(req, client)


def steer(action: str) -> Callable[..., Awaitable[func.HttpResponse]]:
    """The handler of one action: the worker binds every parameter, so the action cannot be one."""

    async def handler(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
        return await migrations.act(req, client, action)

    handler.__name__ = f"{action}_migration"
    return handler


for action in migrations.EVENTS:
    handler = app.durable_client_input(client_name="client")(steer(action))
    app.route(route=f"migrations/{{id}}/{action}", methods=["POST"])(handler)


@app.route(route="permissions", methods=["GET"])
def show_permissions(req: func.HttpRequest) -> func.HttpResponse:
    return permissions_api.show(req, connect, settings.target_defaults())


@app.route(route="monitor", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def monitor(req: func.HttpRequest) -> func.HttpResponse:
    return pages.monitor()


@app.route(route="openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def openapi(req: func.HttpRequest) -> func.HttpResponse:
    return pages.openapi()


app.entity_trigger(context_name="context", entity_name=GUARD_ENTITY)(GuardMemory)
guard_sources = GuardConnector(settings)


def connect_guard(each: Guarded, runs: RunsOfDeployment) -> GuardPorts:
    return guard_sources.connect(each, runs, runs.roll_back)


@app.timer_trigger(schedule="%SCALEOUT_GUARD_SCHEDULE%", arg_name="timer")
@app.durable_client_input(client_name="client")
async def health_guard(timer: func.TimerRequest, client: df.DurableFunctionsClient) -> None:
    if settings.guard_mode != "off":
        acts = settings.guard_mode == "act"
        await guard_api.tick(client, guarded, datetime.now(UTC), acts=acts, past_due=timer.past_due)


@app.activity_trigger(input_name="payload", activity=OBSERVE)
@app.durable_client_input(client_name="client")
async def guard_observe(payload: dict, client: df.DurableFunctionsClient) -> dict:  # type: ignore[type-arg]
    return await guard_api.observe(payload, client, connect_guard, guard_sources.review)


@app.activity_trigger(input_name="payload", activity=ACT)
@app.durable_client_input(client_name="client")
async def guard_act(payload: dict, client: df.DurableFunctionsClient) -> dict:  # type: ignore[type-arg]
    return await guard_api.act(payload, client, connect_guard)


@app.route(route="guard", methods=["GET"])
@app.durable_client_input(client_name="client")
async def show_guard(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await guard_api.show(req, client, guarded, settings.guard_mode)


@app.route(route="metrics", methods=["GET"])
@app.durable_client_input(client_name="client")
async def read_metrics(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await metrics.read(client, guarded, req.headers.get("Accept", ""))


@app.route(route="guard/pause", methods=["POST"])
@app.durable_client_input(client_name="client")
async def pause_guard(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await guard_api.pause(req, client, guarded)


@app.route(route="guard/resume", methods=["POST"])
@app.durable_client_input(client_name="client")
async def resume_guard(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    return await guard_api.resume(req, client, guarded)
