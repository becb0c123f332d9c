"""The guard's endpoint for Prometheus."""

import re
import subprocess
from datetime import UTC, datetime, timedelta

from test_monitoring import PROMTOOL, TARGET, needs_promtool

from api.metrics import render
from phases.guard.memory import Memory, summarise
from shared.alerting.alert_rules import METRICS
from shared.guard.readings import Answer, Reading

AT = datetime(2026, 5, 4, 20, 0, tzinfo=UTC)


def memory(**figures):
    return Memory(ticks=7, reading={"at": AT.isoformat(), "replicas": 3, "database_latency_ms": 12.5} | figures)


def samples(text):
    return dict(re.findall(r"^(\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE))


def test_it_exposes_every_metric_that_rules_expect_of_the_guard():
    text = render({TARGET.key: memory()})
    announced = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert announced == {name for name, source in METRICS.items() if source == "guard"}


def test_open_metrics_names_a_counters_family_without_its_suffix_and_says_where_it_ends():
    text = render({TARGET.key: memory()}, open_metrics=True)
    assert "# TYPE scaleout_guard_ticks counter\n" in text
    assert samples(text) == samples(render({TARGET.key: memory()}))
    assert text.endswith("# EOF\n")


def test_figures_are_in_seconds_and_missing_ones_are_left_out():
    found = samples(render({TARGET.key: memory(connections_used=None)}))
    assert found["scaleout_database_latency_seconds"] == "0.0125"
    assert found["scaleout_replicas_wanted"] == "3"
    assert found["scaleout_guard_ticks_total"] == "7"
    assert float(found["scaleout_guard_reading_timestamp_seconds"]) == AT.timestamp()
    assert "scaleout_connections_used" not in found


def test_the_slowest_answer_is_of_those_that_answered():
    answers = (
        Answer("a", 200, timedelta(seconds=0.2)),
        Answer("b", 503, timedelta(seconds=1.5)),
        Answer("c", None, timedelta(seconds=5)),
    )
    assert summarise(Reading(AT, answers=answers))["slowest_answer_ms"] == 1500
    assert summarise(Reading(AT, answers=()))["slowest_answer_ms"] is None


def test_a_deployment_that_was_never_looked_at_has_counters_only():
    assert samples(render({"a": Memory()})).keys() == {
        "scaleout_guard_ticks_total",
        "scaleout_guard_skipped_ticks_total",
    }


@needs_promtool
def test_prometheus_reads_it():
    text = render({'a"b\\c': memory(), TARGET.key: memory()})
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
