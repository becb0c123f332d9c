"""Entra login to PostgreSQL: a token is asked for at every connection and sent as the password.

A plain PostgreSQL checks no token, so the role's password is the token: what the server compares is what was sent.
"""

import psycopg
import pytest
from azure.core.credentials import AccessToken
from psycopg import sql

from shared.adapters import composition
from shared.adapters.azure_credentials import POSTGRES_SCOPE, credential, postgres_token
from shared.adapters.postgres import PostgresDatabases
from shared.errors import ConfigurationError
from shared.model.migration import Target
from shared.model.settings import Settings, read_settings
from shared.model.survey import DatabaseAddress

IDENTITY = "id-scaleout"
TARGET = Target(
    "00000000-0000-0000-0000-000000000001", "rg-webui", "aks-webui", "https://kv-webui.vault.azure.net", "pg-webui"
)


class Issuing:
    """A credential whose every token is another; `asked` are the scopes that it was asked for."""

    def __init__(self):
        self.asked = []

    def get_token(self, *scopes, **options):
        self.asked.append(scopes)
        return AccessToken(f"token-{len(self.asked)}", 4_000_000_000)


@pytest.fixture
def accept(database):
    """Let the identity's role sign in with this token only."""
    name = sql.Identifier(IDENTITY)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(name))
        connection.execute(sql.SQL("grant pg_read_all_stats to {}").format(name))

        def put(token):
            connection.execute(sql.SQL("alter role {} password {}").format(name, sql.Literal(token)))

        yield put
        connection.execute(sql.SQL("drop owned by {}; drop role {}").format(name, name))


@pytest.fixture
def address(database):
    info = psycopg.conninfo.conninfo_to_dict(database.app_url)
    return DatabaseAddress(info["host"], int(info["port"]), database.name, "openwebui")


def test_every_connection_sends_a_token_of_its_own(accept, address):
    identity = Issuing()
    databases = PostgresDatabases(
        lambda: IDENTITY, lambda: postgres_token(identity), {"sslmode": "require"}, lambda address: address
    )
    for number in (1, 2, 3):
        accept(f"token-{number}")
        assert databases.as_admin(address).read_chunk_table() is None
    assert identity.asked == [(POSTGRES_SCOPE,)] * 3
    with pytest.raises(ConfigurationError, match="refused the password of id-scaleout") as refused:
        databases.as_admin(address).read_chunk_table()
    assert "Entra administrator" in refused.value.hint


def test_the_managed_identity_signs_in_with_its_token_and_no_vault(azure, accept, address):
    azure.configure(
        identity={"client_id": None, "tokens": {"https://ossrdbms-aad.database.windows.net": "an-entra-token"}}
    )
    accept("an-entra-token")
    settings = Settings(postgres_auth="entra", postgres_entra_user=IDENTITY, postgres_sslmode="require")
    ports = composition.connector(settings)(TARGET)
    ports.databases.verify_login()
    facts = ports.databases.as_admin(address).read_facts("openwebui")
    assert facts.grants["see_sessions"]
    assert not facts.grants["create_extension"]
    assert [call["host"] for call in azure.calls() if "vault" in call["host"]] == []


def test_without_an_identity_the_hint_says_how_to_sign_in(monkeypatch):
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="could not get a token for PostgreSQL") as refused:
        postgres_token(credential(None))
    assert "az login" in refused.value.hint


def test_the_settings_say_what_is_missing():
    with pytest.raises(ConfigurationError, match="needs SCALEOUT_POSTGRES_ENTRA_USER"):
        read_settings({"SCALEOUT_POSTGRES_AUTH": "entra"})
    with pytest.raises(ConfigurationError, match="one of password, entra"):
        read_settings({"SCALEOUT_POSTGRES_AUTH": "kerberos"})
