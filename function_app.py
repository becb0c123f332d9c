"""Composition root: settings → adapters → triggers. No decision is made here."""

import logging
import os
from collections.abc import Awaitable, Callable

import azure.durable_functions as df
import azure.functions as func
from durabletask.entities import DurableEntity

from api import migrations, pages
from phases.catalogue import PHASES
from phases.execution import as_activity
from phases.migration import RUN_ENTITY, migrate, roll_back
from shared.adapters.composition import connector
from shared.settings import read_settings

settings = read_settings(os.environ)
logging.getLogger("azure").setLevel(logging.WARNING)
app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)

app.orchestration_trigger(context_name="context")(migrate)
app.orchestration_trigger(context_name="context")(roll_back)

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


def steer(action: str) -> Callable[..., Awaitable[func.HttpResponse]]:
    """The handler of one action: the worker binds every parameter, so the action cannot be one."""

    async def handler(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
        return await migrations.act(req, client, action)

    handler.__name__ = f"{action}_migration"
    return handler


for action in migrations.EVENTS:
    handler = app.durable_client_input(client_name="client")(steer(action))
    app.route(route=f"migrations/{{id}}/{action}", methods=["POST"])(handler)


@app.route(route="monitor", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def monitor(req: func.HttpRequest) -> func.HttpResponse:
    return pages.monitor()


@app.route(route="openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def openapi(req: func.HttpRequest) -> func.HttpResponse:
    return pages.openapi()
