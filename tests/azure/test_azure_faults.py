"""When Azure is slow, full or gone: what is transient, how often it is asked, and how long it takes."""

import time

import pytest
import requests
from azure.core.exceptions import ServiceRequestError
from fix_azure import SUBSCRIPTION, LocalAzure

from shared.adapters.azure_credentials import credential
from shared.adapters.azure_errors import azure_call
from shared.adapters.flexible_server import FlexibleServer
from shared.adapters.key_vault import KeyVaultSecrets
from shared.errors import ConfigurationError, TransientError

VAULT = "https://kv-webui.vault.azure.net"


@pytest.fixture
def server(azure: LocalAzure) -> FlexibleServer:
    return FlexibleServer(SUBSCRIPTION, "rg-webui", "pg-webui", credential(None))


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (500, "InternalServerError"), (503, "Busy")])
def test_a_passing_answer_is_transient_at_once(
    azure: LocalAzure, server: FlexibleServer, status: int, code: str
) -> None:
    azure.configure(faults=[_fault("GET .*flexibleServers", status=status, code=code, times=9)])
    with pytest.raises(TransientError, match=f"read PostgreSQL server rg-webui/pg-webui: HTTP {status} {code}"):
        server.read_server()
    assert [c["status"] for c in azure.calls() if "flexibleServers" in c["path"]] == [status]


def test_throttling_says_how_long_to_wait_and_does_not_wait_itself(azure: LocalAzure, server: FlexibleServer) -> None:
    fault = _fault("GET .*flexibleServers", status=429, code="TooManyRequests", headers={"Retry-After": "30"})
    azure.configure(faults=[fault])
    started = time.monotonic()
    with pytest.raises(TransientError, match="asks to wait 30 s"):
        server.read_server()
    assert time.monotonic() - started < 5


def test_the_key_vault_too(azure: LocalAzure) -> None:
    azure.configure(faults=[_fault("GET .*/secrets/", status=429, code="Throttled", times=9)])
    with pytest.raises(TransientError, match="Throttled"):
        KeyVaultSecrets(VAULT, credential(None)).read("postgres-admin-password")


def test_a_connection_that_is_cut_once_is_asked_again(azure: LocalAzure, server: FlexibleServer) -> None:
    azure.configure(faults=[_fault("GET .*flexibleServers", action="drop")])
    assert server.read_server().name == "pg-webui"


def test_a_connection_that_is_always_cut_is_transient(azure: LocalAzure, server: FlexibleServer) -> None:
    azure.configure(faults=[_fault("GET .*flexibleServers", action="drop", times=99)])
    with pytest.raises(TransientError, match="no connection"):
        server.read_server()
    assert len([c for c in azure.calls() if "flexibleServers" in c["path"]]) == 3


def test_nothing_leaves_the_machine(azure: LocalAzure) -> None:
    for url in ("https://example.com/", "https://login.microsoftonline.com/", "http://example.com/"):
        answer = None
        try:
            answer = requests.get(url, timeout=5)
        except requests.exceptions.ProxyError as e:
            assert "403" in str(e)
        assert answer is None or answer.status_code == 403
    assert [c["host"] for c in azure.calls() if c["status"] == 403] == ["example.com", "login.microsoftonline.com"]
    assert "the app wanted to reach example.com:443" in azure.log()


def test_a_certificate_that_nobody_trusts_is_said_to_be_that(
    azure: LocalAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ConfigurationError, match="certificate is not trusted") as raised:
        KeyVaultSecrets(VAULT, credential(None)).read("postgres-admin-password")
    assert "REQUESTS_CA_BUNDLE" in raised.value.hint


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Failed to resolve 'kv-x.vault.azure.net' ([Errno -2] Name or service not known)", ConfigurationError),
        ("Failed to resolve 'kv-x.vault.azure.net' ([Errno -3] Temporary failure in name resolution)", TransientError),
        ("[Errno 111] Connection refused", TransientError),
    ],
)
def test_a_name_that_does_not_exist_is_not_a_passing_fault(said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind), azure_call("read a secret", role="any"):
        raise ServiceRequestError(said)


def _fault(match: str, **rest: object) -> dict[str, object]:
    return {"match": match, **rest}
