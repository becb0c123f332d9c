"""`python -m local.azure` as a process: start, restart, refusal of a bad file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fix_azure import ROOT, SUBSCRIPTION, LocalAzure

from shared.adapters import flexible_server
from shared.adapters.azure_credentials import credential
from shared.adapters.flexible_server import FlexibleServer


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local.azure", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


def test_what_was_written_survives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flexible_server, "POLL_SECONDS", 0.05)
    local = LocalAzure(tmp_path)
    for expected in ("UUID-OSSP", "VECTOR"):
        local.start()
        for name, value in local.env.items():
            monkeypatch.setenv(name, value)
        server = FlexibleServer(SUBSCRIPTION, "rg-webui", "pg-webui", credential(None))
        assert server.read_parameter("azure.extensions").value == expected
        server.write_parameter("azure.extensions", "VECTOR")
        assert local.stop() == 0
    assert [c["method"] for c in local.calls(changing=True)] == ["PATCH"]
    assert json.loads((local.state_directory / "state.json").read_text())["parameters"] == {
        "rg-webui/pg-webui": {"azure.extensions": "VECTOR"}
    }


def test_a_bad_file_is_refused_with_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "azure.json"
    file.write_text(
        '{"servers": {"pg": {"sk": 1}}, "clusters": {"rg/aks": {}}, "fault": [], "faults": [{"action": "x"}]}'
    )
    result = run("--config", str(file), "--dir", str(tmp_path / "state"))
    assert result.returncode == 2
    for problem in (
        "subscription_id is missing",
        "fault is not known",
        "servers[pg]: the key must be",
        "servers[pg]: sk is not known",
        "clusters[rg/aks]: kubeconfig is missing",
        "faults[0]: action must be",
    ):
        assert problem in result.stderr


def test_a_file_that_breaks_later_is_passed_over(azure: LocalAzure) -> None:
    azure.config_file.write_text("{")
    server = FlexibleServer(SUBSCRIPTION, "rg-webui", "pg-webui", credential(None))
    assert server.read_server().name == "pg-webui"
    assert "the changed configuration is not used" in azure.log()


def test_it_says_what_it_takes() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "--config" in result.stdout


def test_secrets_of_the_directory_are_for_its_owner_only(azure: LocalAzure) -> None:
    for name in ("ca.key", "identity-header"):
        assert (azure.state_directory / name).stat().st_mode & 0o077 == 0
