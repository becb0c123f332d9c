"""The autoscaler's trial, whole: a rehearsed migration, load, more replicas, quiet, as many as before."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_load_adds_replicas_within_the_budget_and_quiet_takes_them_away():
    folder = Path(tempfile.mkdtemp(prefix="scaleout-scaling-"))
    folder.chmod(0o711)  # the database server's account is not ours when we are root
    places = {"SCALEOUT_REHEARSAL_DIR": str(folder / "rehearsal"), "SCALEOUT_BUILD_DIR": str(folder / "build")}
    command = [sys.executable, "-m", "local", "rehearse", "--scaling", "--json", str(folder / "report.json")]
    try:
        done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        found = json.loads((folder / "report.json").read_text())["scaling"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert found["minimum"] == 3
    assert found["minimum"] < found["highest"] <= found["maximum"]
    assert found["most_connections"] <= found["for_users"]
    assert found["replicas_owned_by"][-1] == "kube-controller-manager"
    assert found["guard"] == ["none"]
    assert found["refused"] == 0
