"""Mode `phases`: what the request may say, which phases run, what the guard and a rollback make of it."""

import pytest

from api.guard_runs import migration_state
from api.rollbacks import _newer_migration
from api.runs import Run, refuse
from phases.run.catalogue import PHASES
from phases.run.orchestrator import chosen
from shared.model.migration import LATER_PHASES, MigrationRequest, Mode, Options, Target
from shared.model.request_parsing import InvalidRequest, parse_request

TARGET = {
    "subscription_id": "s",
    "resource_group": "g",
    "cluster": "c",
    "key_vault": "https://v.vault.azure.net",
    "postgres_server": "p",
}


def run(id_, state, mode="migrate", *, active=False):
    output = {"state": state, "mode": mode, "options": {"soak_seconds": 3600}}
    status = "RUNNING" if active else "COMPLETED"
    return Run(id_, status, "2026-01-01T00:00:00", "2026-01-01T00:00:00", {}, None if active else output)


def test_a_later_phase_can_be_asked_for_alone():
    request = parse_request({"mode": "phases", "phases": ["enable_autoscaling"]}, TARGET)
    assert (request.mode, request.phases) == (Mode.PHASES, ("enable_autoscaling",))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"mode": "phases"}, "needs phases"),
        ({"mode": "phases", "phases": "enable_autoscaling"}, "must be a list"),
        ({"mode": "phases", "phases": ["cut_over"]}, "cut_over"),
        ({"mode": "phases", "phases": [3]}, "3"),
        ({"mode": "migrate", "phases": ["enable_autoscaling"]}, "options.autoscaling"),
    ],
)
def test_what_cannot_be_meant_is_named(body, word):
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body, TARGET)
    assert len(caught.value.problems) == 1
    assert word in caught.value.problems[0]


def test_every_later_phase_is_in_the_catalogue_and_has_its_option():
    assert LATER_PHASES.keys() <= {phase.name for phase in PHASES}
    assert all(getattr(Options(), option) is False for option in LATER_PHASES.values())


def test_alone_only_the_preflight_and_what_was_asked_for_runs():
    request = MigrationRequest(Target("s", "g", "c", "https://v", "p"), Mode.PHASES, phases=("enable_autoscaling",))
    assert [phase.name for phase in chosen(PHASES, request)] == ["preflight", "enable_autoscaling"]
    migrate = MigrationRequest(request.target, Mode.MIGRATE)
    assert chosen(PHASES, migrate) == PHASES


def test_a_run_of_later_phases_can_be_taken_back():
    assert refuse("rollback", run("k-0002", "applied", "phases")) is None


def test_a_migration_is_taken_back_only_after_what_was_added_to_it():
    known = [run("k-0002", "applied", "phases"), run("k-0001", "migrated")]
    assert _newer_migration(known, "k-0001") == "k-0002"
    assert _newer_migration([run("k-0002-rollback-1", "rolled_back", "phases"), *known], "k-0001") is None


def test_later_phases_do_not_end_the_migrations_soak():
    known = [run("k-0002", "applied", "phases"), run("k-0001", "migrated")]
    assert migration_state(known).run == "k-0001"
    assert migration_state(known).soak_until is not None
    assert migration_state([run("k-0002", "", "phases", active=True), *known[1:]]).run == "k-0002"
