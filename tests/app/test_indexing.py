"""The app as the real Functions worker sees it: every function, its trigger and its route."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phases.run.catalogue import PHASES

ROOT = Path(__file__).resolve().parents[2]

INDEX = """
import asyncio, json, pathlib, sys
from local.functions.runtime.worker import Worker

async def main():
    worker = Worker(pathlib.Path(sys.argv[1]))
    functions = await worker.start()
    print(json.dumps({f.name: [dict(b) for b in f.bindings] for f in functions}), flush=True)

asyncio.run(main())
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def functions():
    command = [sys.executable, "-c", INDEX, str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def of_kind(functions, kind):
    found = {}
    for name, bindings in functions.items():
        trigger = next(b for b in bindings if b["type"].lower().endswith("trigger"))
        if trigger["type"] == kind:
            found[name] = trigger
    return found


def test_every_phase_has_its_activities(functions):
    wanted = {name for phase in PHASES for name in phase.activities()}
    assert wanted <= set(of_kind(functions, "activityTrigger"))


def test_the_orchestrators_and_the_entity_are_there(functions):
    assert {"migrate", "roll_back"} <= set(of_kind(functions, "orchestrationTrigger"))
    assert "run" in {(t.get("entityName") or n).lower() for n, t in of_kind(functions, "entityTrigger").items()}


def test_the_routes_and_their_levels(functions):
    routes = {
        (method.upper(), trigger["route"]): trigger["authLevel"].upper()
        for trigger in of_kind(functions, "httpTrigger").values()
        for method in trigger["methods"]
    }
    wanted = {("POST", "migrations"), ("GET", "migrations"), ("GET", "migrations/{id}")}
    wanted |= {("POST", f"migrations/{{id}}/{a}") for a in ("approve", "pause", "resume", "rollback", "abort")}
    assert {routes[route] for route in wanted} == {"FUNCTION"}
    assert {routes["GET", "monitor"], routes["GET", "openapi.json"]} == {"ANONYMOUS"}
