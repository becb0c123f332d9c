"""What an engine is asked, case by case: each is a function of an engine and an instance's id, and gives the answers.

`answers.json` holds what the real extension 3.19.0 (Azure Storage backend, on Azurite) answered in November 2026, under
these names; `record_answers.py` asks them.
"""

import json
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal import orchestrator_service_pb2_grpc as stubs
from fix_engine_probe import Probed, cut
from google.protobuf.wrappers_pb2 import StringValue

type Case = Callable[[Probed, str], list[Any]]

CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def pause(seconds: float) -> None:
    """Let the engine do what is asked without an answer; in a list of answers it leaves none."""
    time.sleep(seconds)


@case
def started_and_completed(e: Probed, i: str) -> list[Any]:
    return [e.start("echo", i, {"a": 1}), e.ends(i), e.get(i, False)]


@case
def started_without_input(e: Probed, i: str) -> list[Any]:
    return [e.start("echo", i, ...), e.ends(i)]


@case
def started_with_null(e: Probed, i: str) -> list[Any]:
    return [e.start("echo", i, None), e.ends(i)]


@case
def start_of_an_unknown_orchestrator(e: Probed, i: str) -> list[Any]:
    return [e.start("nobody", i), e.ends(i, 12)]


@case
def start_without_an_id(e: Probed, i: str) -> list[Any]:
    answer = e.start("echo", "", 1)
    return [{k: "<id>" if k == "instanceId" else v for k, v in answer.items()}]


@case
def start_of_a_running_id(e: Probed, i: str) -> list[Any]:
    return [e.start("waits", i), e.runs(i), e.start("waits", i), e.start("echo", i), e.status(i)]


@case
def start_of_a_running_id_that_must_not_exist(e: Probed, i: str) -> list[Any]:
    policy = pb.OrchestrationIdReusePolicy(replaceableStatus=[])
    return [e.start("waits", i), e.runs(i), e.start("waits", i, orchestrationIdReusePolicy=policy), e.status(i)]


@case
def start_of_a_completed_id(e: Probed, i: str) -> list[Any]:
    return [e.start("echo", i, 1), e.ends(i), e.start("echo", i, 2), pause(3), e.ends(i)]


@case
def start_of_a_failed_id(e: Probed, i: str) -> list[Any]:
    return [e.start("fails", i), e.ends(i), e.start("echo", i, 2), pause(3), e.ends(i)]


@case
def start_of_a_terminated_id(e: Probed, i: str) -> list[Any]:
    before = [e.start("waits", i), e.runs(i), e.terminate(i, '"why"'), e.ends(i)]
    return [*before, e.start("echo", i, 2), pause(3), e.ends(i)]


@case
def ten_starts_at_once(e: Probed, i: str) -> list[Any]:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(e.start("waits", i, n))) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    e.runs(i)
    return [dict(Counter(answer.get("code", "started") for answer in answers)), e.status(i)]


ODD = (
    *("with space", "sl/ash", "ha#sh", "que?stion", "back\\slash", "@counter@x", "ümlaut"),
    *("x" * 100, "x" * 101, "x" * 256, "x" * 300, "tab\tin", "per%cent", "'quote'"),
)


def odd_id(odd: str) -> Case:
    def asked(e: Probed, i: str) -> list[Any]:
        instance = f"{odd}-{i}" if len(odd) < 50 else odd
        return [e.start("echo", instance, 1), e.ends(instance, 8)]

    return asked


CASES |= {f"id_{cut(odd, 12)!r}_{len(odd)}": odd_id(odd) for odd in ODD}


@case
def missing_instance(e: Probed, i: str) -> list[Any]:
    steered = [e.get(i), e.event(i), e.terminate(i), e.suspend(i), e.resume(i)]
    return [*steered, e.purge(i), e.restart(i), e.rewind(i)]


@case
def failed(e: Probed, i: str) -> list[Any]:
    return [e.start("fails", i), e.ends(i), e.get(i, False)]


@case
def completed_with_nothing(e: Probed, i: str) -> list[Any]:
    return [e.start("returns_nothing", i), e.ends(i)]


@case
def event_to_a_completed_one(e: Probed, i: str) -> list[Any]:
    return [e.start("echo", i, 1), e.ends(i) and None, e.event(i), pause(1), e.status(i)]


@case
def event_to_a_failed_one(e: Probed, i: str) -> list[Any]:
    return [e.start("fails", i), e.ends(i) and None, e.event(i)]


@case
def event_before_anybody_waits(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    early = [e.event(i, "later"), e.event(i, "GO", "upper"), pause(2), e.get(i)]
    return [*early, e.event(i, "go", "second"), e.ends(i)]


@case
def event_of_no_data(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    return [e.call("RaiseEvent", pb.RaiseEventRequest(instanceId=i, name="go")), e.event(i, "go", None), e.ends(i)]


@case
def event_of_much_data(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    return [e.event(i, "go", "d" * 200_000), e.event(i, "go", 2), _long(e.ends(i), 100)]


def _long(answer: Any, length: int) -> dict[str, bool]:
    return {k: len(str(v)) > length for k, v in answer.get("orchestrationState", {}).items()}


@case
def terminated(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    return [e.terminate(i, "no JSON"), e.ends(i), e.terminate(i), e.event(i)]


@case
def suspended_and_resumed(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    answers = [e.suspend(i, "r"), pause(2), e.get(i), e.event(i, "go", 1), pause(2), e.status(i)]
    return [*answers, e.resume(i), e.event(i, "go", 2), e.ends(i)]


@case
def purged(e: Probed, i: str) -> list[Any]:
    e.start("echo", i, 1), e.ends(i)
    return [e.purge(i), e.get(i), e.start("echo", i, 2), e.ends(i)]


@case
def purge_of_a_running_one(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    return [e.purge(i), e.status(i)]


@case
def restarted(e: Probed, i: str) -> list[Any]:
    e.start("echo", i, 1), e.ends(i)
    return [e.restart(i), e.ends(i)]


@case
def rewound(e: Probed, i: str) -> list[Any]:
    e.start("calls", i, {"activity": "fails_twice", "input": i}), e.ends(i)
    return [e.get(i), e.rewind(i), pause(3), e.status(i)]


def gives(activity: str) -> Case:
    def asked(e: Probed, i: str) -> list[Any]:
        return [e.start("calls", i, {"activity": activity, "input": {"n": [1, None]}}) and None, e.ends(i)]

    return asked


GIVEN = ("text", "json_text", "object", "number", "nothing", "list", "unicode")
CASES |= {f"activity_gives_{what}": gives(f"gives_{what}") for what in GIVEN}


def fails(activity: str) -> Case:
    """Once where the orchestrator catches the error, once where it does not."""

    def asked(e: Probed, i: str) -> list[Any]:
        e.start("catches", i, {"activity": activity})
        caught = e.ends(i, 12)
        e.start("calls", f"{i}-2", {"activity": activity})
        return [caught, e.ends(f"{i}-2", 12)]

    return asked


FAILING = ("fails_meant", "fails_empty", "fails_chain", "fails_unicode", "nobody")
CASES |= {f"activity_{activity}": fails(activity) for activity in FAILING}


def gives_much(size: int) -> Case:
    def asked(e: Probed, i: str) -> list[Any]:
        e.start("calls", i, {"activity": "gives_much", "input": size})
        state = e.ends(i).get("orchestrationState", {})
        return [state.get("orchestrationStatus"), len(state.get("output", "")) > 100, state.get("failureDetails")]

    return asked


CASES |= {f"activity_result_of_{size}": gives_much(size) for size in (40_000, 1_000_000, 5_000_000)}


@case
def retried(e: Probed, i: str) -> list[Any]:
    return [e.start("retries", i, i) and None, e.ends(i)]


def sets_status(size: int) -> Case:
    def asked(e: Probed, i: str) -> list[Any]:
        e.start("big_status", i, size)
        state = e.ends(i, 15).get("orchestrationState", {})
        return [state.get("orchestrationStatus"), cut(state.get("customStatus", ""), 20), state.get("failureDetails")]

    return asked


CASES |= {f"custom_status_of_{size}": sets_status(size) for size in (8_000, 17_000, 40_000, 1_000_000)}


@case
def sub_orchestration_fails(e: Probed, i: str) -> list[Any]:
    return [e.start("sub", i, "fails") and None, e.ends(i)]


@case
def sub_orchestration_unknown(e: Probed, i: str) -> list[Any]:
    return [e.start("sub", i, "nobody") and None, e.ends(i, 12)]


@case
def continued_as_new(e: Probed, i: str) -> list[Any]:
    e.start("again", i, {"left": 3})
    pause(0.5)
    return [e.event(i, "late", "early bird"), e.ends(i)]


@case
def entity(e: Probed, i: str) -> list[Any]:
    counter, request = f"@counter@{i}", lambda: str(uuid.uuid4())
    answers = [e.entity(counter), e.signal(counter, "add", request(), 3), pause(3), e.entity(counter)]
    answers += [e.signal(counter, "fail", request()), pause(3), e.entity(counter)]
    answers += [e.signal(counter, "nobody", request()), e.signal(counter, "big", request(), 200_000), pause(3)]
    return [*answers, len(str(e.entity(counter))) > 300, e.get(counter, False)]


@case
def entity_asked(e: Probed, i: str) -> list[Any]:
    return [e.start("asks_entity", i, i) and None, e.ends(i, 10)]


@case
def entity_asked_that_fails(e: Probed, i: str) -> list[Any]:
    return [e.start("asks_entity_that_fails", i, i) and None, e.ends(i, 10)]


@case
def changed_code(e: Probed, i: str) -> list[Any]:
    flag = Path(tempfile.gettempdir(), f"changed-{i}")
    e.start("changed", i, str(flag)), e.runs(i), pause(2)
    flag.write_text("")
    answers = [e.event(i), e.ends(i, 12)]
    flag.unlink()
    return json.loads(json.dumps(answers).replace(str(flag.parent / "changed-"), "changed-"))


@case
def queries(e: Probed, i: str) -> list[Any]:
    for n in range(3):
        e.start("echo", f"{i}-q{n}", {"n": n})
    e.start("waits", f"{i}-q9")
    for n in range(3):
        e.ends(f"{i}-q{n}")
    e.runs(f"{i}-q9")
    running = [pb.ORCHESTRATION_STATUS_RUNNING]
    answers = [e.query(i, maxInstanceCount=100), e.query(i, maxInstanceCount=100, fetchInputsAndOutputs=True)]
    answers += [e.query(i, maxInstanceCount=2), e.query(i, maxInstanceCount=100, runtimeStatus=running)]
    answers += [e.query(f"{i}-none", maxInstanceCount=100), e.query(i, maxInstanceCount=0)]
    return [page(answer, i) for answer in answers]


def page(answer: Any, prefix: str) -> Any:
    if "code" in answer:
        return answer
    states = answer.get("orchestrationState", [])
    return {
        "ids": sorted(state["instanceId"].removeprefix(prefix) for state in states),
        "more": bool(answer.get("continuationToken")),
        "keys": sorted({key for state in states for key in state}),
    }


@case
def queries_over_4_megabytes(e: Probed, i: str) -> list[Any]:
    """The limit is the client's own."""
    for n in range(3):
        e.start("big_output", f"{i}-b{n}", 1_900_000)
    for n in range(3):
        e.ends(f"{i}-b{n}")
    query = pb.InstanceQuery(instanceIdPrefix=StringValue(value=i), maxInstanceCount=100, fetchInputsAndOutputs=True)
    with grpc.insecure_channel(e.address) as channel:
        try:
            answer = stubs.TaskHubSidecarServiceStub(channel).QueryInstances(pb.QueryInstancesRequest(query=query))
        except grpc.RpcError as error:
            return [{"code": error.code().name, "details": cut(error.details())}]
    return [len(answer.orchestrationState)]


@case
def input_of_5_megabytes(e: Probed, i: str) -> list[Any]:
    ended = [e.start("big_output", i, 5_000_000), _long(e.ends(i), 1000)]
    return [*ended, e.start("echo", f"{i}-in", "i" * 5_000_000), e.status(f"{i}-in")]
