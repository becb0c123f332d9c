"""The load test against three replicas of the stand-in: what it measures, what it says, and that nothing stays."""

import time

import pytest

from phases import load_test
from shared.errors import PermanentError
from tests.load_test.fix_service import NAMESPACE

PATHS = {"sign in", "websocket", "new chat", "upload", "upload status", "list chats", "retrieval query", "chat", "all"}


def failed_checks(trial):
    return {check["name"] for check in trial["checks"] if not check["met"]}


def test_it_measures_judges_tries_fewer_replicas_and_leaves_nothing(open_webui):
    stood = open_webui.standing()
    plan = open_webui.plan("run-1", load_test_trials=2)
    found = open_webui.drive(load_test.apply, plan).result
    first, second = found["trials"]
    assert found["verdict"] == "passed", first["checks"]
    assert {row["path"] for row in first["rows"]} == PATHS
    assert len(first["served"]) == 3
    assert sum(first["served"].values()) > 100
    assert (second["replicas"], second["connections"]) == (2, 7)
    assert len(second["served"]) == 2
    assert found["recommendation"]["replicas"] in {2, 3}  # a busy machine may leave two no room
    assert found["cleaned"]["users"] == 30
    assert found["put_back"]
    assert (open_webui.standing(), open_webui.left_behind()) == (stood, {})
    assert open_webui.objects("run-1") == {"ConfigMap/run-1-load-test"}
    again = load_test.apply(plan, open_webui.ports)  # a redelivery after the end measures nothing anew
    assert (again.finished, again.result) == (True, found)
    open_webui.drive(load_test.undo, plan)
    assert open_webui.objects("run-1") == set()


@pytest.mark.slow  # the gate itself is tried in test_thresholds
def test_slow_replicas_fail_the_gate(open_webui):
    open_webui.delay.write_text("3.1")
    try:
        found = open_webui.drive(load_test.apply, open_webui.plan("run-2", load_test_users=10)).result
    finally:
        open_webui.delay.unlink()
    assert found["verdict"] == "failed"
    assert failed_checks(found["trials"][0]) >= {"p95", "average"}
    assert not found["recommendation"]["changes"]
    assert open_webui.left_behind() == {}


@pytest.mark.slow  # the gate itself is tried in test_thresholds
def test_a_replica_that_the_service_does_not_reach_fails_the_gate(open_webui):
    pods = open_webui.node.core.list_namespaced_pod(NAMESPACE, label_selector="app=open-webui").items
    lonely = next(p.metadata.name for p in pods if p.metadata.deletion_timestamp is None)
    open_webui.node.core.patch_namespaced_pod(lonely, NAMESPACE, {"metadata": {"labels": {"served": "no"}}})
    try:
        found = open_webui.drive(load_test.apply, open_webui.plan("run-3", load_test_trials=3)).result
    finally:
        open_webui.node.core.delete_namespaced_pod(lonely, NAMESPACE)
        open_webui.wait_until_settled()
    assert found["trials"][0]["served"][lonely] == 0
    assert failed_checks(found["trials"][0]) == {"served"}
    assert len(found["trials"]) == 1  # no setting mends that


def test_a_killed_load_is_no_measurement_and_is_cleaned_up(open_webui):
    plan = open_webui.plan("run-4")
    open_webui.drive(load_test.apply, plan, until="requests a second")
    assert open_webui.left_behind()["users"] == 30
    pods = open_webui.cluster.list("Pod", {"job-name": "run-4-load-1"})
    open_webui.cluster.delete("Pod", pods[0]["metadata"]["name"])
    with pytest.raises(PermanentError, match="could not be made: Job run-4-load-1 failed") as caught:
        open_webui.drive(load_test.apply, plan)
    assert caught.value.result["verdict"] == "not measured"
    assert open_webui.left_behind() == {}
    assert "Secret/run-4-load-test" not in open_webui.objects("run-4")


def test_an_undo_in_the_middle_ends_the_load_and_removes_everything(open_webui):
    stood = open_webui.standing()
    plan = open_webui.plan("run-5", load_test_seconds=60)
    open_webui.drive(load_test.apply, plan, until="requests a second")
    open_webui.drive(load_test.undo, plan)
    assert (open_webui.left_behind(), open_webui.objects("run-5")) == ({}, set())
    assert open_webui.standing() == stood
    time.sleep(1)
    assert open_webui.left_behind() == {}  # nobody is at work any more


def test_an_undo_before_anything_began_does_nothing(open_webui):
    plan = open_webui.plan("run-6")
    assert load_test.undo(plan, open_webui.ports).finished
    assert open_webui.objects("run-6") == set()
