"""The engine's rules on a store alone: time is an argument, so nothing waits."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine import entities, instances, queries, steps
from local.functions.engine.events import event, kind, stamp, text
from local.functions.engine.hub import Hub
from local.functions.engine.store import Instance, Store
from local.functions.engine.work import WorkQueue

HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "engine.db")
    yield opened
    opened.close()


def begin(store: Store, name: str = "run", now: float = 0.0, **more: Any) -> Instance:
    return instances.start_instance(store, instances.Start(name, more.pop("starts", now), name, **more), now)


def step(store: Store, instance: str, now: float, *actions: pb.OrchestratorAction) -> None:
    """Take a step as a worker would: everything due is taken, these actions are the answer."""
    messages = store.messages(instance, now)
    store.remove_messages(message.position for message in messages)
    found = store.instance(instance)
    assert found
    response = pb.OrchestratorResponse(instanceId=instance, actions=actions)
    steps.complete_step(store, found, [message.event for message in messages], response, now)


def complete(result: str, status: str = "COMPLETED", **more: Any) -> pb.OrchestratorAction:
    ending = pb.CompleteOrchestrationAction(
        orchestrationStatus=f"ORCHESTRATION_STATUS_{status}", result=text(result), **more
    )
    return pb.OrchestratorAction(id=-1, completeOrchestration=ending)


def call(task: int, name: str = "act") -> pb.OrchestratorAction:
    return pb.OrchestratorAction(id=task, scheduleTask=pb.ScheduleTaskAction(name=name))


def timer(task: int, at: float) -> pb.OrchestratorAction:
    return pb.OrchestratorAction(id=task, createTimer=pb.CreateTimerAction(fireAt=stamp(at)))


def child(task: int, name: str) -> pb.OrchestratorAction:
    action = pb.CreateSubOrchestrationAction(instanceId=name, name=name)
    return pb.OrchestratorAction(id=task, createSubOrchestration=action)


def waiting(store: Store, instance: str, now: float) -> list[str]:
    return [kind(message.event) for message in store.messages(instance, now)]


def test_a_child_may_take_days_before_it_answers(store: Store) -> None:
    begin(store)
    step(store, "run", 1.0, child(0, "child"))
    step(store, "child", 2.0, timer(0, 100 * HOUR))
    assert waiting(store, "run", 99 * HOUR) == []
    assert waiting(store, "child", 99 * HOUR) == []
    step(store, "child", 100 * HOUR, complete('"late"'))
    (answer,) = store.messages("run", 100 * HOUR)
    assert answer.event.subOrchestrationInstanceCompleted.taskScheduledId == 0
    assert answer.event.subOrchestrationInstanceCompleted.result.value == '"late"'


def test_a_child_of_a_former_life_does_not_answer_the_present_one(store: Store) -> None:
    begin(store)
    step(store, "run", 1.0, child(0, "child"))
    step(store, "run", 2.0, complete("1", "CONTINUED_AS_NEW"))
    step(store, "child", 3.0, complete('"for nobody"'))
    assert waiting(store, "run", 4.0) == ["executionStarted"]


def test_a_new_life_keeps_events_in_order_and_drops_timers_and_activities(store: Store) -> None:
    begin(store)
    step(store, "run", 1.0, timer(0, 50.0), call(1))
    instances.send(store, store.instance("run"), 2.0, eventRaised=pb.EventRaisedEvent(name="second"))
    carried = event(1.5, eventRaised=pb.EventRaisedEvent(name="first"))
    found = store.instance("run")
    assert found
    renewed = complete('{"n": 1}', "CONTINUED_AS_NEW", carryoverEvents=[carried])
    steps.complete_step(store, found, [], pb.OrchestratorResponse(actions=[renewed]), 3.0)
    messages = store.messages("run", 100.0)
    assert [kind(m.event) for m in messages] == ["executionStarted", "eventRaised", "eventRaised"]
    assert [m.event.eventRaised.name for m in messages[1:]] == ["first", "second"]
    assert messages[0].event.executionStarted.input.value == '{"n": 1}'
    assert store.history("run")[:-1] == []
    assert store.rows("SELECT * FROM activity") == []


def test_a_suspended_run_is_delivered_only_when_it_is_resumed(store: Store) -> None:
    queue, everything = WorkQueue(store), pb.GetWorkItemsRequest()
    begin(store)
    step(store, "run", 1.0, timer(0, 5.0))
    instances.send(store, store.instance("run"), 2.0, executionSuspended=pb.ExecutionSuspendedEvent())
    step(store, "run", 3.0)
    stream = queue.open_stream(everything)
    assert queue.next_item(stream, 10.0) is None
    instances.send(store, store.instance("run"), 11.0, executionResumed=pb.ExecutionResumedEvent())
    item = queue.next_item(stream, 12.0)
    assert item
    assert [kind(e) for e in item.orchestratorRequest.newEvents] == [
        "orchestratorStarted",
        "timerFired",
        "executionResumed",
    ]


def test_work_of_a_stream_that_ends_goes_to_the_next_and_nothing_is_given_twice(store: Store) -> None:
    queue, everything = WorkQueue(store), pb.GetWorkItemsRequest()
    begin(store)
    step(store, "run", 1.0, call(0), call(1))
    first, second = queue.open_stream(everything), queue.open_stream(everything)
    taken = [queue.next_item(first, 2.0), queue.next_item(second, 2.0)]
    assert [item and item.activityRequest.taskId for item in taken] == [0, 1]
    assert queue.next_item(second, 2.0) is None
    queue.close_stream(first)
    again = queue.next_item(second, 2.0)
    assert again
    assert again.activityRequest.taskId == 0
    assert again.completionToken == (taken[0] and taken[0].completionToken)


def test_a_stream_gets_no_more_than_it_asked_for(store: Store) -> None:
    queue = WorkQueue(store)
    begin(store)
    step(store, "run", 1.0, *(call(task) for task in range(5)))
    stream = queue.open_stream(pb.GetWorkItemsRequest(maxConcurrentActivityWorkItems=2))
    items = [queue.next_item(stream, 2.0) for _ in range(3)]
    assert [item is not None for item in items] == [True, True, False]
    assert items[0]
    lease = queue.find(items[0].completionToken)
    assert lease
    queue.end(lease)
    assert queue.next_item(stream, 2.0) is not None


def test_a_delayed_start_waits_and_ends_at_once_when_it_is_terminated(store: Store) -> None:
    queue, everything = WorkQueue(store), pb.GetWorkItemsRequest()
    begin(store, starts=HOUR)
    instances.send(store, store.instance("run"), 1.0, eventRaised=pb.EventRaisedEvent(name="early"))
    assert queue.next_item(queue.open_stream(everything), 2.0) is None
    assert waiting(store, "run", HOUR) == ["executionStarted", "eventRaised"]
    assert store.next_due(2.0) == HOUR
    instances.terminate(store, store.instance("run"), '"no"', 3.0, recursive=False)
    ended = store.instance("run")
    assert ended
    assert (ended.status, ended.output) == (pb.ORCHESTRATION_STATUS_TERMINATED, '"no"')


def test_an_ended_run_leaves_nothing_behind(store: Store) -> None:
    begin(store)
    step(store, "run", 1.0, call(0), timer(1, 9.0))
    step(store, "run", 2.0, complete('"done"'))
    assert waiting(store, "run", 10.0) == []
    assert store.rows("SELECT * FROM activity") == []
    instances.send(store, store.instance("run"), 3.0, eventRaised=pb.EventRaisedEvent(name="late"))
    assert waiting(store, "run", 10.0) == []
    assert [kind(e) for e in store.history("run")][-1] == "executionCompleted"


def test_a_step_that_cannot_be_carried_out_changes_nothing(store: Store) -> None:
    begin(store)
    with pytest.raises(ValueError, match="does not know"), store.transaction():
        step(store, "run", 1.0, call(0), pb.OrchestratorAction(id=1))
    assert waiting(store, "run", 2.0) == ["executionStarted"]
    assert store.rows("SELECT * FROM activity") == []


@pytest.mark.parametrize(("window", "heard"), [(30, 0), (0, 1)])
def test_within_a_reorder_window_an_entity_hears_no_call(store: Store, window: int, heard: int) -> None:
    store.hub = Hub(window)
    begin(store)
    called = pb.EntityOperationCalledEvent(requestId="r", operation="read", targetInstanceId=text("@x@1"))
    step(store, "run", 1.0, pb.OrchestratorAction(id=0, sendEntityMessage={"entityOperationCalled": called}))
    assert len(entities.read_batch(store, "@x@1", 2.0)) == heard


def test_locks_are_taken_all_or_none_and_in_the_order_they_were_asked_for(store: Store) -> None:
    store.hub = Hub(entity_reorder_window_minutes=0)
    for owner in ("a", "b", "c"):
        begin(store, owner)
        step(store, owner, 0.5)
    for owner, wanted in (("a", ["@x@1"]), ("b", ["@x@1", "@x@2"]), ("c", ["@x@2"])):
        asked = pb.EntityLockRequestedEvent(criticalSectionId=owner, lockSet=wanted, parentInstanceId=text(owner))
        step(store, owner, 1.0, pb.OrchestratorAction(id=0, sendEntityMessage={"entityLockRequested": asked}))
    assert [waiting(store, owner, 2.0) for owner in "abc"] == [["entityLockGranted"], [], ["entityLockGranted"]]
    entities.queue_operation(store, "@x@1", entities.Operation("r", "add", None), 2.0)
    assert entities.read_batch(store, "@x@1", 3.0) == []
    step(store, "a", 3.0, complete("0"))
    step(store, "c", 3.0, complete("0"))
    assert waiting(store, "b", 4.0) == ["entityLockGranted"]


def test_a_status_costs_the_same_however_long_the_history(store: Store) -> None:
    begin(store)
    with store.transaction():
        store.append_history("run", *(event(0.0, 1, taskScheduled={"name": "x" * 1000}) for _ in range(20_000)))
    started = time.perf_counter()
    for _ in range(100):
        found = store.instance("run")
        assert found
        queries.instance_state(found)
    assert time.perf_counter() - started < 0.2
