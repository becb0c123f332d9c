"""More cases, recorded a day later with the same programs. Importing them adds them to the others."""

import time
import uuid
from typing import Any

from engine_cases import CASES, Case, case, fails, page, pause
from fix_engine_probe import Probed
from google.protobuf.timestamp_pb2 import Timestamp

POISON = "activity_fails_long"
"""Asked last: its instance never ends, and slows every other one (the extension waits 10 s after each refused row)."""


@case
def activity_nobody_alone(e: Probed, i: str) -> list[Any]:
    return [e.start("calls", i, {"activity": "nobody"}), _message(e.ends(i, 20))]


@case
def custom_status_that_fails(e: Probed, i: str) -> list[Any]:
    return [e.start("big_status", i, 17_000), _message(e.ends(i, 15))]


def _message(answer: Any) -> Any:
    """Without the stack of .NET that the extension shows of a function that it failed itself."""
    state = answer["orchestrationState"]
    return answer | {"orchestrationState": state | {"output": state.get("output", "").partition('","details"')[0]}}


@case
def suspended_twice(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    answers = [e.suspend(i, "r"), pause(2), e.suspend(i, "again"), e.event(i, "go", 1), e.resume(i, "back"), pause(2)]
    answers += [e.get(i), e.resume(i, "again"), e.suspend(i, "once more"), pause(2), e.terminate(i, "why"), e.ends(i)]
    return [*answers, e.suspend(i), e.resume(i), e.rewind(i)]


@case
def steered_when_completed(e: Probed, i: str) -> list[Any]:
    e.start("echo", i, 1), e.ends(i)
    return [e.suspend(i), e.resume(i), e.terminate(i), e.rewind(i)]


@case
def restarted_and_rewound_when_running(e: Probed, i: str) -> list[Any]:
    e.start("waits", i), e.runs(i)
    return [e.restart(i), e.rewind(i), e.resume(i)]


@case
def started_for_later(e: Probed, i: str) -> list[Any]:
    later = Timestamp(seconds=int(time.time()) + 3600)
    answers = [e.start("echo", i, 1, scheduledStartTimestamp=later), pause(1), e.get(i)]
    return [*answers, e.terminate(i, "why"), pause(2), e.get(i)]


@case
def entity_locked(e: Probed, i: str) -> list[Any]:
    return [e.start("locks_entity", i, i), e.ends(i, 10)]


@case
def entity_signalled_by_an_orchestration(e: Probed, i: str) -> list[Any]:
    return [e.start("signals_entity", i, i) and None, e.ends(i) and None, e.entity(f"@counter@{i}")]


@case
def entities_in_a_query(e: Probed, i: str) -> list[Any]:
    e.signal(f"@counter@{i}", "add", str(uuid.uuid4()), 1)
    pause(2)
    return [page(e.query(f"@counter@{i}", maxInstanceCount=100), i)]


def fails_with(text: str, times: int) -> Case:
    def asked(e: Probed, i: str) -> list[Any]:
        e.start("fails_of", i, {"text": text, "times": times})
        e.ends(i, 5)
        return [e.status(i)]

    return asked


CASES |= {
    f"failure_of_{times}_times_{text}": fails_with(text, times) for text, times in (("L", 32_000), ("日", 32_000))
}
CASES |= {POISON: fails("fails_long"), "failure_of_33000_times_L": fails_with("L", 33_000)}
