"""Every query of the workbook and of the alerts runs on what a real worker sent, and shows what happened there."""

from collections.abc import Iterator

import pytest
from fix_told import Told
from queries import Query, alert_queries, unsent, workbook_queries
from workspace import QueryRefused, Workspace

from shared.telemetry import CATALOGUE

pytestmark = pytest.mark.timeout(900)  # three runs come before the first test

QUERIES = [*workbook_queries(), *alert_queries()]
BY_TITLE = {query.title: query for query in QUERIES}
NOTHING = {
    "Under way: started and not ended",  # every run ended
    "More database connections are wanted than there are",  # the plan's, not the guard's
    "Functions: calls, failures, longest",  # the Functions host sends these
    "A function of Scaleout failed",
    "The guard's verdicts that ask for something",  # nothing was wrong
    "Warnings and errors, latest first",  # the fault strikes around the app's code; see test_telemetry_sampling
}
"""Queries that rightly find nothing in these three runs."""


@pytest.fixture(scope="module")
def workspace(told: Told) -> Iterator[Workspace]:
    workspace = Workspace()
    workspace.add(told.ingestion.items)
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def sent(told: Told) -> dict[str, dict[str, set[str]]]:
    """Table → name → properties that every item of this name has."""
    found: dict[str, dict[str, set[str]]] = {"AppEvents": {}, "AppMetrics": {}, "AppDependencies": {}, "AppTraces": {}}
    for event in told.ingestion.table("AppEvents"):
        known = found["AppEvents"].setdefault(event["name"], set(event["properties"]))
        known &= set(event["properties"])
    for name, values in told.ingestion.metrics().items():
        found["AppMetrics"][name] = set().union(*values)
    for dependency in told.ingestion.table("AppDependencies"):
        found["AppDependencies"].setdefault("", set()).update(dependency["properties"])
    return found


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.title)
def test_it_runs_and_finds_its_fields(workspace: Workspace, sent: dict[str, dict[str, set[str]]], query: Query) -> None:
    rows = workspace.run(query.text)
    assert bool(rows) != (query.title in NOTHING)
    assert unsent(query, sent) == []


@pytest.mark.parametrize(
    ("title", "right", "wrong", "said"),
    [
        ("Runs, latest first", "TimeGenerated,", "timestamp,", 'Column "timestamp" referenced'),
        ("Runs, latest first", "AppEvents", "customEvents", "Table with name customEvents does not exist"),
        ("Runs, latest first", "order by TimeGenerated", "order by Started", "Started"),
        ("Seconds of each phase", "max(todouble", "maximum(todouble", "maximum"),
        ("Activities: calls, failures, longest", "DurationMs", "Duration", "Duration"),
        ("What the activities waited for", "DependencyType,", "Type,", "Type"),
        ("Connections: used and the limit for users", "max(Max)", "max(Value)", "Value"),
        ("Warnings and errors, latest first", "| project", "| show", "could not parse KQL at 1:37"),
        ("A function of Scaleout failed", "Success == false", "Succeeded == false", "Succeeded"),
        ("The health guard has not judged for 15 minutes", "AppEvents", "AppEvent", "AppEvent"),
    ],
)
def test_a_query_that_asks_for_an_unknown_column_table_or_function_is_refused(
    workspace: Workspace, title: str, right: str, wrong: str, said: str
) -> None:
    with pytest.raises(QueryRefused, match=said):
        workspace.run(BY_TITLE[title].changed(right, wrong).text)


@pytest.mark.parametrize(
    ("title", "right", "wrong", "said"),
    [
        ("Runs, latest first", "Properties.downtime_seconds", "Properties.downtime", "has no property downtime"),
        ("Runs, latest first", 'Properties["kind"]', 'Properties["sort"]', "has no property sort"),
        ("Runs, latest first", '"run_ended"', '"run_finished"', "never gets run_finished"),
        ("Timeline: every phase of every run", '"phase_undone"', '"phase_reverted"', "never gets phase_reverted"),
        ("Connections: used and the limit for users", "connections_limit", "connection_limit", "connection_limit"),
        ("Replicas ready", "Properties.deployment", "Properties.name", "has no property name"),
        ("Activities: calls, failures, longest", "Properties.activity", "Properties.function", "no property function"),
        ("A migration failed and was undone, or halted", "Properties.failed", "Properties.failure", "property failure"),
        ("A migration or the guard needs an operator", "operator_needed", "operator_wanted", "gets operator_wanted"),
    ],
)
def test_a_query_that_asks_for_what_is_never_sent_is_caught(
    sent: dict[str, dict[str, set[str]]], title: str, right: str, wrong: str, said: str
) -> None:
    assert said in "\n".join(unsent(BY_TITLE[title].changed(right, wrong), sent))


def test_the_runs_are_shown_with_their_figures(workspace: Workspace, told: Told) -> None:
    runs = {row["Run"]: row for row in workspace.run(BY_TITLE["Runs, latest first"].text)}
    assert set(runs) == {told.refused, told.migrated, told.halted}
    good = runs[told.migrated]
    assert (good["State"], good["Kind"], good["ReplicasReady"]) == ("migrated", "migrate", 3)
    assert good["RowsMoved"] == good["RowsVerified"] >= 300
    downtimes = workspace.run(BY_TITLE["Downtime of each run, seconds"].text)
    assert {d["Run"]: d["DowntimeSeconds"] for d in downtimes} == {
        run: runs[run]["DowntimeSeconds"] for run in (told.migrated, told.halted)
    }


def test_the_cut_over_is_shown_in_its_order(workspace: Workspace, told: Told) -> None:
    [row] = workspace.run(BY_TITLE["The cut-over, moment by moment"].text)
    assert row["Run"] == told.migrated
    assert row["Stop"] < row["Switch"] < row["FirstAnswer"]


def test_a_run_that_has_not_ended_is_shown_as_under_way(told: Told) -> None:
    """What a reader sees who looks while the migration runs."""
    workspace = Workspace()
    ended = {"name": "run_ended", "run": told.migrated}
    workspace.add(item for item in told.ingestion.items if not _is_event(item, **ended))
    [row] = workspace.run(BY_TITLE["Under way: started and not ended"].text)
    assert row["Run"] == told.migrated
    workspace.close()


def test_the_alerts_fire_for_the_halted_run_alone(workspace: Workspace, told: Told) -> None:
    for title in ("A migration or the guard needs an operator", "A migration failed and was undone, or halted"):
        [row] = workspace.run(BY_TITLE[title].text)
        assert told.halted in str(row["Properties"]), title


def test_connections_are_shown_below_their_limit(workspace: Workspace) -> None:
    rows = workspace.run(BY_TITLE["Connections: used and the limit for users"].text)
    most = {row["Name"]: row["Connections"] for row in rows}
    assert 0 < most["scaleout.connections_used"] <= most["scaleout.connections_limit"] == 35


def test_the_workbook_shows_what_it_is_for() -> None:
    asked = set().union(*(query.names for query in QUERIES))
    assert set(CATALOGUE) <= asked
    assert {"scaleout.connections_used", "scaleout.connections_limit", "scaleout.replicas_ready"} <= asked


def test_there_is_an_alert_for_each_bad_event() -> None:
    queries = " ".join(query.text for query in alert_queries())
    for name in ("operator_needed", "budget_exceeded", 'run_ended" and tostring(Properties.failed) == "true'):
        assert name in queries


def _is_event(item: dict, name: str, run: str) -> bool:
    data = item["data"]["baseData"]
    return data.get("name") == name and (data.get("properties") or {}).get("run") == run
