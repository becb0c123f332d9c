"""A small app in the project's style, for the tests of the local host. Nothing in it knows that it runs locally."""

import hashlib
import json
import os
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from flows.activities import bp as activities
from flows.orchestrators import bp as orchestrators

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)
app.register_functions(activities)
app.register_functions(orchestrators)

ANONYMOUS = func.AuthLevel.ANONYMOUS


def answer(value: object, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(value), status_code=status, mimetype="application/json")


@app.route(route="runs/{orchestrator}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_run(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    instance = await client.schedule_new_orchestration(
        req.route_params["orchestrator"], input=req.get_json(), instance_id=req.params.get("id")
    )
    return client.create_check_status_response(req, instance)


@app.route(route="runs/{id}", methods=["GET"])
@app.durable_client_input(client_name="client")
def read_run(req: func.HttpRequest, client: df.SyncDurableFunctionsClient) -> func.HttpResponse:
    state = client.get_orchestration_state(req.route_params["id"])
    return answer(state.runtime_status.name) if state else answer("no such run", 404)


@app.route(route="open", methods=["GET"], auth_level=ANONYMOUS)
def open_to_all(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"setting": os.environ.get("SAMPLE_SETTING"), "traceparent": req.headers.get("traceparent")})


@app.route(route="guarded", methods=["GET"])
def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return answer("function")


@app.route(route="secret", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def secret(req: func.HttpRequest) -> func.HttpResponse:
    return answer("admin")


@app.route(route="things/{id}", methods=["GET"], auth_level=ANONYMOUS)
def any_thing(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"any": req.route_params["id"]})


@app.route(route="things/newest", methods=["GET"], auth_level=ANONYMOUS)
def newest_thing(req: func.HttpRequest) -> func.HttpResponse:
    return answer("newest")


@app.route(route="things/{number:int}", methods=["GET"], auth_level=ANONYMOUS)
def numbered_thing(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"number": req.route_params["number"]})


@app.route(route="files/{*path}", methods=["GET", "HEAD"], auth_level=ANONYMOUS)
def any_file(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"path": req.route_params["path"], "query": dict(req.params)})


@app.route(route="digest", methods=["POST"], auth_level=ANONYMOUS)
def digest(req: func.HttpRequest) -> func.HttpResponse:
    response = answer(hashlib.sha256(req.get_body()).hexdigest())
    response.headers.add("Set-Cookie", "session=abc; Path=/; HttpOnly")
    return response


@app.route(route="broken", methods=["GET"], auth_level=ANONYMOUS)
def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("a bug in the sample")


def note(timer: func.TimerRequest, context: func.Context) -> None:
    line = {"timer": context.function_name, "past_due": timer.past_due, "trace": context.trace_context.trace_parent}
    with Path(os.environ["TICKS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


@app.timer_trigger(arg_name="timer", schedule="%TICK_SCHEDULE%")
def tick(timer: func.TimerRequest, context: func.Context) -> None:
    note(timer, context)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def yearly(timer: func.TimerRequest, context: func.Context) -> None:
    note(timer, context)


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def switched_off(timer: func.TimerRequest, context: func.Context) -> None:
    note(timer, context)
