"""Orchestrations, activities and entities through the real worker on the engine, and the API that manages them."""

import time

import httpx
from fix_rig import WEBHOOK, Rig, eventually


def test_a_start_answers_with_urls_that_open_with_the_system_key(rig: Rig) -> None:
    started = rig.http.post("/api/runs/approve", json={"seconds": 30})
    urls = started.json()
    assert started.headers["location"] == urls["statusQueryGetUri"]
    assert f"code={rig.keys['system']}" in urls["statusQueryGetUri"]
    nobody = httpx.Client()
    assert nobody.get(urls["statusQueryGetUri"]).status_code == 202
    assert nobody.get(urls["statusQueryGetUri"].split("?")[0]).status_code == 401
    assert nobody.get(urls["statusQueryGetUri"].replace(rig.keys["system"], rig.keys["host"])).status_code == 401
    event = urls["sendEventPostUri"].replace("{eventName}", "approval")
    assert nobody.post(event, json={"by": "a person"}).status_code == 202
    assert rig.result(urls["id"]) == {"approved": "a person"}
    assert nobody.post(event, json={}).status_code == 410
    assert nobody.get(urls["statusQueryGetUri"]).status_code == 200
    nobody.close()


def test_a_timer_wins_when_no_event_comes(rig: Rig) -> None:
    assert rig.run("approve", {"seconds": 0.1}) == {"approved": False}


def test_a_suspended_run_keeps_events_until_it_is_resumed(rig: Rig) -> None:
    run = rig.start("approve", {"seconds": 30})
    eventually(lambda: rig.status(run)["customStatus"] == {"phase": "waiting"})
    assert rig.operate(run, "suspend", params={"reason": "lunch"}).status_code == 202
    eventually(lambda: rig.status(run)["runtimeStatus"] == "Suspended")
    assert rig.operate(run, "raiseEvent/approval", json={"by": "x"}).status_code == 202
    time.sleep(0.3)
    assert (rig.status(run)["runtimeStatus"], rig.status(run)["code"]) == ("Suspended", 202)
    assert rig.operate(run, "resume").status_code == 202
    assert rig.result(run) == {"approved": "x"}


def test_terminate_ends_a_run_and_its_children(rig: Rig) -> None:
    run = rig.start("parent", {"child": "approve", "input": {"seconds": 60}, "child_id": "terminated-child"})
    eventually(lambda: rig.status("terminated-child").get("customStatus") == {"phase": "waiting"})
    assert rig.operate(run, "terminate", params={"reason": "enough"}).status_code == 202
    ended = eventually(lambda: (s := rig.status(run))["code"] == 200 and s)
    assert (ended["runtimeStatus"], ended["output"]) == ("Terminated", "enough")
    eventually(lambda: rig.status("terminated-child")["runtimeStatus"] == "Terminated")
    for verb in ("terminate", "suspend", "resume", "raiseEvent/x"):
        assert rig.operate(run, verb, json={}).status_code == 410


def test_an_id_at_work_is_taken_and_an_ended_one_is_free(rig: Rig) -> None:
    run = rig.start("approve", {"seconds": 30}, "only-one")
    again = rig.http.post("/api/runs/approve", params={"id": "only-one"}, json={"seconds": 30})
    assert again.status_code == 500
    over_http = rig.http.post(f"{WEBHOOK}/orchestrators/approve/only-one", json={"seconds": 30})
    assert over_http.status_code == 409
    rig.operate(run, "raiseEvent/approval", json={"by": "x"})
    rig.result(run)
    assert rig.start("approve", {"seconds": 0.05}, "only-one") == "only-one"
    assert rig.result("only-one") == {"approved": False}


def test_a_run_is_started_over_http_restarted_and_purged(rig: Rig) -> None:
    started = rig.http.post(f"{WEBHOOK}/orchestrators/approve", json={"seconds": 0.05})
    assert started.status_code == 202
    run = started.json()["id"]
    rig.result(run)
    restarted = rig.operate(run, "restart")
    assert restarted.status_code == 202
    assert restarted.json()["id"] != run
    assert rig.result(restarted.json()["id"]) == {"approved": False}
    same = rig.operate(run, "restart", params={"restartWithNewInstanceId": "false"})
    assert same.json()["id"] == run
    rig.result(run)
    assert rig.operate(run, "", "DELETE").json() == {"instancesDeleted": 1}
    assert rig.status(run)["code"] == 404
    assert rig.operate(run, "", "DELETE").status_code == 404
    assert rig.operate(run, "restart").status_code == 404
    assert rig.http.post(f"{WEBHOOK}/orchestrators/nothing", json={}).status_code == 400
    assert rig.operate("never-was", "terminate").status_code == 404


def test_bad_requests_say_what_is_wrong(rig: Rig) -> None:
    run = rig.start("approve", {"seconds": 30})
    assert (
        rig.operate(run, "raiseEvent/approval", content="{", headers={"content-type": "application/json"}).status_code
        == 400
    )
    assert rig.operate(run, "raiseEvent/approval", content="by=x").status_code == 400
    assert "odd" in rig.http.get(f"{WEBHOOK}/instances", params={"runtimeStatus": "odd"}).json()["Message"]
    assert rig.http.delete(f"{WEBHOOK}/instances").status_code == 400
    rig.operate(run, "terminate")


def test_runs_are_listed_by_filter_and_page(rig: Rig) -> None:
    for number in range(3):
        rig.start("approve", {"seconds": 0.01}, f"listed-{number}")
    for number in range(3):
        rig.result(f"listed-{number}")
    query = {"instanceIdPrefix": "listed-", "runtimeStatus": "Completed", "top": "2"}
    first = rig.http.get(f"{WEBHOOK}/instances", params=query)
    following = {"x-ms-continuation-token": first.headers["x-ms-continuation-token"]}
    second = rig.http.get(f"{WEBHOOK}/instances", params=query, headers=following)
    assert [run["instanceId"] for run in [*first.json(), *second.json()]] == ["listed-0", "listed-1", "listed-2"]
    assert "x-ms-continuation-token" not in second.headers
    assert rig.http.get(f"{WEBHOOK}/instances", params=query | {"createdTimeFrom": "2999-01-01"}).json() == []


def test_the_history_shows_what_was_called_and_what_came_of_it(rig: Rig) -> None:
    run = rig.start("call", {"activity": "large", "input": {"bytes": 3}})
    rig.result(run)
    events = rig.status(run, showHistory="true", showHistoryOutput="true")["historyEvents"]
    assert [event["EventType"] for event in events] == ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]
    assert (events[1]["FunctionName"], events[1]["Result"]) == ("large", {"text": "xxx"})
    assert events[0]["Timestamp"] <= events[1]["ScheduledTime"] <= events[1]["Timestamp"]
    assert "historyEvents" not in rig.status(run)
    assert rig.status(run, showInput="false")["input"] is None


def test_a_failure_has_the_type_and_message_of_what_was_raised(rig: Rig) -> None:
    failed = rig.run("call", {"activity": "raise_error", "input": {"message": "disk: full at 9:30"}})
    assert failed == {"error_type": "ValueError", "message": "disk: full at 9:30"}


def test_an_empty_message_is_a_failure_too(rig: Rig) -> None:
    failed = rig.run("call", {"activity": "raise_error", "input": {"message": ""}})
    assert failed == {"error_type": "ValueError", "message": ""}


def test_an_unknown_activity_is_a_failure_without_a_word(rig: Rig) -> None:
    failed = rig.run("call", {"activity": "nothing", "input": {}})
    assert failed == {"error_type": "", "message": ""}
    assert "The function 'nothing' doesn't exist" in (rig.folder / "host.log").read_text()


def test_a_retry_policy_retries_until_it_works(rig: Rig) -> None:
    given = {"file": str(rig.folder / "flaky"), "works_at": 3}
    assert rig.run("call", {"activity": "flaky", "input": given, "attempts": 5}) == {"result": {"attempts": 3}}


def test_a_retry_policy_gives_up_with_the_last_failure(rig: Rig) -> None:
    given = {"file": str(rig.folder / "hopeless"), "works_at": 9}
    failed = rig.run("call", {"activity": "flaky", "input": given, "attempts": 2})
    assert failed == {"error_type": "TransientError", "message": "busy: attempt 2"}


def test_activities_run_at_once(rig: Rig) -> None:
    started = time.monotonic()
    assert rig.run("fan_out", {"file": str(rig.folder / "fan"), "seconds": 1, "width": 10}) == 10
    assert time.monotonic() - started < 4, "ten activities of one second ran one after another"


def test_a_result_of_five_megabytes_passes(rig: Rig) -> None:
    assert rig.run("measure", {"bytes": 5_000_000}) == 5_000_000


def test_a_failed_run_is_rewound_and_completes(rig: Rig) -> None:
    run = rig.start("fail_once", {"file": str(rig.folder / "rewound"), "works_at": 2})
    failed = eventually(lambda: (s := rig.status(run))["code"] == 200 and s)
    assert failed["runtimeStatus"] == "Failed"
    assert "busy: attempt 1" in failed["output"]
    assert rig.status(run, returnInternalServerErrorOnFailure="true")["code"] == 500
    assert rig.operate(run, "rewind", params={"reason": "try again"}).status_code == 202
    assert rig.result(run) == {"attempts": 2}
    assert rig.operate(run, "rewind").status_code == 410


def test_a_child_answers_its_parent(rig: Rig) -> None:
    done = rig.run("parent", {"child": "approve", "input": {"seconds": 0.05}})
    assert done == {"child": {"approved": False}}


def test_a_terminated_child_is_a_failure_of_its_parent(rig: Rig) -> None:
    run = rig.start("parent", {"child": "approve", "input": {"seconds": 60}, "child_id": "lost-child"})
    eventually(lambda: rig.status("lost-child").get("customStatus") == {"phase": "waiting"})
    rig.operate("lost-child", "terminate", params={"reason": "lost"})
    assert "terminated" in rig.result(run)["message"]


def test_a_child_with_an_id_at_work_is_a_failure(rig: Rig) -> None:
    other = rig.start("approve", {"seconds": 60}, "busy-child")
    done = rig.run("parent", {"child": "approve", "input": {"seconds": 1}, "child_id": "busy-child"})
    assert "already exists" in done["message"]
    rig.operate(other, "terminate")


def test_the_next_life_of_an_orchestration_gets_no_timer_of_the_last(rig: Rig) -> None:
    assert rig.run("countdown", {"left": 1})["waited"] >= 0.39


def test_an_entity_keeps_its_state_and_reports_failures(rig: Rig) -> None:
    assert rig.run("count", {"key": "a", "times": 3}) == {"total": 3, "refused": True}
    assert rig.http.get(f"{WEBHOOK}/entities/Counter/a").json() == 3
    assert rig.http.post(f"{WEBHOOK}/entities/Counter/a", params={"op": "add"}, json=4).status_code == 202
    eventually(lambda: rig.http.get(f"{WEBHOOK}/entities/counter/a").json() == 7)
    assert rig.http.get(f"{WEBHOOK}/entities/Counter/none").status_code == 404
    listed = rig.http.get(f"{WEBHOOK}/entities/Counter", params={"fetchState": "true"}).json()
    assert {"name": "counter", "key": "a"} in [entity["entityId"] for entity in listed]


def test_a_critical_section_keeps_others_out(rig: Rig) -> None:
    runs = [rig.start("count_alone", {"key": "locked"}) for _ in range(4)]
    assert [rig.result(run) for run in runs] == [{"alone": True}] * 4
    assert rig.http.get(f"{WEBHOOK}/entities/Counter/locked").json() == 4


def test_activities_carry_the_trace_of_their_run(rig: Rig) -> None:
    traces = [
        rig.run("call", {"activity": "traced", "input": {}})["result"]["traceparent"].split("-") for _ in range(2)
    ]
    assert [len(part) for part in traces[0]] == [2, 32, 16, 2]
    assert traces[0][1] != traces[1][1]


def test_an_orchestrator_runs_in_the_trace_that_its_activities_carry(rig: Rig) -> None:
    first, in_activity, after_a_replay = rig.run("trace_of_all", {})
    assert first == in_activity == after_a_replay
    assert first != "0" * 32


def test_the_app_reads_a_run_with_a_synchronous_client(rig: Rig) -> None:
    run = rig.start("approve", {"seconds": 0.01})
    rig.result(run)
    assert rig.http.get(f"/api/runs/{run}").json() == "COMPLETED"
    assert rig.http.get("/api/runs/nothing").status_code == 404
