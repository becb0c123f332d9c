"""What others have put there under our names is used or refused by name; it is never applied over, nor deleted."""

import base64
from typing import Any

import pytest

from phases import provision_storage
from shared.kubernetes.manifests import labels
from shared.model.migration import Brief, MigrationRequest, Options
from shared.model.survey import Severity, StorageFacts, Survey
from tests.way_back.fix_cluster import NAMES, RUN, TARGET, FakeClock, FakeCluster, deployment, plan_for, ports_of

STORAGE = StorageFacts("pv", "Retain", "10Gi", "disk", False, True, False)
KEY = {"webui-secret-key": base64.b64encode(b"theirs").decode()}


def planned(
    *objects: tuple[str, str, dict[str, Any]], ours: bool = False, options: Options | None = None
) -> tuple[FakeCluster, Any]:
    cluster = FakeCluster()
    cluster.objects["Deployment", "open-webui"] = deployment()
    for kind, name, content in objects:
        cluster.put(kind, name, **content)["metadata"]["labels"] = labels(RUN) if ours else {"app": "theirs"}
    facts = plan_for(cluster).facts
    survey = Survey(deployment=facts, storage=STORAGE)
    plan = provision_storage.plan(
        Brief(RUN, MigrationRequest(TARGET, options=options or Options()), survey), ports_of(cluster, FakeClock())
    )
    return cluster, plan


def undone(cluster: FakeCluster, plan: Any) -> set[tuple[str, str]]:
    """What undo has deleted."""
    before = set(cluster.objects)
    provision_storage.undo(plan, ports_of(cluster, FakeClock()))
    return before - set(cluster.objects)


REDIS = [("Deployment", NAMES.redis, {}), ("Service", NAMES.redis, {})]


def test_where_nothing_is_there_everything_is_made() -> None:
    _, plan = planned()
    assert (plan.creates_redis, plan.creates_session_secret, plan.problems) == (True, True, ())


def test_a_users_redis_under_our_name_is_used_and_left() -> None:
    cluster, plan = planned(*REDIS)
    [note] = plan.problems
    assert (plan.creates_redis, note.severity) == (False, Severity.NOTE)
    assert undone(cluster, plan) == set()


def test_a_service_alone_leads_to_a_redis_of_another_kind() -> None:
    cluster, plan = planned(REDIS[1])
    assert not plan.creates_redis
    assert undone(cluster, plan) == set()


def test_a_deployment_that_no_service_leads_to_is_refused() -> None:
    _, plan = planned(REDIS[0])
    [problem] = plan.problems
    assert (problem.code, problem.severity) == ("their_redis", Severity.BLOCKING)


def test_what_an_earlier_run_left_is_ours() -> None:
    cluster, plan = planned(*REDIS, ("Secret", NAMES.session_secret, {"data": KEY}), ours=True)
    assert (plan.creates_redis, plan.creates_session_secret, plan.problems) == (True, True, ())
    assert {("Deployment", NAMES.redis), ("Secret", NAMES.session_secret)} <= undone(cluster, plan)


@pytest.mark.parametrize(
    ("data", "severity"), [(KEY, Severity.NOTE), ({}, Severity.BLOCKING), ({"x": "eA=="}, "blocking")]
)
def test_a_session_secret_of_another_tool(data: dict[str, str], severity: Severity) -> None:
    cluster, plan = planned(("Secret", NAMES.session_secret, {"data": data}))
    [problem] = plan.problems
    assert (plan.creates_session_secret, problem.severity) == (False, severity)
    assert undone(cluster, plan) == set()


CLAIM = ("PersistentVolumeClaim", "other", {"spec": {"storageClassName": "old"}})
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


@pytest.mark.parametrize(
    ("claims", "annotations", "wanted", "words"),
    [
        ([CLAIM], {}, "new", "claim other uses it"),
        ([], DEFAULT, "new", "it is the cluster's default"),
        ([], {}, "old", "the new claim is to use it"),
    ],
)
def test_a_class_that_is_needed_is_not_removed(claims: Any, annotations: Any, wanted: str, words: str) -> None:
    options = Options(unused_storage_class="old", storage_class=wanted)
    cluster = FakeCluster()
    cluster.objects["Deployment", "open-webui"] = deployment()
    cluster.put("StorageClass", "old")["metadata"]["annotations"] = annotations
    for kind, name, content in claims:
        cluster.put(kind, name, **content)
    survey = Survey(deployment=plan_for(cluster).facts, storage=STORAGE)
    plan = provision_storage.plan(
        Brief(RUN, MigrationRequest(TARGET, options=options), survey), ports_of(cluster, FakeClock())
    )
    assert [(one.severity, words in one.message) for one in plan.problems] == [(Severity.BLOCKING, True)]


def test_a_class_that_nothing_uses_is_removed_and_made_again() -> None:
    options = Options(unused_storage_class="old")
    cluster, plan = planned(("StorageClass", "old", {}), options=options)
    assert plan.problems == ()
    ports = ports_of(cluster, FakeClock())
    cluster.delete("StorageClass", "old")
    provision_storage.undo(plan, ports)
    assert cluster.read("StorageClass", "old") is not None
