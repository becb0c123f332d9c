"""What the guard's routes say and refuse, which Deployments are guarded, and what a run means to the guard. Pure."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.guard import describe, pause_problems
from api.guard_runs import migration_state
from api.openapi import document
from api.runs import Run
from phases.guard.memory import Memory
from shared.errors import ConfigurationError
from shared.guard.policy import Policy
from shared.guard.readings import MigrationState
from shared.guard.targets import Guarded, read_guarded
from shared.guard.verdicts import Action, GuardState, Verdict
from shared.model.migration import NOT_ASKED_FOR, Target
from tests.guard.fix_readings import MINUTE, NOON

OWN = {
    "subscription_id": "s",
    "resource_group": "g",
    "cluster": "aks",
    "key_vault": "https://v.vault.azure.net",
    "postgres_server": "p",
}
KEY = "aks-ollama-open-webui"
TARGET = Target("s", "g", "aks", "https://v.vault.azure.net", "p")


def test_without_a_setting_the_apps_own_target_is_guarded():
    [own] = read_guarded("", OWN)
    assert (own.key, own.policy.minimum_replicas) == (KEY, 3)


def test_an_app_without_a_target_of_its_own_guards_nothing():
    assert read_guarded("", dict.fromkeys(OWN, "")) == ()


def test_every_deployment_has_its_own_policy():
    text = json.dumps([
        {"namespace": "team-a", "policy": {"minimum_replicas": 2, "calm_seconds": 900}},
        {"namespace": "team-b", "cluster": "other", "policy": {"maximum_replicas": 2}},
    ])  # fmt: skip
    first, second = read_guarded(text, OWN)
    assert (first.target.namespace, first.policy) == ("team-a", Policy(minimum_replicas=2, calm=timedelta(minutes=15)))
    assert (second.key, second.policy.minimum_replicas) == ("other-team-b-open-webui", 2)


def test_every_mistake_in_the_setting_is_named():
    entries = [
        {"namespace": "Team A"},
        {"polizy": {}},
        {"policy": {"clam_seconds": 1, "window": "many", "headroom": 0.2}},
        {"policy": {"window": 2}},
        7,
        {},
        {},
    ]
    with pytest.raises(ConfigurationError) as raised:
        read_guarded(json.dumps(entries), OWN)
    for said in ("'Team A'", "polizy", "clam_seconds", "policy.window", "window >= 10", "entry 5", "listed twice"):
        assert said in raised.value.message


@pytest.mark.parametrize("text", ["[", "{}", '"x"'])
def test_a_setting_that_is_no_list_is_refused(text):
    with pytest.raises(ConfigurationError, match="SCALEOUT_GUARD_TARGETS"):
        read_guarded(text, OWN)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, ["JSON object"]),
        ({}, ["minutes", "because"]),
        ({"minutes": 0, "because": "x"}, ["minutes"]),
        ({"minutes": True, "because": "x"}, ["minutes"]),
        ({"minutes": float("nan"), "because": "x"}, ["minutes"]),
        ({"minutes": 1e9, "because": " "}, ["minutes", "because"]),
        ({"minutes": 5, "because": "x", "hours": 1}, ["hours"]),
    ],
)
def test_a_pause_that_cannot_be_meant_is_refused_with_every_problem(body, said):
    problems = pause_problems(body)
    assert len(problems) == len(said)
    assert all(any(word in problem for problem in problems) for word in said)


def test_a_good_pause_is_taken():
    assert pause_problems({"minutes": 30, "because": "node upgrade", "deployment": KEY}) == []


def test_the_newest_verdicts_come_first_and_a_past_pause_is_not_shown():
    verdicts = tuple(Verdict(NOON + n * MINUTE, Action.NONE, "nothing", f"{n}") for n in range(100))
    memory = Memory(state=GuardState(verdicts=verdicts, paused_until=NOON, paused_because="work"))
    after = describe(Guarded(TARGET), memory, NOON + MINUTE)
    assert [verdict["reason"] for verdict in after["verdicts"][:2]] == ["99", "98"]
    assert after["paused_until"] is None
    assert describe(Guarded(TARGET), memory, NOON - MINUTE)["paused_because"] == "work"
    json.dumps(after)


def test_an_empty_memory_can_be_shown():
    shown = describe(Guarded(TARGET), Memory(), NOON)
    assert (shown["reading"], shown["verdicts"], shown["ticks"]) == (None, (), 0)


def run(number=1, *, rollback=False, runtime="COMPLETED", state="migrated", phase="", step="", soak=3600, **more):
    suffix = "-rollback-1" if rollback else ""
    output = None if runtime == "RUNNING" else {"state": state, "options": {"soak_seconds": soak}, **more}
    status = {"phase": phase, "step": step}
    return Run(f"{KEY}-{number:04d}{suffix}", runtime, NOON.isoformat(), NOON.isoformat(), status, output)


MIGRATED = run()
ID = f"{KEY}-0001"


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], MigrationState()),
        ([MIGRATED], MigrationState(ID, soak_until=NOON + timedelta(hours=1))),
        ([run(soak=0)], MigrationState(ID)),
        ([run(2, state="planned"), run(3, state="refused"), MIGRATED], migration_state([MIGRATED])),
        ([run(state="rolled_back")], MigrationState(ID)),
        ([run(2, state="applied", mode="phases", results={}), MIGRATED], migration_state([MIGRATED])),
        (
            [run(2, state="applied", mode="phases", results={"retire_source": {"claim": "c"}}), MIGRATED],
            MigrationState(ID),
        ),
        ([run(results={"retire_source": {"claim": "c"}})], MigrationState(ID)),
        ([run(results={"retire_source": NOT_ASKED_FOR.result})], migration_state([MIGRATED])),
        ([run(state="halted")], MigrationState(ID)),
        ([run(rollback=True, state="rolled_back"), MIGRATED], MigrationState(f"{ID}-rollback-1")),
        ([run(runtime="RUNNING", phase="copy_vectors")], MigrationState(ID, "copy_vectors")),
        ([run(runtime="RUNNING", phase="cut_over")], MigrationState(ID, "cut_over", restarts_pods=True)),
        ([run(runtime="RUNNING", phase="scale_out")], MigrationState(ID, "scale_out", restarts_pods=True)),
        (
            [run(runtime="RUNNING", phase="copy_vectors", step="undoing: x")],
            MigrationState(ID, "copy_vectors", restarts_pods=True),
        ),
        (
            [run(runtime="RUNNING", rollback=True, phase="validate"), MIGRATED],
            MigrationState(f"{ID}-rollback-1", "validate", restarts_pods=True),
        ),
    ],
)
def test_what_the_newest_run_means(runs, expected):
    assert migration_state(runs) == expected


def test_the_soak_is_in_a_time_with_a_zone():
    naive = replace(MIGRATED, updated=datetime(2026, 1, 1, tzinfo=UTC).isoformat())
    assert migration_state([naive]).soak_until.tzinfo is not None


def test_the_interface_describes_the_guard():
    paths = document()["paths"]
    assert {"/api/guard", "/api/guard/pause", "/api/guard/resume"} <= paths.keys()
    schema = paths["/api/guard/pause"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["minutes", "because"]
