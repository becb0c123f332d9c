"""The orchestrator on the real durable engine, over toy phases whose world is a set of words."""

import itertools
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from azure.durable_functions.internal.serialization import FunctionsDataConverter
from durabletask import client, task, worker
from durabletask.entities import DurableEntity

import phases.run.orchestrator as migration
from phases.run.activity import as_activity
from phases.run.catalogue import Phase
from shared.errors import NeedsOperator, PermanentError, TransientError
from shared.model.migration import Brief, Progress
from shared.model.survey import Survey

TARGET = {
    "subscription_id": "s",
    "resource_group": "g",
    "cluster": "c",
    "key_vault": "https://v.vault.azure.net",
    "postgres_server": "p",
}


@dataclass(frozen=True, slots=True)
class Plan:
    word: str
    awaits: str = ""
    deadline_seconds: int = 0
    problems: tuple[dict, ...] = ()
    left_out: bool = False
    approval_names: str = ""


class World:
    """The words that phases put in, and the faults that are asked for."""

    def __init__(self):
        self.words = []
        self.calls = []
        self.faults = {}
        self.plans = {}


def phase(number, name, *, reversible=True, addition=False, looks=1):
    """A phase that adds its name to the world; done after `looks` calls."""

    def plan(brief: Brief, world: World) -> Plan:
        return world.plans.get(name, Plan(name))

    def apply(plan: Plan, world: World) -> Progress:
        if plan.word not in world.words:
            world.words.append(plan.word)
        done = world.calls.count(name) >= looks
        return Progress(done, "adding", check_again_in_seconds=0.05)

    def undo(plan: Plan, world: World) -> Progress:
        if plan.word in world.words:
            world.words.remove(plan.word)
        return Progress(True, "removing")

    return Phase(number, name, SimpleNamespace(plan=plan, apply=apply, undo=undo), reversible, addition)


def survey(brief: Brief, world: World) -> Survey:
    return world.plans.get("preflight", Survey())


PHASES = (
    Phase("0", "preflight", SimpleNamespace(plan=survey)),
    phase("1", "first"),
    phase("2", "second", looks=3),
    phase("3", "last", reversible=False),
)
TWO = PHASES[:3]
MORE = (*TWO, phase("4", "extra", addition=True), phase("5", "more", addition=True), PHASES[-1])
CATALOGUES = {"two": TWO, "all": PHASES, "more": MORE}


def toy_back(ctx: task.OrchestrationContext, order):
    return (yield from migration.run_rollback(ctx, order, PHASES))


def toy(ctx: task.OrchestrationContext, order):
    return (yield from migration.run_migration(ctx, order, CATALOGUES[order.get("catalogue", "two")]))


class Record(DurableEntity):
    def record(self, value):
        self.set_state(value)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    db = tmp_path_factory.mktemp("engine") / "engine.db"
    command = [sys.executable, "-m", "local.functions", "engine", "--db", str(db)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield json.loads(process.stdout.readline().removeprefix("ready "))["address"]
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def current():
    return SimpleNamespace(world=None)


@pytest.fixture(scope="module")
def hub(engine, current):
    """A worker that runs the toy phases against whatever world is current."""
    converter = FunctionsDataConverter()
    hub = worker.TaskHubGrpcWorker(host_address=engine, data_converter=converter)
    hub.add_orchestrator(toy)
    hub.add_orchestrator(toy_back)
    hub.add_entity(Record, name=migration.RUN_ENTITY)
    for one in (*PHASES, *MORE[3:5]):
        for name, step in one.activities().items():
            hub._registry.add_named_activity(name, _faulty(name, step, current))
    with hub:
        hub.start()
        yield client.TaskHubGrpcClient(host_address=engine, data_converter=converter)


def _faulty(name, step, current):
    def counted(value, world):
        world.calls.append(name)
        fault = world.faults.get(name)
        return fault(world.calls.count(name), lambda: step(value, world)) if fault else step(value, world)

    counted.__annotations__ = step.__annotations__
    activity = as_activity(name, counted, lambda target: current.world)
    return lambda ctx, payload: activity(payload)


@pytest.fixture
def run(hub, current, monkeypatch):
    quick = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=3)
    monkeypatch.setattr(migration, "RETRY", quick)
    current.world = World()

    def start(*, mode="migrate", meanwhile=None, orchestrator="toy", **order):
        order = {"run": "r", "request": {"target": TARGET, "mode": mode}} | order
        instance = hub.schedule_new_orchestration(orchestrator, input=order)
        if meanwhile:
            threading.Thread(target=meanwhile, args=(hub, instance), daemon=True).start()
        ended = hub.wait_for_orchestration_completion(instance, timeout=30)
        assert ended.serialized_output, ended.failure_details
        return json.loads(ended.serialized_output)

    start.world = current.world
    return start


def before(error):
    def fault(count, step):
        raise error

    return fault


def halfway(error):
    def fault(count, step):
        step()
        raise error

    return fault


def once(error):
    def fault(count, step):
        if count == 1:
            raise error
        return step()

    return fault


def status_until(hub, instance, word):
    for _ in range(200):
        state = hub.get_orchestration_state(instance)
        if state and state.serialized_custom_status and word in state.serialized_custom_status:
            return
        time.sleep(0.02)
    raise AssertionError(f"never {word}")


FAULTS = {
    "permanent": (PermanentError("no", hint="fix"), 1),
    "transient": (TransientError("later"), 3),
    "bug": (KeyError("bug"), 1),
}


def test_all_phases_in_order(run):
    report = run()
    assert report["state"] == "migrated"
    assert run.world.words == ["first", "second"]
    assert [p["state"] for p in report["phases"]] == ["done"] * 3
    assert run.world.calls.count("second") == 3


def test_a_plan_changes_nothing(run):
    report = run(mode="plan")
    assert report["state"] == "planned"
    assert run.world.words == []
    assert run.world.calls == ["plan_preflight", "plan_first", "plan_second"]


@pytest.mark.parametrize("when", [before, halfway])
@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_failure_restores_the_world(run, kind, name, when):
    error, tries = FAULTS[kind]
    run.world.words.append("the user's")
    run.world.faults[name] = when(error)
    report = run()
    assert report["state"] == "rolled_back"
    assert report["failure"]["phase"] == name
    assert run.world.words == ["the user's"]
    assert run.world.calls.count(name) == tries
    assert f"undo_{name}" in run.world.calls


def test_a_blip_is_invisible(run):
    run.world.faults["first"] = once(TransientError("blip"))
    assert run()["state"] == "migrated"


def test_a_failure_while_planning_changes_nothing(run):
    run.world.faults["plan_second"] = before(PermanentError("unreadable"))
    report = run()
    assert report["state"] == "refused"
    assert report["failure"]["message"] == "unreadable"
    assert run.world.words == []


def test_a_blocking_problem_changes_nothing(run):
    problem = {"code": "x", "severity": "blocking", "message": "m"}
    run.world.plans["second"] = Plan("second", problems=(problem,))
    report = run()
    assert report["state"] == "refused"
    assert report["problems"] == [{"phase": "second"} | problem]
    assert run.world.words == []


def test_after_the_irreversible_it_halts(run):
    run.world.faults["last"] = before(PermanentError("x"))
    report = run(catalogue="all")
    assert report["state"] == "halted"
    assert run.world.words == ["first", "second"]
    assert not any(call.startswith("undo") for call in run.world.calls)


@pytest.mark.parametrize("when", [before, halfway])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_failed_addition_is_undone_alone_and_what_follows_goes_on(run, kind, when):
    error, tries = FAULTS[kind]
    run.world.plans["last"] = Plan("last", left_out=True)
    run.world.faults["extra"] = when(error)
    report = run(catalogue="more")
    assert (report["state"], report["failure"]) == ("migrated", None)
    assert run.world.words == ["first", "second", "more"]
    assert run.world.calls.count("extra") == tries
    assert [call for call in run.world.calls if call.startswith("undo")] == ["undo_extra"]
    states = {each["name"]: each["state"] for each in report["phases"]}
    assert (states["extra"], states["more"]) == ("failed", "done")
    [setback] = report["setbacks"]
    assert setback["phase"] == "extra"
    assert setback["hint"].endswith('POST /api/migrations with {"mode": "phases", "phases": ["extra"]}.')


def test_the_irreversible_is_not_begun_after_an_addition_failed(run):
    run.world.faults["more"] = before(PermanentError("no"))
    report = run(catalogue="more")
    assert (report["state"], run.world.words) == ("migrated", ["first", "second", "extra"])
    assert report["results"]["last"] == {"skipped": True, "because": "more failed before it"}


def test_an_addition_that_cannot_be_undone_halts_with_the_migration_in_place(run):
    run.world.faults |= {"extra": halfway(PermanentError("x")), "undo_extra": before(PermanentError("y"))}
    report = run(catalogue="more")
    assert (report["state"], report["failure"]["message"], report["undo_failure"]["message"]) == ("halted", "x", "y")
    assert run.world.words == ["first", "second", "extra"]
    assert report["setbacks"] == []


@pytest.mark.parametrize("mode", ["migrate", "phases"])
def test_a_bug_of_the_orchestrator_in_an_addition_undoes_no_migration(run, mode):
    run.world.plans["last"] = Plan("last", left_out=True)
    run.world.faults["extra"] = lambda count, step: Progress(True, result={"rows": "many"})
    request = {"target": TARGET, "mode": mode, "phases": ["extra"]}
    report = run(catalogue="more", request=request)
    assert report["state"] == ("migrated" if mode == "migrate" else "rolled_back")
    failure = report["failure"] or report["setbacks"][0]
    assert "bug: ValueError" in failure["message"]


def test_an_abort_during_an_addition_undoes_the_migration(run):
    run.world.faults["extra"] = lambda count, step: Progress(False, "long", check_again_in_seconds=0.05)

    def abort(hub, instance):
        status_until(hub, instance, "long")
        hub.raise_orchestration_event(instance, "stop", data={"reason": "abort by an operator"})

    report = run(catalogue="more", meanwhile=abort)
    assert (report["state"], run.world.words, report["setbacks"]) == ("rolled_back", [], [])


def test_a_run_of_later_phases_alone_fails_with_its_phase(run):
    run.world.faults["more"] = before(PermanentError("no"))
    report = run(catalogue="more", request={"target": TARGET, "mode": "phases", "phases": ["extra", "more"]})
    assert (report["state"], report["failure"]["phase"]) == ("rolled_back", "more")
    assert run.world.words == []


def take_back(run):
    """As somebody asks for it after the run has ended."""
    run.world.words = ["first", "second", "last"]
    started = list(run.world.words)
    plans = {name: {"word": name} for name in started}
    return run(orchestrator="toy_back", started=started, plans=plans)


def test_asked_for_the_irreversible_says_itself_whether_there_is_a_way_back(run):
    assert take_back(run)["state"] == "rolled_back"
    assert run.world.words == []


def test_when_the_irreversible_has_happened_nothing_before_it_is_undone(run):
    run.world.faults["undo_last"] = before(NeedsOperator("the disk is gone"))
    report = take_back(run)
    assert (report["state"], report["undo_failure"]["message"]) == ("halted", "the disk is gone")
    assert run.world.words == ["first", "second", "last"]


def test_a_failed_undo_halts_and_keeps_the_first_failure(run):
    run.world.faults |= {"second": before(PermanentError("x")), "undo_second": before(NeedsOperator("y"))}
    report = run()
    assert report["state"] == "halted"
    assert report["failure"]["message"] == "x"
    assert report["undo_failure"]["message"] == "y"
    assert "undo_first" not in run.world.calls


def test_what_needs_an_operator_is_not_undone(run):
    run.world.faults["second"] = before(NeedsOperator("unsafe"))
    assert run()["state"] == "halted"
    assert run.world.words == ["first"]


def test_the_gate_waits_for_approval(run):
    run.world.plans["second"] = Plan("second", "approval", 30)

    def approve(hub, instance):
        status_until(hub, instance, "waiting for approval")
        assert run.world.words == ["first"]
        hub.raise_orchestration_event(instance, "approval", data={"approved": True})

    assert run(meanwhile=approve)["state"] == "migrated"


def test_a_refused_approval_undoes(run):
    run.world.plans["second"] = Plan("second", "approval", 30)

    def refuse(hub, instance):
        status_until(hub, instance, "waiting for approval")
        hub.raise_orchestration_event(instance, "approval", data={"approved": False})

    assert run(meanwhile=refuse)["state"] == "rolled_back"
    assert run.world.words == []


def test_the_deadline_of_the_gate_undoes(run):
    run.world.plans["second"] = Plan("second", "approval", 1)
    report = run()
    assert report["state"] == "rolled_back"
    assert "deadline" in report["failure"]["message"]


def test_an_irreversible_phase_that_nobody_asked_for_is_left_out(run):
    run.world.plans["last"] = Plan("last", left_out=True)
    assert run(catalogue="all")["state"] == "migrated"
    assert "last" not in run.world.calls


def test_an_irreversible_phase_waits_for_an_approval_that_names_the_thing(run):
    run.world.plans["last"] = Plan("last", "approval", 30, approval_names="pvc-1")

    def approve(hub, instance):
        for answer in ({}, {"disk": "pvc-2"}):
            status_until(hub, instance, "waiting for approval")
            hub.raise_orchestration_event(instance, "approval", data={"approved": True} | answer)
            time.sleep(0.3)
            assert "last" not in run.world.calls
        hub.raise_orchestration_event(instance, "approval", data={"approved": True, "disk": "pvc-1"})

    assert run(catalogue="all", meanwhile=approve)["state"] == "migrated"
    assert run.world.words == ["first", "second", "last"]


@pytest.mark.parametrize("answer", [None, {"approved": False}])
def test_an_irreversible_phase_that_nobody_approves_leaves_the_rest_as_it_is(run, answer):
    run.world.plans["last"] = Plan("last", "approval", 30 if answer else 1, approval_names="pvc-1")

    def refuse(hub, instance):
        status_until(hub, instance, "waiting for approval")
        if answer:
            hub.raise_orchestration_event(instance, "approval", data=answer)

    report = run(catalogue="all", meanwhile=refuse)
    assert (report["state"], run.world.words) == ("migrated", ["first", "second"])
    assert report["results"]["last"]["skipped"]


def test_an_abort_undoes_what_was_started(run):
    run.world.faults["second"] = lambda count, step: Progress(False, "long", check_again_in_seconds=0.05)

    def abort(hub, instance):
        status_until(hub, instance, "long")
        hub.raise_orchestration_event(instance, "stop", data={"reason": "abort by an operator"})

    report = run(meanwhile=abort)
    assert report["state"] == "rolled_back"
    assert report["failure"]["message"] == "abort by an operator"
    assert run.world.words == []


def test_a_pause_holds_and_a_resume_goes_on(run):
    release = threading.Event()
    run.world.faults["second"] = lambda count, step: (
        step() if release.is_set() else Progress(False, "long", check_again_in_seconds=0.05)
    )

    def pause(hub, instance):
        status_until(hub, instance, "long")
        hub.raise_orchestration_event(instance, "pause")
        status_until(hub, instance, "paused")
        calls = len(run.world.calls)
        time.sleep(0.4)
        assert len(run.world.calls) == calls
        release.set()
        hub.raise_orchestration_event(instance, "resume")

    assert run(meanwhile=pause)["state"] == "migrated"


def test_a_pause_is_not_heeded_while_open_webui_is_down(run):
    looks = []

    def critical(count, step):
        looks.append(count)
        return step() if count > 12 else Progress(False, "critical", interruptible=False, check_again_in_seconds=0.05)

    run.world.faults["second"] = critical

    def pause(hub, instance):
        status_until(hub, instance, "critical")
        hub.raise_orchestration_event(instance, "pause")

    assert run(meanwhile=pause)["state"] == "migrated"
    assert len(looks) > 12


def test_waits_grow_until_a_phase_is_at_something_new(run):
    looks = []

    def long(count, step):
        looks.append(time.monotonic())
        return step() if count == 9 else Progress(False, "long", check_again_in_seconds=0.3 if count < 7 else 0.02)

    run.world.faults["second"] = long
    assert run()["state"] == "migrated"
    waits = [after - before for before, after in itertools.pairwise(looks)]
    assert waits[5] > 0.3 * 1.15**5
    assert waits[6] < waits[5] / 2


def test_a_bug_of_the_orchestrator_is_undone_too(run, monkeypatch):
    run.world.faults["second"] = lambda count, step: Progress(True, down_since="not a time")
    report = run()
    assert report["state"] == "rolled_back"
    assert "bug" in report["failure"]["message"]
    assert run.world.words == []


def test_the_downtime_is_shown_and_reported(run):
    began = datetime.now(UTC)

    def down(count, step):
        step()
        later = (began + timedelta(seconds=7)).isoformat() if count == 3 else ""
        return Progress(count == 3, "down", down_since=began.isoformat(), answering_since=later)

    run.world.faults["second"] = down
    assert run()["downtime_seconds"] == 7


def test_a_bug_is_called_a_bug(run):
    run.world.faults["first"] = before(ValueError("x"))
    assert "bug: ValueError" in run()["failure"]["message"]
