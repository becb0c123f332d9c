"""Runs that Durable Functions itself ended or holds: failed, terminated, suspended. They are shown, and all goes on.

On the local engine, which gives their outputs as the real extension does: plain text.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import grpc
import pytest
from azure.durable_functions.internal.serialization import FunctionsDataConverter
from durabletask import client, task, worker
from durabletask.client import OrchestrationStatus
from durabletask.internal import orchestrator_service_pb2_grpc as stubs

from api import durable, handbooks, migrations
from api.guard_runs import RunsOfDeployment

LONG = "x" * 9000


class Trouble(Exception):
    """What an orchestrator has a bug with."""


def migrate(ctx: task.OrchestrationContext, order: Any) -> Any:
    if order["does"] == "fail":
        raise Trouble(f"first line\n{order.get('says', '')}")
    if order["does"] == "wait":
        ctx.set_custom_status({"phase": "cut_over", "step": "stopping"})
        yield ctx.wait_for_external_event("stop")
    return {"state": "migrated", "results": {}}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    db = tmp_path_factory.mktemp("engine") / "engine.db"
    command = [sys.executable, "-m", "local.functions", "engine", "--db", str(db)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    yield json.loads(process.stdout.readline().removeprefix("ready "))["address"]
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def hub(address: str) -> Iterator[client.TaskHubGrpcClient]:
    """With a run of each kind; `c-ns-d` is the Deployment of the ended ones."""
    converter = FunctionsDataConverter()
    with worker.TaskHubGrpcWorker(host_address=address, data_converter=converter) as running:
        running.add_orchestrator(migrate)
        running.start()
        made = client.TaskHubGrpcClient(host_address=address, data_converter=converter)
        for run, does in (("c-ns-d-0001", "end"), ("c-ns-d-0002", "fail"), ("c-ns-d-0003", "wait")):
            made.schedule_new_orchestration("migrate", input={"does": does}, instance_id=run)
        made.schedule_new_orchestration("migrate", input={"does": "fail", "says": LONG}, instance_id="c-ns-long-0001")
        made.schedule_new_orchestration("migrate", input={"does": "wait"}, instance_id="c-ns-held-0001")
        later = datetime.now(UTC) + timedelta(days=1)
        made.schedule_new_orchestration(
            "migrate", input={"does": "end"}, instance_id="c-ns-pending-0001", start_at=later
        )
        await_status(made, "c-ns-d-0003", OrchestrationStatus.RUNNING)
        made.terminate_orchestration("c-ns-d-0003", output="enough, said a person")
        await_status(made, "c-ns-held-0001", OrchestrationStatus.RUNNING)
        made.suspend_orchestration("c-ns-held-0001")
        await_status(made, "c-ns-held-0001", OrchestrationStatus.SUSPENDED)
        for run in ("c-ns-d-0001", "c-ns-d-0002", "c-ns-d-0003", "c-ns-long-0001"):
            made.wait_for_orchestration_completion(run, timeout=20)
        yield made


def await_status(hub: client.TaskHubGrpcClient, run: str, status: OrchestrationStatus) -> None:
    end = time.monotonic() + 20
    while (state := hub.get_orchestration_state(run)) is None or state.runtime_status != status:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def ask(hub: client.TaskHubGrpcClient, address: str) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Call something with the client that the app's functions are given."""

    def asked(call: Callable[[Any], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            given = client.AsyncTaskHubGrpcClient(host_address=address, data_converter=FunctionsDataConverter())
            try:
                return await call(given)
            finally:
                await given.close()

        return asyncio.run(once())

    return asked


def request(run: str = "", body: bytes = b"") -> func.HttpRequest:
    url = f"http://127.0.0.1/api/migrations/{run}"
    return func.HttpRequest("GET", url, body=body, params={}, route_params={"id": run})


def shown(ask: Any, run: str) -> Any:
    answer = ask(lambda given: migrations.read(request(run), given))
    assert answer.status_code == 200
    return json.loads(answer.get_body())


def test_all_of_them_are_listed(ask: Any) -> None:
    answer = ask(lambda given: migrations.list_all(request(), given))
    found = {run["id"]: (run["state"], run["reason"]) for run in json.loads(answer.get_body())["migrations"]}
    assert found["c-ns-d-0001"] == ("migrated", "")
    assert found["c-ns-d-0002"][0] == "failed"
    assert "Trouble: first line" in found["c-ns-d-0002"][1]
    assert found["c-ns-d-0003"] == ("terminated", "enough, said a person")
    assert found["c-ns-held-0001"] == ("suspended", "")
    assert found["c-ns-pending-0001"] == ("running", "")


def test_a_long_text_is_cut(ask: Any) -> None:
    reason = shown(ask, "c-ns-long-0001")["reason"]
    assert len(reason) < 2500
    assert "characters" in reason


def test_a_failed_one_is_shown_with_its_text_and_without_a_report(ask: Any) -> None:
    run = shown(ask, "c-ns-d-0002")
    assert (run["state"], run["report"]) == ("failed", None)
    assert "Trouble: first line" in run["reason"]


def test_a_failure_that_the_host_words_as_json_is_shown_in_its_words(ask: Any) -> None:
    """As for an orchestrator that the app does not have: tests/local_functions/answers.json."""
    output = '{"message":"Function \'migrate\' failed.","details":"System.ArgumentException"}'
    state = SimpleNamespace(runtime_status=OrchestrationStatus.FAILED, serialized_output=output, failure_details=None)
    assert durable.reason_of(state) == "Function 'migrate' failed."
    state.serialized_output, state.failure_details = None, SimpleNamespace(error_type="E", message="m")
    assert durable.reason_of(state) == "E: m"


def test_a_running_one_may_keep_the_words_of_its_resumption(ask: Any) -> None:
    """Its output is plain text too, and no report: tests/local_functions/answers_more.json, `suspended_twice`."""
    state = SimpleNamespace(runtime_status=OrchestrationStatus.RUNNING, serialized_output="back", failure_details=None)
    assert durable.report_of(state) is None
    assert durable.reason_of(state) == ""
    state.runtime_status = OrchestrationStatus.SUSPENDED
    assert durable.reason_of(state) == "back"


def test_the_guard_reads_what_the_newest_run_means(ask: Any) -> None:
    async def read(given: Any) -> Any:
        runs = RunsOfDeployment(given, "c-ns-d", asyncio.get_running_loop())
        return await asyncio.to_thread(runs.read_migration)

    assert ask(read).run == "c-ns-d-0003"


@pytest.mark.parametrize("run", ["c-ns-d-0002", "c-ns-d-0003"])
def test_no_handbook_was_written(ask: Any, run: str) -> None:
    assert ask(lambda given: handbooks.read(request(run), given)).status_code == 404


@pytest.mark.parametrize("action", ["pause", "resume", "abort", "approve"])
@pytest.mark.parametrize("run", ["c-ns-d-0002", "c-ns-d-0003", "c-ns-held-0001"])
def test_they_cannot_be_steered_and_the_answer_says_why(ask: Any, run: str, action: str) -> None:
    answer = ask(lambda given: migrations.act(request(run), given, action))
    assert answer.status_code == 409
    assert any(word in json.loads(answer.get_body())["error"] for word in ("has ended", "is suspended"))


def test_a_rollback_of_one_that_recorded_nothing_is_refused(ask: Any) -> None:
    answer = ask(lambda given: migrations.act(request("c-ns-d-0002"), given, "rollback"))
    assert answer.status_code == 409
    assert "changed nothing" in json.loads(answer.get_body())["error"]


def test_an_event_to_a_run_that_ended_meanwhile_is_told(ask: Any) -> None:
    with pytest.raises(durable.HasEnded):
        ask(lambda given: durable.raise_event(given, "c-ns-d-0003", "stop", {}))


def test_only_a_run_that_is_there_is_already_running(ask: Any) -> None:
    with pytest.raises(durable.AlreadyRunning):
        ask(lambda given: durable.start(given, "migrate", "c-ns-held-0001", {"does": "end"}))


class Troubled(stubs.TaskHubSidecarServiceServicer):
    """A storage that fails."""

    def StartInstance(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.INTERNAL, "the storage is in trouble")


def test_trouble_of_the_storage_is_no_running_run() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    stubs.add_TaskHubSidecarServiceServicer_to_server(Troubled(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    async def start() -> None:
        given = client.AsyncTaskHubGrpcClient(host_address=f"127.0.0.1:{port}")
        try:
            await durable.start(given, "migrate", "c-ns-d-0009", {})
        finally:
            await given.close()

    with pytest.raises(grpc.aio.AioRpcError, match="in trouble"):
        asyncio.run(start())
    server.stop(0)
