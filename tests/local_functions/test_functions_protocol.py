"""The engine over gRPC with a worker that misbehaves: duplicates, stale answers, wordless failures, a lost stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal import orchestrator_service_pb2_grpc as stubs
from fix_rig import Process


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("engine")
    engine = Process(folder / "engine.log", "engine", "--db", str(folder / "engine.db"))
    with grpc.insecure_channel(engine.ready["address"]) as channel:
        yield stubs.TaskHubSidecarServiceStub(channel)
    assert engine.stop() == 0


@pytest.fixture
def work(stub: Any) -> Iterator[Any]:
    stream = stub.GetWorkItems(pb.GetWorkItemsRequest(), timeout=10)
    yield stream
    stream.cancel()


def answer(item: pb.WorkItem, *actions: pb.OrchestratorAction) -> pb.OrchestratorResponse:
    instance = item.orchestratorRequest.instanceId
    return pb.OrchestratorResponse(instanceId=instance, completionToken=item.completionToken, actions=actions)


def schedule(stub: Any, work: Any, instance: str) -> tuple[pb.WorkItem, pb.WorkItem]:
    """Start a run that calls one activity; return both work items."""
    stub.StartInstance(pb.CreateInstanceRequest(instanceId=instance, name="run"))
    first = next(work)
    stub.CompleteOrchestratorTask(answer(first, pb.OrchestratorAction(id=0, scheduleTask={"name": "act"})))
    return first, next(work)


def ended(item: pb.WorkItem, **outcome: Any) -> pb.ActivityResponse:
    request = item.activityRequest
    instance = request.orchestrationInstance.instanceId
    token = item.completionToken
    return pb.ActivityResponse(instanceId=instance, taskId=request.taskId, completionToken=token, **outcome)


def finish(stub: Any, item: pb.WorkItem) -> None:
    done = pb.CompleteOrchestrationAction(orchestrationStatus="ORCHESTRATION_STATUS_COMPLETED")
    stub.CompleteOrchestratorTask(answer(item, pb.OrchestratorAction(id=-1, completeOrchestration=done)))


def test_failure_details_without_a_message_are_a_failure(stub: Any, work: Any) -> None:
    _, activity = schedule(stub, work, "wordless")
    stub.CompleteActivityTask(ended(activity, failureDetails={"errorType": "ValueError"}))
    item = next(work)
    failed = item.orchestratorRequest.newEvents[-1].taskFailed.failureDetails
    assert (failed.errorType, failed.errorMessage) == ("ValueError", "")
    finish(stub, item)


def test_an_activity_that_answers_twice_is_heard_once(stub: Any, work: Any) -> None:
    _, activity = schedule(stub, work, "twice")
    for result in ("1", "2"):
        stub.CompleteActivityTask(ended(activity, result={"value": result}))
    item = next(work)
    answers = [e.taskCompleted.result.value for e in item.orchestratorRequest.newEvents if e.HasField("taskCompleted")]
    assert answers == ["1"]
    finish(stub, item)


def test_a_stale_step_changes_nothing(stub: Any, work: Any) -> None:
    first, activity = schedule(stub, work, "stale")
    stub.CompleteOrchestratorTask(answer(first, pb.OrchestratorAction(id=1, scheduleTask={"name": "again"})))
    stub.CompleteActivityTask(ended(activity, result={"value": "1"}))
    item = next(work)
    assert item.WhichOneof("request") == "orchestratorRequest"
    names = [e.taskScheduled.name for e in item.orchestratorRequest.pastEvents if e.HasField("taskScheduled")]
    assert names == ["act"]
    finish(stub, item)


def test_a_step_the_engine_cannot_carry_out_fails_the_run_and_says_why(stub: Any, work: Any) -> None:
    stub.StartInstance(pb.CreateInstanceRequest(instanceId="odd", name="run"))
    stub.CompleteOrchestratorTask(answer(next(work), pb.OrchestratorAction(id=0)))
    state = stub.GetInstance(pb.GetInstanceRequest(instanceId="odd", getInputsAndOutputs=True)).orchestrationState
    assert state.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    assert "does not know the action" in state.output.value


def test_a_step_and_an_activity_of_a_lost_stream_come_again(stub: Any) -> None:
    stub.StartInstance(pb.CreateInstanceRequest(instanceId="lost", name="run"))
    lost = stub.GetWorkItems(pb.GetWorkItemsRequest(), timeout=10)
    first = next(lost)
    lost.cancel()
    work = stub.GetWorkItems(pb.GetWorkItemsRequest(), timeout=10)
    again = next(work)
    assert again.orchestratorRequest.instanceId == first.orchestratorRequest.instanceId == "lost"
    finish(stub, again)
    work.cancel()


def test_whoever_waits_for_an_end_is_told(stub: Any, work: Any) -> None:
    stub.StartInstance(pb.CreateInstanceRequest(instanceId="awaited", name="run"))
    waiting = stub.WaitForInstanceCompletion.future(pb.GetInstanceRequest(instanceId="awaited"), timeout=5)
    finish(stub, next(work))
    assert waiting.result().orchestrationState.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED
    assert not stub.WaitForInstanceCompletion(pb.GetInstanceRequest(instanceId="nobody"), timeout=5).exists
