"""Phases 6 and 7 against an API server and its autoscaler: what they make, what a rerun and an undo leave."""

import json
from dataclasses import replace

import pytest
from fix_phases import LIMITS, brief, finish, objects, planned

from phases import enable_autoscaling, install_monitoring
from shared.errors import ConfigurationError
from shared.kubernetes import autoscaling


@pytest.mark.parametrize("phase", [enable_autoscaling, install_monitoring])
def test_a_phase_that_nobody_asked_for_touches_nothing(phase, ports):
    before = objects(ports.cluster)
    plan = planned(phase, brief(), ports)
    assert plan == phase.Plan()
    assert phase.apply(plan, ports).result == {"skipped": True}
    assert phase.undo(plan, ports).finished
    assert objects(ports.cluster) == before


def test_an_autoscaler_is_made_says_that_it_is_blind_and_is_removed(ports):
    plan = planned(enable_autoscaling, brief("enable_autoscaling"), ports)
    with pytest.raises(ConfigurationError, match="cannot tell how busy the pods are: "):
        finish(enable_autoscaling.apply, plan, ports)
    live = ports.cluster.read("HorizontalPodAutoscaler", "open-webui")
    # no pod runs, so there is nothing to see; 185 for users, a tenth free, the guard's one: 166 // 10 - 2
    assert (live["spec"]["minReplicas"], live["spec"]["maxReplicas"]) == (3, 14)
    assert "a replica may open 10" in live["metadata"]["annotations"][autoscaling.BECAUSE]
    assert finish(enable_autoscaling.undo, plan, ports).finished
    assert ports.cluster.read("HorizontalPodAutoscaler", "open-webui") is None
    assert ports.cluster.read("Deployment", "open-webui")["spec"]["replicas"] == 3


def test_what_the_guard_moved_stays_when_the_phase_is_called_again(ports):
    plan = planned(enable_autoscaling, brief("enable_autoscaling"), ports)
    enable_autoscaling.apply(plan, ports)
    ports.cluster.patch("HorizontalPodAutoscaler", "open-webui", {"spec": {"maxReplicas": 5}})
    enable_autoscaling.apply(plan, ports)
    assert ports.cluster.read("HorizontalPodAutoscaler", "open-webui")["spec"]["maxReplicas"] == 5


def test_a_later_run_raises_the_maximum_and_its_undo_puts_the_earlier_one_back(ports):
    first = planned(enable_autoscaling, brief("enable_autoscaling"), ports)
    enable_autoscaling.apply(first, ports)
    larger = brief("enable_autoscaling", run="run-2", limits=replace(LIMITS, max_connections=859))
    second = planned(enable_autoscaling, larger, ports)
    enable_autoscaling.apply(second, ports)
    assert ports.cluster.read("HorizontalPodAutoscaler", "open-webui")["spec"]["maxReplicas"] == 20
    finish(enable_autoscaling.undo, second, ports)
    live = ports.cluster.read("HorizontalPodAutoscaler", "open-webui")
    assert (live["spec"]["maxReplicas"], live["metadata"]["labels"]["scaleout.dev/run"]) == (14, "run-1")


def test_somebody_elses_autoscaler_blocks_and_is_left_alone(ports):
    manifest = autoscaling.autoscaler("mine", "x", "open-webui", autoscaling.Bounds(1, 4, ""), "")
    manifest["metadata"] = {"name": "mine"}
    ports.cluster.apply(manifest)
    plan = planned(enable_autoscaling, brief("enable_autoscaling"), ports)
    assert [p.code for p in plan.problems if p.severity == "blocking"] == ["autoscaler_present"]
    enable_autoscaling.undo(plan, ports)
    assert ports.cluster.read("HorizontalPodAutoscaler", "mine") is not None


def test_in_a_migration_the_maximum_is_the_plans(ports):
    given = brief(autoscaling=True)
    plan = planned(enable_autoscaling, given, ports)
    assert plan.bounds.maximum == min(20, given.survey.budget.largest_replica_count)
    assert plan.replicas_before is None


def test_rules_and_dashboard_are_kept_in_the_cluster_and_removed(ports):
    plan = planned(install_monitoring, brief(monitoring=True), ports)
    done = finish(install_monitoring.apply, plan, ports)
    assert done.result["objects"] == ["ConfigMap open-webui-alert-rules", "ConfigMap open-webui-dashboard"]
    rules = ports.cluster.read("ConfigMap", "open-webui-alert-rules")
    board = ports.cluster.read("ConfigMap", "open-webui-dashboard")
    assert len(json.loads(rules["data"]["rules.json"])["groups"][0]["rules"]) == done.result["rules"]
    assert json.loads(board["data"]["dashboard.json"])["panels"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert "grafana_dashboard" not in rules["metadata"]["labels"]  # the sidecar would take the rules for a dashboard
    assert [p.code for p in plan.problems] == ["rules_not_loaded"]
    finish(install_monitoring.undo, plan, ports)
    assert objects(ports.cluster) == set()


def test_undoing_a_second_run_leaves_the_firsts_monitoring(ports):
    first = planned(install_monitoring, brief("install_monitoring"), ports)
    finish(install_monitoring.apply, first, ports)
    second = planned(install_monitoring, brief("install_monitoring", run="run-2"), ports)
    finish(install_monitoring.apply, second, ports)
    finish(install_monitoring.undo, second, ports)
    kept = ports.cluster.read("ConfigMap", "open-webui-dashboard")
    assert kept["metadata"]["labels"]["scaleout.dev/run"] == "run-1"


def test_a_config_map_of_somebody_else_is_not_overwritten(ports):
    metadata = {"name": "open-webui-dashboard"}
    ports.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}})
    with pytest.raises(ConfigurationError, match="not made by this app"):
        install_monitoring.plan(brief("install_monitoring"), ports)
