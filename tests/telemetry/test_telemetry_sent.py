"""What a real worker sends to Application Insights of three runs."""

import base64
import json

import pytest

from phases.run.catalogue import PHASES
from shared.telemetry import CATALOGUE, METRICS, Event

pytestmark = pytest.mark.timeout(900)  # three runs come before the first test

OPTIONAL = {"preflight", "enable_autoscaling", "install_monitoring", "load_test", "write_handbook", "retire_source"}
ALWAYS = {phase.name for phase in PHASES} - OPTIONAL


def of_run(told, event, run):
    return [e for e in told.ingestion.events(event) if e["run"] == run]


def test_every_event_has_its_fields(told):
    for event, (_, names) in CATALOGUE.items():
        sent = told.ingestion.events(event)
        assert sent, event
        for properties in sent:
            assert set(names) - set(properties) == set(), event


def test_a_phase_is_told_once_however_often_the_orchestrator_is_replayed(told):
    order = [phase.name for phase in PHASES]
    for event in (Event.PHASE_STARTED, Event.PHASE_FINISHED):
        names = [e["phase"] for e in of_run(told, event, told.migrated)]
        assert names == sorted(set(names), key=order.index)
        assert set(names) >= ALWAYS


def test_the_rows_and_the_rate_are_told(told):
    [copied] = [e for e in of_run(told, "phase_finished", told.migrated) if e["phase"] == "copy_vectors"]
    assert int(copied["rows"]) >= 300
    assert float(copied["rows_per_second"]) > 0


def test_the_end_of_each_run_is_told(told):
    [good], [refused], [bad] = (of_run(told, "run_ended", r) for r in (told.migrated, told.refused, told.halted))
    assert (good["state"], good["failed"], good["replicas_ready"]) == ("migrated", "false", "3")
    assert float(good["downtime_seconds"]) > 0
    assert good["rows_verified"] == good["rows_moved"] != "0"
    assert (refused["state"], refused["failed"]) == ("refused", "false")
    assert (bad["state"], bad["failed"], bad["kind"]) == ("halted", "true", "roll_back")


def test_the_cut_over_is_told_mark_by_mark(told):
    told_marks = [e["mark"] for e in of_run(told, "cut_over", told.migrated)]
    assert told_marks == ["stop", "switch", "first_answer"]


def test_what_was_undone_and_what_could_not_be_is_told(told):
    undone = [e["phase"] for e in of_run(told, "phase_undone", told.halted)]
    assert undone.index("scale_out") < undone.index("cut_over") < undone.index("provision_storage")
    assert "enable_pgvector" not in undone
    [failed] = of_run(told, "phase_failed", told.halted)
    assert failed["activity"] == "undo_enable_pgvector"
    assert [e["source"] for e in told.ingestion.events("operator_needed")] == ["run"]


def test_a_budget_that_does_not_suffice_is_told_with_its_figures(told):
    [exceeded] = of_run(told, "budget_exceeded", told.refused)
    assert exceeded["source"] == "plan"
    assert exceeded["limit"] == "35"


def test_every_activity_has_a_span_that_says_how_it_ended(told):
    spans = [d for d in told.ingestion.table("AppDependencies") if d["properties"].get("outcome")]
    mine = [d for d in spans if d["properties"]["run"] == told.migrated]
    names = {d["name"] for d in mine}
    assert {"plan_preflight", *ALWAYS, *(f"plan_{name}" for name in ALWAYS)} <= names
    for span in mine:
        assert span["properties"]["phase"]
        assert span["properties"]["outcome"] == "done"
        assert span["properties"]["activity"] == span["name"]


def test_the_spans_of_a_run_hang_below_the_hosts_trace(told):
    parents = {
        i["tags"].get("ai.operation.parentId")
        for i in told.ingestion.items
        if i["data"]["baseType"] == "RemoteDependencyData" and i["data"]["baseData"]["properties"].get("outcome")
    }
    assert parents
    assert None not in parents


def test_the_events_and_the_spans_of_a_run_are_one_trace(told):
    for run in (told.refused, told.migrated, told.halted):
        mine = [i for i in told.ingestion.items if (i["data"]["baseData"].get("properties") or {}).get("run") == run]
        kinds = ("EventData", "RemoteDependencyData", "MessageData")
        traces = {i["tags"].get("ai.operation.id") for i in mine if i["data"]["baseType"] in kinds}
        assert len(traces) == 1, traces
        assert traces != {None}


def test_calls_of_postgresql_kubernetes_and_azure_are_dependencies_of_the_run(told):
    mine = [d for d in told.ingestion.table("AppDependencies") if d["properties"].get("run") == told.migrated]
    kinds = {d.get("type") for d in mine}
    targets = " ".join(str(d.get("target")) for d in mine)
    assert "postgresql" in kinds
    assert "management.azure.com" in targets
    assert "127.0.0.1" in targets


def test_every_metric_is_sent(told):
    sent = told.ingestion.metrics()
    assert set(METRICS) - set(sent) <= {"scaleout.rows", "scaleout.rows_per_second"}  # only a copy of some seconds
    assert sent["scaleout.connections_limit"][0]["value"] == 35
    assert all(0 < m["value"] <= 35 for m in sent["scaleout.connections_used"])


def test_it_is_sent_with_the_identitys_token_and_no_key_opens_anything(told):
    [sent] = told.ingestion.tokens
    claims = sent.removeprefix("Bearer ").split(".")[1]
    audience = json.loads(base64.urlsafe_b64decode(claims + "=="))["aud"]
    assert audience == "https://monitor.azure.com"


def test_no_secret_is_in_anything_that_was_sent(told):
    run = told.world.layout.run
    azure = json.loads((run / "azure" / "config.json").read_text())
    secrets = [value for vault in azure["vaults"].values() for value in vault.values()]
    secrets += [told.world.key, told.world.app_url.split(":")[2].partition("@")[0]]
    secrets += [json.loads((run / "functions" / "keys.json").read_text())["master"]]
    secrets.append(next(iter(told.ingestion.tokens)).removeprefix("Bearer "))
    sent = "\n".join(told.ingestion.raw)
    assert told.migrated in sent
    assert [secret for secret in secrets if secret in sent] == []
