"""The local Azure endpoints as a real process, and the real Azure when the environment names one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.core.credentials import TokenCredential

from shared.adapters.azure_credentials import credential

ROOT = Path(__file__).resolve().parents[2]
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
KUBECONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "local",
    "clusters": [{"name": "local", "cluster": {"server": "https://127.0.0.1:1"}}],
    "contexts": [{"name": "local", "context": {"cluster": "local", "user": "admin"}}],
    "users": [{"name": "admin", "user": {"token": "cluster-token"}}],
}


class LocalAzure:
    """One process of `local.azure`, its configuration file and its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config_file = directory / "azure.json"
        self.state_directory = directory / "state"
        self.kubeconfig = directory / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
        self.configure()
        self.env: dict[str, str] = {}

    def configure(self, **changes: Any) -> None:
        """Write the file anew: the usual world with these parts replaced."""
        self.config_file.write_text(json.dumps(self.world() | changes))

    def world(self) -> dict[str, Any]:
        return {
            "subscription_id": SUBSCRIPTION,
            "operation_seconds": 0.2,
            "identity": {"client_id": None},
            "vaults": {
                "kv-webui": {
                    "postgres-admin-password": "pa55word",
                    "open-webui-administrator": "admin@example.com:pa55word",
                    "rotated": {"values": ["old", "new"]},
                }
            },
            "clusters": {"rg-webui/aks-webui": {"kubeconfig": "kubeconfig"}},
            "servers": {
                "rg-webui/pg-webui": {
                    "fqdn": "127.0.0.1",
                    "version": "17",
                    "sku": {"name": "Standard_B1ms", "tier": "Burstable"},
                    "parameters": {"azure.extensions": "UUID-OSSP"},
                }
            },
        }

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "local.azure",
            "--config",
            str(self.config_file),
            "--dir",
            str(self.state_directory),
        ]
        self._log = (self.directory / "log").open("a")
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None
        word, _, content = self._process.stdout.readline().partition(" ")
        assert word == "ready", (self.directory / "log").read_text()
        self.env = json.loads(content)["env"]

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(10)
        self._log.close()
        return code

    def forget(self) -> None:
        """Empty the log of calls, so that a test sees its own only."""
        (self.state_directory / "calls.jsonl").unlink(missing_ok=True)

    def calls(self, *, changing: bool = False) -> list[dict[str, Any]]:
        file = self.state_directory / "calls.jsonl"
        calls = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [c for c in calls if c["changes"]] if changing else calls

    def log(self) -> str:
        return (self.directory / "log").read_text()


@dataclass(frozen=True)
class Target:
    """What the contract tests talk to."""

    credential: TokenCredential
    subscription: str
    vault_url: str
    secret: str
    group: str
    cluster: str
    server: str


REAL_VARIABLES = {
    "subscription": "SCALEOUT_TEST_SUBSCRIPTION_ID",
    "vault_url": "SCALEOUT_TEST_VAULT_URL",
    "secret": "SCALEOUT_TEST_SECRET",
    "group": "SCALEOUT_TEST_RESOURCE_GROUP",
    "cluster": "SCALEOUT_TEST_CLUSTER",
    "server": "SCALEOUT_TEST_SERVER",
}


@pytest.fixture(scope="session")
def azure_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAzure]:
    local = LocalAzure(tmp_path_factory.mktemp("azure"))
    local.start()
    yield local
    assert local.stop() == 0


@pytest.fixture
def azure(azure_process: LocalAzure, monkeypatch: pytest.MonkeyPatch) -> LocalAzure:
    """The endpoints, the usual world, an empty log, and this process pointed at them."""
    azure_process.configure()
    azure_process.forget()
    for name, value in azure_process.env.items():
        monkeypatch.setenv(name, value)
    return azure_process


@pytest.fixture(params=["local", "real"])
def target(request: pytest.FixtureRequest) -> Target:
    """The same tests against the stand-in and, where the environment names them, the real services."""
    if request.param == "local":
        request.getfixturevalue("azure")
        vault = "https://kv-webui.vault.azure.net"
        names = (SUBSCRIPTION, vault, "postgres-admin-password", "rg-webui", "aks-webui", "pg-webui")
        return Target(credential(None), *names)
    if missing := [name for name in REAL_VARIABLES.values() if not os.environ.get(name)]:
        pytest.skip(f"the real Azure is not named: {', '.join(missing)} not set")
    return Target(
        credential(os.environ.get("AZURE_CLIENT_ID")), **{k: os.environ[v] for k, v in REAL_VARIABLES.items()}
    )


@pytest.fixture
def servers(azure: LocalAzure) -> Callable[..., str]:
    """Adds a database server of its own to the world, so that tests share no parameters."""

    def add(name: str, **server: Any) -> str:
        world = azure.world()
        azure.configure(servers=world["servers"] | {f"rg-webui/{name}": server})
        return name

    return add
