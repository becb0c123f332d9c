"""SIGKILL of the host and of the engine, at the worst moments: everything is delivered again, nothing is lost."""

import sqlite3
import time
from pathlib import Path

from fix_rig import SAMPLE, WEBHOOK, Process, Rig, eventually, run_engine


def test_an_activity_cut_off_with_its_host_is_delivered_again(fragile: Rig) -> None:
    file = fragile.folder / "cut-off"
    run = fragile.start("call", {"activity": "slow", "input": {"file": str(file), "seconds": 1}})
    eventually(lambda: len(fragile.lines("cut-off")) == 1)
    fragile.host.kill()
    fragile.host.start()
    result = fragile.result(run)["result"]
    first, second, end = fragile.lines("cut-off")
    assert first.split()[1] != second.split()[1] == end.split()[1] == str(result["pid"])


def test_a_killed_engine_comes_back_with_its_history_and_the_activity_runs_once(fragile: Rig) -> None:
    file = fragile.folder / "engine-gone"
    run = fragile.start("call", {"activity": "slow", "input": {"file": str(file), "seconds": 1}})
    waiting = fragile.start("approve", {"seconds": 60})
    done = fragile.start("count", {"key": "kept", "times": 2})
    assert fragile.result(done) == {"total": 2, "refused": True}
    eventually(lambda: fragile.status(waiting)["customStatus"] == {"phase": "waiting"})
    eventually(lambda: len(fragile.lines("engine-gone")) == 1)
    before = fragile.status(done, showHistory="true")
    fragile.engine.kill()
    time.sleep(0.2)
    fragile.engine.start()
    assert eventually(lambda: (s := fragile.status(done, showHistory="true"))["code"] != 503 and s) == before
    assert "pid" in fragile.result(run)["result"]
    assert [line.split()[0] for line in fragile.lines("engine-gone")] == ["start", "end"]
    assert fragile.http.get(f"{WEBHOOK}/entities/Counter/kept").json() == 2
    fragile.operate(waiting, "raiseEvent/approval", json={"by": "x"})
    assert fragile.result(waiting) == {"approved": "x"}


def test_an_answer_given_while_the_engine_is_down_arrives_when_it_is_back(fragile: Rig) -> None:
    file = fragile.folder / "answered-late"
    run = fragile.start("call", {"activity": "slow", "input": {"file": str(file), "seconds": 0.5}})
    eventually(lambda: len(fragile.lines("answered-late")) == 1)
    fragile.engine.kill()
    eventually(lambda: len(fragile.lines("answered-late")) == 2)
    fragile.engine.start()
    assert "pid" in fragile.result(run)["result"]
    assert len(fragile.lines("answered-late")) == 2


def test_both_are_killed_while_a_timer_runs_and_a_child_works(fragile: Rig) -> None:
    given = {
        "child": "call",
        "input": {"activity": "slow", "input": {"file": str(fragile.folder / "both"), "seconds": 1}},
    }
    run = fragile.start("parent", given)
    timer = fragile.start("approve", {"seconds": 1.5})
    eventually(lambda: len(fragile.lines("both")) == 1)
    fragile.engine.kill()
    fragile.host.kill()
    fragile.engine.start()
    fragile.host.start()
    assert "pid" in fragile.result(run)["child"]["result"]
    assert fragile.result(timer) == {"approved": False}


def test_a_kill_in_every_phase_of_a_run_never_loses_it(fragile: Rig) -> None:
    """The engine dies again and again under a chain of entity calls; the count is still exact."""
    run = fragile.start("count", {"key": "stormy", "times": 40})
    for _ in range(4):
        time.sleep(0.05)
        fragile.engine.kill()
        fragile.engine.start()
    assert fragile.result(run, 30) == {"total": 40, "refused": True}
    assert fragile.http.get(f"{WEBHOOK}/entities/Counter/stormy").json() == 40


def test_a_second_engine_on_the_same_file_is_refused(fragile: Rig) -> None:
    ended = run_engine("--db", str(fragile.folder / "engine.db"))
    assert ended.returncode == 2
    assert "cannot be opened" in ended.stderr
    assert ended.stdout == ""


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("CREATE TABLE activity(token INTEGER)")
    ended = run_engine("--db", str(tmp_path / "old.db"))
    assert ended.returncode == 2
    assert "its tables are of version 0" in ended.stderr


def test_a_taken_port_is_named(fragile: Rig, tmp_path: Path) -> None:
    port = fragile.engine.ready["address"].rsplit(":", 1)[1]
    ended = run_engine("--db", str(tmp_path / "other.db"), "--port", port)
    assert ended.returncode == 2
    assert f"port {port} on 127.0.0.1 cannot be used" in ended.stderr


def test_the_host_ends_quickly_and_cleanly_on_sigterm_even_in_the_middle_of_an_activity(fragile: Rig) -> None:
    run = fragile.start("call", {"activity": "slow", "input": {"file": str(fragile.folder / "term"), "seconds": 8}})
    eventually(lambda: len(fragile.lines("term")) == 1)
    started = time.monotonic()
    assert fragile.host.stop() == 0
    assert time.monotonic() - started < 3.5
    fragile.host.start()
    eventually(lambda: len(fragile.lines("term")) == 2)
    fragile.operate(run, "terminate")


def test_the_engine_ends_cleanly_on_sigterm(fragile: Rig) -> None:
    assert fragile.engine.stop() == 0
    fragile.engine.start()


def test_a_host_may_start_before_its_engine(fragile: Rig) -> None:
    fragile.engine.stop()
    early = Process(
        fragile.folder / "early.log",
        *("host", "--app", str(SAMPLE), "--engine", fragile.engine.ready["address"], "--port", "0"),
        *("--keys", str(fragile.folder / "early-keys.json")),
        environment={"TICKS": str(fragile.folder / "early-ticks"), "TICK_SCHEDULE": "0 0 0 1 1 *"},
    )
    fragile.engine.start()
    assert fragile.run("approve", {"seconds": 0.05}) == {"approved": False}
    assert early.stop() == 0
