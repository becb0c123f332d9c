"""Secrets: read by name and version, every refusal with what to do, never a value in a log."""

import logging
from typing import Any

import psycopg
import pytest
import requests
from fix_azure import SUBSCRIPTION, LocalAzure
from fix_azure import Target as Contract
from psycopg import sql

from shared.adapters import composition
from shared.adapters.azure_credentials import ARM_SCOPE, credential
from shared.adapters.key_vault import KeyVaultSecrets
from shared.errors import ConfigurationError, PermissionMissing
from shared.model.migration import Target
from shared.model.settings import Settings
from shared.model.survey import DatabaseAddress

VAULT = "https://kv-webui.vault.azure.net"
URL = f"{VAULT}/secrets/postgres-admin-password?api-version=7.6"


@pytest.fixture
def secrets(azure: LocalAzure) -> KeyVaultSecrets:
    return KeyVaultSecrets(VAULT, credential(None))


def test_a_secret_is_read(target: Contract) -> None:
    assert KeyVaultSecrets(target.vault_url, target.credential).read(target.secret)


def test_a_missing_secret_names_the_vault_the_secret_and_the_command(target: Contract) -> None:
    with pytest.raises(ConfigurationError) as raised:
        KeyVaultSecrets(target.vault_url, target.credential).read("no-such-secret")
    assert raised.value.message == f"secret no-such-secret does not exist in {target.vault_url}"
    assert raised.value.hint.startswith("az keyvault secret set --vault-name ")


def test_the_latest_version_is_read_unless_one_is_named(azure: LocalAzure, secrets: KeyVaultSecrets) -> None:
    assert secrets.read("rotated") == "new"
    client = secrets._client
    newest = client.get_secret("rotated").properties.version
    assert newest is not None
    assert secrets.read("rotated", newest) == "new"


def test_a_password_that_is_rotated_during_a_run_holds_from_the_next_connection(
    azure: LocalAzure, database: Any
) -> None:
    """First in the server, then in the vault: between the two the login is refused with what to do, nothing else."""
    info = psycopg.conninfo.conninfo_to_dict(database.admin_url)
    user, first = str(info["user"]), str(info["password"])
    azure.configure(vaults={"kv-webui": {"postgres-admin-password": first}})
    settings = Settings(postgres_sslmode="require")
    target = Target(SUBSCRIPTION, "rg-webui", "aks-webui", VAULT, "pg-webui", admin_user=user)
    where = DatabaseAddress(str(info["host"]), int(info["port"]), database.name, "openwebui")
    admin = composition.connector(settings)(target).databases.as_admin(where)
    assert admin.read_chunk_table() is None
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        change = sql.SQL("alter role {} password {}")
        superuser.execute(change.format(sql.Identifier(user), sql.Literal("second")))
        try:
            with pytest.raises(ConfigurationError, match=f"refused the password of {user}") as raised:
                admin.read_chunk_table()
            assert "current password into the key vault" in raised.value.hint
            azure.configure(vaults={"kv-webui": {"postgres-admin-password": {"values": [first, "second"]}}})
            assert admin.read_chunk_table() is None
        finally:
            superuser.execute(change.format(sql.Identifier(user), sql.Literal(first)))


def test_a_missing_version_is_named(secrets: KeyVaultSecrets) -> None:
    with pytest.raises(ConfigurationError, match="secret rotated has no version 0123"):
        secrets.read("rotated", "0123")


def test_a_disabled_secret_is_not_a_missing_permission(azure: LocalAzure, secrets: KeyVaultSecrets) -> None:
    azure.configure(vaults={"kv-webui": {"off": {"values": ["x"], "enabled": False}}})
    with pytest.raises(ConfigurationError, match="is disabled") as raised:
        secrets.read("off")
    assert "--enabled true" in raised.value.hint


def test_a_refusal_names_the_role(azure: LocalAzure, secrets: KeyVaultSecrets) -> None:
    azure.configure(denied=["Microsoft.KeyVault/vaults/secrets/getSecret/action"])
    with pytest.raises(PermissionMissing) as raised:
        secrets.read("postgres-admin-password")
    assert "Key Vault Secrets User" in raised.value.hint


def test_a_vault_that_does_not_exist_is_not_reached(azure: LocalAzure) -> None:
    with pytest.raises(ConfigurationError, match="there is no such host"):
        KeyVaultSecrets("https://kv-other.vault.azure.net", credential(None)).read("any")
    assert "kv-other.vault.azure.net:443, which does not exist here" in azure.log()


def test_values_are_never_logged(azure: LocalAzure, secrets: KeyVaultSecrets, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets.read("postgres-admin-password")
    assert caplog.text
    assert "pa55word" not in caplog.text
    assert "pa55word" not in azure.log() + str(azure.calls())


def test_without_a_token_the_vault_says_where_to_get_one(azure: LocalAzure) -> None:
    answer = requests.get(URL, timeout=5)
    assert answer.status_code == 401
    assert 'resource="https://vault.azure.net"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("kind", ["another audience", "forged"])
def test_a_token_that_is_not_the_vaults_is_refused(azure: LocalAzure, kind: str) -> None:
    token = credential(None).get_token(ARM_SCOPE).token
    token = token[:-4] + "AAAA" if kind == "forged" else token
    assert requests.get(URL, headers={"Authorization": f"Bearer {token}"}, timeout=5).status_code == 401
