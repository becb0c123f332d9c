"""Alert rules on promtool, each firing and resolving; the dashboard's queries against the metrics that exist."""

import json
import re
import subprocess

import pytest

from local.prometheus.board import queries
from local.prometheus.server import find_program
from shared.alerting.alert_rules import METRICS, alerts, rule_groups
from shared.alerting.dashboard import dashboard
from shared.model.migration import Target

TARGET = Target("s", "rg", "aks", "https://v", "psql")
PROMTOOL = find_program("promtool")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="no promtool: scripts/prometheus.sh, or set PROMTOOL")
METRIC = re.compile(r"\b(?:kube|kubelet|container|scaleout)_[a-z_]+\b")
HERE = 'namespace="ollama"'
POD = f'{HERE},pod="open-webui-6745bc55c-bttfx"'
REDIS = POD.replace("open-webui", "open-webui-redis")
GUARD = f'target="{TARGET.key}"'
DEPLOYMENT = f'{HERE},deployment="open-webui"'
AVAILABLE = f"kube_deployment_status_replicas_available{{{DEPLOYMENT}}}"
WANTED = f"kube_deployment_spec_replicas{{{DEPLOYMENT}}}"
USED, LIMIT = f"scaleout_connections_used{{{GUARD}}}", f"scaleout_connections_for_users{{{GUARD}}}"
SHARE = f'{HERE},persistentvolumeclaim="open-webui-files-pvc"'

FIRES = {
    "OpenWebUIPodFailing": {
        f'kube_pod_container_status_waiting_reason{{{POD},reason="CrashLoopBackOff"}}': "_x9 1x20 stale _x29"
    },
    "OpenWebUIRestarts": {f"kube_pod_container_status_restarts_total{{{POD}}}": "0x19 1 2 3 4 5x35"},
    "OpenWebUITooFewReplicas": {AVAILABLE: "3x9 2x20 3x30", WANTED: "3x60"},
    "OpenWebUIDown": {AVAILABLE: "3x9 0x20 3x30"},
    "OpenWebUISlowReady": {f"scaleout_ready_slowest_seconds{{{GUARD}}}": "0.1x9 2.5x20 0.1x30"},
    "ScaleoutGuardSilent": {f"scaleout_guard_reading_timestamp_seconds{{{GUARD}}}": "0+60x9 540x20 1800+60x30"},
    "DatabaseConnectionsHigh": {USED: "20x9 29x20 20x30", LIMIT: "35x60"},
    "DatabaseConnectionsNearlyGone": {USED: "20x9 34x20 20x30", LIMIT: "35x60"},
    "ShareNearlyFull": {
        f"kubelet_volume_stats_used_bytes{{{SHARE}}}": "50x9 90x20 50x30",
        f"kubelet_volume_stats_capacity_bytes{{{SHARE}}}": "100x60",
    },
}
"""Alert → series, one value a minute: healthy, sick from minute 10 to 30, healthy again."""

QUIET = {
    "OpenWebUIPodFailing": {
        f'kube_pod_container_status_waiting_reason{{{POD},reason="ContainerCreating"}}': "1x60",
        f'kube_pod_container_status_waiting_reason{{{REDIS},reason="CrashLoopBackOff"}}': "1x60",
    },
    "OpenWebUIRestarts": {f"kube_pod_container_status_restarts_total{{{POD}}}": "0x9 1x50"},
    "OpenWebUITooFewReplicas": {AVAILABLE: "3x9 2x5 3x46", WANTED: "3x60"},
    "DatabaseConnectionsHigh": {USED: "28x60", LIMIT: "35x60"},
    "DatabaseConnectionsNearlyGone": {USED: "33x60", LIMIT: "35x60"},
    "OpenWebUIDown": {f"{AVAILABLE[:-1].replace('ollama', 'other')}}}": "0x60"},
}
"""Near misses: what must wake nobody."""


def promtool(tmp_path, *command):
    done = subprocess.run([PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(name):
    return f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'


def unit_test(name, series, minutes):
    """promtool's file: at these minutes the alert fires, or does not."""
    shown = [
        {
            "expr": firing(name),
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
        }
        for minute, fires in minutes.items()
    ]
    inputs = [{"series": one, "values": values} for one, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": shown}
    return {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.json").write_text(json.dumps(rule_groups(TARGET)))
    return tmp_path


def test_every_alert_has_a_trial_in_which_it_fires_and_resolves():
    assert FIRES.keys() == {alert.name for alert in alerts(TARGET)}, "a rule without a trial, or a trial without a rule"


@needs_promtool
def test_the_rules_are_rules(folder):
    promtool(folder, "check", "rules", "rules.json")


@needs_promtool
@pytest.mark.parametrize("name", FIRES)
def test_an_alert_fires_and_resolves(folder, name):
    expected = {9: False, 29: True, 55: False}
    (folder / "test.json").write_text(json.dumps(unit_test(name, FIRES[name], expected)))
    promtool(folder, "test", "rules", "test.json")


@needs_promtool
@pytest.mark.parametrize("name", QUIET)
def test_a_near_miss_wakes_nobody(folder, name):
    (folder / "test.json").write_text(json.dumps(unit_test(name, QUIET[name], dict.fromkeys((9, 15, 29, 55), False))))
    promtool(folder, "test", "rules", "test.json")


def test_rules_and_panels_ask_only_for_metrics_that_exist():
    asked = [alert.expression for alert in alerts(TARGET)]
    asked += [query for _, query in queries(dashboard(TARGET))]
    for expression in asked:
        names = set(METRIC.findall(expression))
        assert names or expression == "vector(0.7)", expression
        assert names <= METRICS.keys(), expression


def test_every_metric_is_asked_for_or_says_how_the_guard_is():
    asked = json.dumps([rule_groups(TARGET), dashboard(TARGET)])
    unused = {name for name in METRICS if name not in asked}
    ours = {"scaleout_guard_ticks_total", "scaleout_guard_skipped_ticks_total", "scaleout_replicas_ready"}
    assert unused <= ours


@needs_promtool
def test_every_panels_query_is_promql(tmp_path):
    asked = [query for _, query in queries(dashboard(TARGET))]
    rules = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(asked)]
    (tmp_path / "panels.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool(tmp_path, "check", "rules", "panels.json")


def test_no_panel_lies_on_another_and_none_leaves_the_grid():
    taken = set()
    for panel in dashboard(TARGET)["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_a_dashboards_names_are_the_variables_values():
    board = dashboard(TARGET)
    assert "$" not in json.dumps(queries(board))
    assert "$namespace" in json.dumps(board["panels"])


def test_every_panel_has_its_own_number():
    numbers = [panel["id"] for panel in dashboard(TARGET)["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_rules_and_dashboard_are_this_installations():
    other = Target("s", "rg", "aks", "https://v", "psql", namespace="chat", deployment="ui", files_claim="ui-files")
    text = json.dumps([rule_groups(other), dashboard(other)])
    assert "ollama" not in text
    assert "open-webui-" not in text
    assert 'persistentvolumeclaim=\\"ui-files\\"' in text
