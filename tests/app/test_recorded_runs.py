"""What an older version of the app recorded is read by today's: plans, results, reports, histories, the guard's memory.

See `recorded/README.md`. Durable names are among it: activities, entities and orchestrators are called as they were.
"""

import base64
import json
import lzma
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

import pytest
from azure.durable_functions.worker import DurableFunctionsWorker
from durabletask.internal import orchestrator_service_pb2 as pb

from api.rollbacks import refusal
from api.runs import Run
from phases.guard.entity import read_memory
from phases.guard.orchestrator import guard
from phases.run.catalogue import PHASES
from phases.run.orchestrator import migrate, roll_back
from shared.model.migration import MigrationRequest
from shared.rendering.documents import to_markdown
from shared.report.handbook import Occasion, for_later_phases, handbook
from shared.wire import from_wire, to_wire

FOLDER = Path(__file__).parent / "recorded"
KEY = "aks-rehearsal-ollama-open-webui"
MIGRATED, LATER = f"{KEY}-0001", f"{KEY}-0002"
ORCHESTRATORS = {"migrate": migrate, "roll_back": roll_back, "guard": guard}
RUN_AT = datetime(2026, 1, 2, tzinfo=UTC)


def entities():
    return json.loads((FOLDER / "entities.json").read_text())


def record(run):
    return entities()[f"@run@{run}"]


def histories():
    """Id → events."""
    raw, found = lzma.decompress((FOLDER / "histories.xz").read_bytes()), {}
    while raw:
        end = 4 + int.from_bytes(raw[:4])
        request, raw = pb.OrchestratorRequest.FromString(raw[4:end]), raw[end:]
        found[request.instanceId] = list(request.pastEvents)
    return found


def lost(kept, read):
    """Whether something that was recorded is not what it was after reading; what a later version adds is no matter."""
    if isinstance(kept, dict):
        return [f"{key}.{deep}" for key in kept for deep in (lost(kept[key], read[key]) if key in read else ["gone"])]
    if isinstance(kept, list):
        pairs = zip(kept, read, strict=True)
        return [f"{number}.{deep}" for number, pair in enumerate(pairs) for deep in lost(*pair)]
    return [] if kept == read else [f"{kept!r} became {read!r}"]


PLANS = [(run, name, plan) for run in (MIGRATED, LATER) for name, plan in record(run)["plans"].items()]


def answer(run, past, new):
    """What the orchestrator does next, given this history."""
    name = next(event.executionStarted.name for event in [*past, *new] if event.HasField("executionStarted"))
    request = pb.OrchestratorRequest(instanceId=run, pastEvents=past, newEvents=new)
    encoded = base64.b64encode(request.SerializeToString()).decode()
    reply = DurableFunctionsWorker().execute_orchestration_request(ORCHESTRATORS[name], encoded)
    return pb.OrchestratorResponse.FromString(base64.b64decode(reply))


def completed(response):
    return next(one.completeOrchestration for one in response.actions if one.HasField("completeOrchestration"))


def test_every_phase_that_leaves_a_plan_is_recorded():
    assert {phase.name for phase in PHASES} == set(record(MIGRATED)["plans"])


@pytest.mark.parametrize(("run", "name", "plan"), PLANS, ids=[f"{run[-4:]}-{name}" for run, name, _ in PLANS])
def test_a_phase_reads_the_plan_that_it_left(run, name, plan):
    phase = next(phase for phase in PHASES if phase.name == name)
    steps = [step for activity, step in phase.activities().items() if activity != f"plan_{name}"]
    kinds = {next(iter(get_type_hints(step).values())) for step in steps} or {
        get_type_hints(phase.module.plan)["return"]
    }
    for kind in kinds:
        assert lost(plan, to_wire(from_wire(plan, kind))) == []


@pytest.mark.parametrize("run", [MIGRATED, LATER])
def test_the_request_is_read(run):
    kept = record(run)["request"]
    assert lost(kept, to_wire(from_wire(kept, MigrationRequest))) == []


def test_the_handbook_is_made_from_it():
    occasion = Occasion(MIGRATED, RUN_AT, RUN_AT, f"/api/migrations/{MIGRATED}")
    assert MIGRATED in to_markdown(handbook(record(MIGRATED), occasion))
    assert MIGRATED in to_markdown(handbook(for_later_phases(record(LATER), record(MIGRATED)), occasion))


def test_it_may_be_taken_back():
    ended = Run(MIGRATED, "COMPLETED", "", "2026-01-02T03:04:05+00:00", {}, record(MIGRATED)["report"])
    assert refusal([ended], MIGRATED) is None


def test_taking_it_back_begins_with_the_undo_of_what_was_started_last():
    kept = record(MIGRATED)
    order = {name: kept[name] for name in ("run", "request", "plans", "started")} | {"reason": "a test"}
    begun = pb.HistoryEvent(eventId=-1)
    begun.executionStarted.name, begun.executionStarted.input.value = "roll_back", json.dumps(order)
    begun.executionStarted.orchestrationInstance.instanceId = f"{MIGRATED}-rollback-1"
    start = pb.HistoryEvent(eventId=-1, orchestratorStarted=pb.OrchestratorStartedEvent())
    start.timestamp.FromDatetime(RUN_AT)
    begun.timestamp.CopyFrom(start.timestamp)
    response = answer(f"{MIGRATED}-rollback-1", [], [start, begun])
    asked = [one.scheduleTask for one in response.actions if one.HasField("scheduleTask")]
    assert [one.name for one in asked] == ["undo_load_test"]
    assert json.loads(asked[0].input.value)["value"] == kept["plans"]["load_test"]


@pytest.mark.parametrize("run", histories())
def test_a_run_that_was_under_way_goes_on(run):
    """Replayed over its whole history, the orchestrator asks for the same in the same order, and ends as it did."""
    events = histories()[run]
    ended = events[-1].executionCompleted
    last = max(i for i, event in enumerate(events) if event.HasField("orchestratorStarted"))
    done = ("entityOperationSignaled", "orchestratorCompleted", "executionCompleted", "timerCreated", "taskScheduled")
    new = [event for event in events[last:] if event.WhichOneof("eventType") not in done]
    outcome = completed(answer(run, events[:last], new))
    assert outcome.orchestrationStatus == ended.orchestrationStatus, outcome.failureDetails.errorMessage
    assert json.loads(outcome.result.value) == json.loads(ended.result.value)


def test_the_guard_remembers():
    kept = entities()[f"@guard_memory@{KEY}"]
    assert lost(kept, to_wire(read_memory(kept))) == []
