"""Phase 7 where prometheus-operator is: the rule field by field, who takes it, and that undo leaves nothing."""

import json

import pytest
from fix_phases import TARGET, brief, finish, objects, planned
from kubernetes import client, config

from local.prometheus.operator import GROUP, definitions, prometheus
from phases import install_monitoring
from shared.alerting.alert_rules import rule_groups
from shared.alerting.dashboard import dashboard
from shared.alerting.prometheus_operator import Taker, find_taker, labels_for

NAMESPACE = TARGET.namespace
RELEASE = {"matchLabels": {"release": "kube-prometheus-stack"}}


@pytest.fixture
def operator(kubeconfig, cluster):
    """The definitions, and what makes a Prometheus."""
    api = config.new_client_from_config(kubeconfig)
    extensions, custom = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
    for definition in definitions():
        extensions.create_custom_resource_definition(definition)

    def add(name, **spec):
        body = prometheus(name, "default", **spec)
        custom.create_namespaced_custom_object(GROUP, "v1", "default", "prometheuses", body)

    yield add
    for definition in definitions():
        extensions.delete_custom_resource_definition(definition["metadata"]["name"])


def test_the_rule_is_complete_and_carries_what_its_prometheus_selects_by(operator, ports):
    operator("main", ruleSelector=RELEASE, ruleNamespaceSelector={})
    plan = planned(install_monitoring, brief("install_monitoring"), ports)
    assert plan.problems == ()
    assert [f"{c.action} {c.kind} {c.name}: {c.detail}" for c in plan.changes] == [
        "create ConfigMap open-webui-alert-rules: alert rules",
        "create ConfigMap open-webui-dashboard: dashboard",
        "create PrometheusRule open-webui-alert-rules: alert rules, taken by Prometheus default/main",
    ]
    finish(install_monitoring.apply, plan, ports)
    made = ports.cluster.read("PrometheusRule", "open-webui-alert-rules")
    assert made["spec"] == rule_groups(TARGET)
    assert made["metadata"]["namespace"] == NAMESPACE
    assert made["metadata"]["labels"] == {
        "release": "kube-prometheus-stack",
        "app.kubernetes.io/managed-by": "scaleout",
        "scaleout.dev/run": "run-1",
    }
    [manager] = made["metadata"]["managedFields"]
    assert (manager["manager"], manager["operation"]) == ("scaleout", "Apply")
    assert find_taker(ports.cluster.list("Prometheus", everywhere=True), NAMESPACE).name == "default/main"
    finish(install_monitoring.undo, plan, ports)
    assert ports.cluster.read("PrometheusRule", "open-webui-alert-rules") is None
    assert objects(ports.cluster) == set()


def test_both_variants_leave_the_same_rules_and_dashboard_in_their_config_maps(operator, ports):
    operator("main", ruleSelector={}, ruleNamespaceSelector={})
    plan = planned(install_monitoring, brief("install_monitoring"), ports)
    finish(install_monitoring.apply, plan, ports)
    rules = ports.cluster.read("ConfigMap", "open-webui-alert-rules")
    board = ports.cluster.read("ConfigMap", "open-webui-dashboard")
    assert {key: json.loads(text) for key, text in rules["data"].items()} == {"rules.json": rule_groups(TARGET)}
    assert {key: json.loads(text) for key, text in board["data"].items()} == {"dashboard.json": dashboard(TARGET)}
    finish(install_monitoring.undo, plan, ports)


def test_a_rerun_changes_nothing_and_the_undo_of_a_second_run_leaves_the_firsts_rule(operator, ports):
    operator("main", ruleSelector=RELEASE, ruleNamespaceSelector={})
    first = planned(install_monitoring, brief("install_monitoring"), ports)
    finish(install_monitoring.apply, first, ports)
    made = ports.cluster.read("PrometheusRule", "open-webui-alert-rules")
    finish(install_monitoring.apply, first, ports)
    assert ports.cluster.read("PrometheusRule", "open-webui-alert-rules") == made
    second = planned(install_monitoring, brief("install_monitoring", run="run-2"), ports)
    assert {change.action for change in second.changes} == {"change"}
    finish(install_monitoring.apply, second, ports)
    finish(install_monitoring.undo, second, ports)
    kept = ports.cluster.read("PrometheusRule", "open-webui-alert-rules")
    assert kept["spec"] == made["spec"]
    assert kept["metadata"]["labels"] == made["metadata"]["labels"]
    finish(install_monitoring.undo, first, ports)
    assert ports.cluster.read("PrometheusRule", "open-webui-alert-rules") is None


def test_a_rule_that_no_prometheus_would_take_is_said(operator, ports):
    operator("elsewhere", ruleSelector=RELEASE)  # it looks into its own namespace only
    plan = planned(install_monitoring, brief("install_monitoring"), ports)
    [problem] = plan.problems
    assert problem.code == "rules_not_selected"
    assert "kubectl get prometheus -A" in problem.hint
    assert ("PrometheusRule", "open-webui-alert-rules") in plan.places


def test_a_rule_of_somebody_else_is_not_overwritten(operator, ports):
    metadata = {"name": "open-webui-alert-rules"}
    theirs = {"apiVersion": f"{GROUP}/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": {"groups": []}}
    ports.cluster.apply(theirs)
    with pytest.raises(install_monitoring.ConfigurationError, match="PrometheusRule open-webui-alert-rules is there"):
        install_monitoring.plan(brief("install_monitoring"), ports)


def test_without_the_operator_the_rules_are_left_as_a_file(ports):
    plan = planned(install_monitoring, brief("install_monitoring"), ports)
    assert [kind for kind, _ in plan.places] == ["ConfigMap", "ConfigMap"]
    assert [problem.code for problem in plan.problems] == ["rules_not_loaded"]


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        (None, None),  # selects nothing
        ({}, {}),
        (RELEASE, RELEASE["matchLabels"]),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, {"team": "a"}),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, {"team": "true"}),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {}),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, None),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["2"]}]}, None),
    ],
)
def test_labels_are_what_a_selector_asks_for(selector, labels):
    assert labels_for(selector) == labels


@pytest.mark.parametrize(
    ("spec", "taken"),
    [
        ({"ruleSelector": {}}, False),  # its own namespace only
        ({"ruleSelector": {}, "ruleNamespaceSelector": {}}, True),
        ({"ruleNamespaceSelector": {}}, False),
        (
            {"ruleSelector": {}, "ruleNamespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ollama"}}},
            True,
        ),
        ({"ruleSelector": {}, "ruleNamespaceSelector": {"matchLabels": {"team": "chat"}}}, False),
    ],
)
def test_only_a_prometheus_that_looks_into_our_namespace_takes_rules(spec, taken):
    found = find_taker([prometheus("main", "monitoring", **spec)], NAMESPACE)
    assert found == (Taker("monitoring/main") if taken else None)
