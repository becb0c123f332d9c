"""Who the app is: the managed identity's endpoint and what its refusals become."""

import base64
import json
import sys
from pathlib import Path

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ChainedTokenCredential, ManagedIdentityCredential
from fix_azure import SUBSCRIPTION, LocalAzure

from shared.adapters.azure_credentials import AKS_SCOPE, ARM_SCOPE, credential
from shared.adapters.azure_errors import azure_call
from shared.adapters.flexible_server import FlexibleServer
from shared.adapters.key_vault import KeyVaultSecrets
from shared.errors import ConfigurationError


def claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_a_token_is_for_the_audience_that_was_asked_for(azure: LocalAzure) -> None:
    assert claims(credential(None).get_token(ARM_SCOPE).token)["aud"] == "https://management.azure.com"


def test_outside_azure_the_developers_login_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    assert isinstance(credential(None), ChainedTokenCredential)


AZ = """#!{python}
import json, os, sys, time, urllib.parse, urllib.request
assert sys.argv[1:3] == ["account", "get-access-token"], sys.argv
resource = sys.argv[sys.argv.index("--resource") + 1]
query = urllib.parse.urlencode({{"resource": resource, "api-version": "2019-08-01"}})
headers = {{"X-IDENTITY-HEADER": os.environ["HEADER"]}}
request = urllib.request.Request(os.environ["LOGIN"] + "?" + query, headers=headers)
token = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request))
print(json.dumps({{"accessToken": token["access_token"], "expires_on": int(time.time()) + 3600}}))
"""


def test_a_developer_who_ran_az_login_reads_what_he_may(
    azure: LocalAzure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The unmodified credential runs `az`; here a program of that name hands out the local tokens."""
    program = tmp_path / "az"
    program.write_text(AZ.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("LOGIN", azure.env["IDENTITY_ENDPOINT"])
    monkeypatch.setenv("HEADER", azure.env["IDENTITY_HEADER"])
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.delenv("IDENTITY_HEADER")
    monkeypatch.setenv("PATH", str(tmp_path))
    developer = credential(None)
    assert KeyVaultSecrets("https://kv-webui.vault.azure.net", developer).read("postgres-admin-password") == "pa55word"
    assert FlexibleServer(SUBSCRIPTION, "rg-webui", "pg-webui", developer).read_server().name == "pg-webui"


def test_with_an_identity_endpoint_the_managed_identity_is_used(azure: LocalAzure) -> None:
    assert isinstance(credential(""), ManagedIdentityCredential)


def test_a_user_assigned_identity_is_found_by_its_client_id(azure: LocalAzure) -> None:
    azure.configure(identity={"client_id": "aaaaaaaa-0000-0000-0000-000000000001"})
    assert credential("aaaaaaaa-0000-0000-0000-000000000001").get_token(ARM_SCOPE).token


@pytest.mark.parametrize("asked", [None, "bbbbbbbb-0000-0000-0000-000000000002"])
def test_the_wrong_identity_gets_no_token(azure: LocalAzure, asked: str | None) -> None:
    azure.configure(identity={"client_id": "aaaaaaaa-0000-0000-0000-000000000001"})
    with pytest.raises(ConfigurationError) as raised, azure_call("sign in", role="any"):
        credential(asked).get_token(ARM_SCOPE)
    assert "no access token" in raised.value.message
    assert "AZURE_CLIENT_ID" in raised.value.hint


def test_a_wrong_identity_header_gets_no_token(azure: LocalAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(ClientAuthenticationError):
        credential(None).get_token(ARM_SCOPE)
    assert [c["status"] for c in azure.calls()] == [401]


def test_the_endpoint_wants_its_version(azure: LocalAzure) -> None:
    header = {"X-IDENTITY-HEADER": azure.env["IDENTITY_HEADER"]}
    answer = requests.get(azure.env["IDENTITY_ENDPOINT"], params={"resource": "x"}, headers=header, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["statusCode"] == 400


def test_an_entra_clusters_token_is_one_that_the_local_cluster_knows(azure: LocalAzure) -> None:
    azure.configure(clusters={"rg-webui/aks-webui": {"kubeconfig": "kubeconfig", "entra": True}})
    assert credential(None).get_token(AKS_SCOPE).token == "cluster-token"
