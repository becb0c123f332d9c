"""The files of infra/monitoring: fresh, and what their readers take."""

import json
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from test_monitoring import PROMTOOL, needs_promtool

from local.prometheus.monitoring_files import DEFAULT_TARGET, files
from shared.alerting.alert_rules import METRICS, alerts

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "monitoring"
FILES = files(DEFAULT_TARGET)
CORE = ["prometheus-operator/scrape.yaml", "prometheus-operator/role.yaml", "azure/scrape.yaml", "azure/keep-list.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_code_makes(name):
    assert (FOLDER / name).read_text() == FILES[name], "stale: run `python -m local monitoring`"


@pytest.mark.parametrize("name", CORE)
def test_kubernetes_takes_the_manifests(name):
    for manifest in yaml.safe_load_all(FILES[name]):
        kubernetes_validate.validate(manifest, "1.36", strict=True)


@needs_promtool
@pytest.mark.parametrize("name", ["scrape.yaml", "azure/scrape.yaml", "prometheus-operator/scrape.yaml"])
def test_prometheus_takes_the_scrape_configuration(tmp_path, name):
    found = yaml.safe_load(FILES[name])
    if name.startswith("azure"):
        found = yaml.safe_load(found["data"]["prometheus-config"])
    if name.startswith("prometheus"):
        found = {"scrape_configs": yaml.safe_load(found["stringData"]["scrape.yaml"])}
    text = yaml.safe_dump(found).replace("$SCALEOUT_HOST", "app.example.net").replace("$SCALEOUT_KEY", "a-key")
    (tmp_path / "prometheus.yaml").write_text(text)
    command = [PROMTOOL, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_azure_keeps_every_metric_that_its_own_targets_expose():
    kept = yaml.safe_load(FILES["azure/keep-list.yaml"])["data"]["default-targets-metrics-keep-list"]
    assert [name for name, source in METRICS.items() if source != "guard" and name not in kept] == []


def test_azure_has_the_same_rules():
    [group] = json.loads(FILES["azure/rules.json"])["resources"]
    rules = {rule["alert"]: rule for rule in group["properties"]["rules"]}
    for alert in alerts(DEFAULT_TARGET):
        found = rules[alert.name]
        assert (found["expression"], found["for"]) == (alert.expression, f"PT{alert.minutes}M")
        assert not found["expression"].startswith("[")  # ARM would evaluate it


def test_azures_rules_look_at_one_cluster_and_resolve_by_themselves():
    [group] = json.loads(FILES["azure/rules.json"])["resources"]
    parameters = json.loads(FILES["azure/rules.json"])["parameters"]
    assert group["properties"]["scopes"] == ["[parameters('workspace')]", "[parameters('cluster')]"]
    assert group["properties"]["clusterName"] == "[last(split(parameters('cluster'), '/'))]"
    assert all(rule["resolveConfiguration"]["autoResolved"] for rule in group["properties"]["rules"])
    assert set(parameters) == {"workspace", "cluster", "actionGroup"}


def test_no_file_but_the_scrape_configuration_asks_for_a_key():
    assert {name for name, text in FILES.items() if "SCALEOUT_KEY" in text} == {
        "scrape.yaml",
        "azure/scrape.yaml",
        "prometheus-operator/scrape.yaml",
    }
