"""Every query of the workbook and of the alerts finds what it asks for in what a real worker sent."""

import re

import pytest
from queries import ROOT, Query, all_queries, problems

from shared.telemetry import CATALOGUE

pytestmark = pytest.mark.timeout(400)  # three runs come before the first test

QUERIES = all_queries()


@pytest.fixture(scope="module")
def sent(told):
    """Table → name → properties that every item of this name has."""
    found = {"AppEvents": {}, "AppMetrics": {}, "AppDependencies": {}, "AppTraces": {}}
    for event in told.ingestion.table("AppEvents"):
        known = found["AppEvents"].setdefault(event["name"], set(event["properties"]))
        known &= set(event["properties"])
    for name, values in told.ingestion.metrics().items():
        found["AppMetrics"][name] = set().union(*values)
    for dependency in told.ingestion.table("AppDependencies"):
        found["AppDependencies"].setdefault("", set()).update(dependency["properties"])
    return found


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.title)
def test_it_finds_its_fields(sent, query):
    assert problems(query, sent) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("Properties.downtime_seconds", "Properties.downtime", "has no property downtime"),
        ('"run_ended"', '"run_finished"', "never gets run_finished"),
        ("TimeGenerated", "timestamp", "has no column timestamp"),
        ("AppEvents", "customEvents", "is no table"),
    ],
)
def test_an_unknown_field_is_caught(sent, right, wrong, said):
    runs = next(query for query in QUERIES if query.title == "Runs, latest first")
    assert right in runs.text
    assert said in "\n".join(problems(Query(runs.title, runs.text.replace(right, wrong)), sent))


def test_the_workbook_shows_what_it_is_for():
    asked = set().union(*(query.names for query in QUERIES))
    assert set(CATALOGUE) <= asked
    assert {"scaleout.connections_used", "scaleout.connections_limit", "scaleout.replicas_ready"} <= asked


def test_there_is_an_alert_for_each_bad_event():
    rules = (ROOT / "infra/modules/monitoring.bicep").read_text()
    queries = " ".join(re.findall(r"query: '([^']+)'", rules))
    for name in ("operator_needed", "budget_exceeded", 'run_ended" and tostring(Properties.failed) == "true'):
        assert name in queries
