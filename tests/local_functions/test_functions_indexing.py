"""The real worker runtime indexes the app, and says no to what Azure would say no to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fix_rig import ROOT, SAMPLE, Rig, free_port


def test_the_runtime_finds_every_function_with_its_trigger(rig: Rig) -> None:
    listed = {f["name"]: f["config"]["bindings"] for f in rig.http.get("/admin/functions").json()}
    triggers = {
        name: next(b["type"] for b in bindings if b["type"].endswith("rigger")) for name, bindings in listed.items()
    }
    assert (
        triggers | {"start_run": "httpTrigger", "slow": "activityTrigger", "call": "orchestrationTrigger"} == triggers
    )
    assert triggers | {"Counter": "entityTrigger", "tick": "timerTrigger"} == triggers
    routes = {name: b["route"] for name, bindings in listed.items() for b in bindings if b["type"] == "httpTrigger"}
    assert routes["start_run"] == "runs/{orchestrator}"
    assert routes["any_file"] == "files/{*path}"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import azure.functions as func\napp = func.FunctionApp()\nraise RuntimeError('no start')", "no start"),
        (
            "import azure.durable_functions as df\napp = df.DFApp()\n@app.activity_trigger(input_name='spec')\n"
            "def act(spec: dict | None) -> int:\n    return 1",
            "spec",
        ),
        ("x = 1", "Could not find top level function app"),
    ],
)
def test_an_app_the_runtime_rejects_is_not_served(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(source)
    ended = run_host("--app", str(tmp_path), "--keys", str(tmp_path / "keys.json"))
    assert ended.returncode == 2
    assert "ready" not in ended.stdout
    assert words in ended.stderr


def test_a_folder_without_host_json_is_named(tmp_path: Path) -> None:
    ended = run_host("--app", str(tmp_path), "--keys", str(tmp_path / "keys.json"))
    assert ended.returncode == 2
    assert str(tmp_path) in ended.stderr


def test_faults_are_checked_all_at_once(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps([{"kind": "bug"}, {"activity": "a", "kind": "odd", "when": "after"}]))
    ended = run_host("--app", str(SAMPLE), "--keys", str(tmp_path / "keys.json"), "--faults", str(faults))
    assert ended.returncode == 2
    assert "entry 1 names no activity" in ended.stderr
    assert "'odd'" in ended.stderr
    assert "'after'" in ended.stderr


def run_host(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local.functions", "host", "--engine", "127.0.0.1:9", "--port", free_port()]
    return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
