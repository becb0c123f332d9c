"""What the identity may do, asked through the HTTP interface: nothing is changed, each refusal names its role."""

import json

import httpx
import psycopg
import pytest

from local.rehearsal import fingerprint
from local.rehearsal.world import GROUP, SERVER
from phases.reading.permissions import questions

VAULT_ACTION = "Microsoft.KeyVault/vaults/secrets/*"
CLUSTER_ACTION = "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action"
SERVER_ACTION = "Microsoft.DBforPostgreSQL/flexibleServers/*"


@pytest.fixture
def ask(world):
    def get(**query):
        answer = httpx.get(
            f"{world.url}/api/permissions", params=query, headers={"x-functions-key": world.key}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer

    return get


@pytest.fixture
def deny(world):
    """Take rights from the identity for one test."""
    file = world.layout.run / "azure" / "config.json"
    original = file.read_text()
    yield lambda *actions: file.write_text(json.dumps(json.loads(original) | {"denied": actions}))
    file.write_text(original)


@pytest.fixture
def superuser(world):
    config = json.loads((world.layout.run / "azure" / "config.json").read_text())
    with psycopg.connect(config["servers"][f"{GROUP}/{SERVER}"]["superuser_url"], autocommit=True) as connection:
        yield connection


def by_what(answer):
    return {(each["area"], each["what"]): each for each in answer.json()["permissions"]}


def test_everything_is_asked_and_nothing_is_changed(world, ask):
    before = fingerprint.take(world.app_url, world.layout.volumes, world.operator.objects())
    found = by_what(ask())
    assert list(found) == [(q.area, q.what) for q in questions()]
    assert [each for each in found.values() if each["allowed"] is False] == []
    unknown = [each["what"] for each in found.values() if each["allowed"] is None]
    assert unknown == ["write the parameter azure.extensions"]
    after = fingerprint.take(world.app_url, world.layout.volumes, world.operator.objects())
    assert before.differences(after) == []


@pytest.mark.parametrize(
    ("action", "area", "word"),
    [
        (VAULT_ACTION, "Key Vault", "Key Vault Secrets User"),
        (SERVER_ACTION, "Azure", "Scaleout database parameters"),
        (CLUSTER_ACTION, "Azure", "Cluster User Role"),
    ],
)
def test_a_missing_role_is_named(ask, deny, action, area, word):
    deny(action)
    content = ask(service=f"other-{word[0].lower()}").json()  # a target of its own: a kubeconfig is kept for minutes
    assert not content["allowed"]
    [missing] = content["missing"]
    assert word in missing
    assert {each["area"] for each in content["permissions"] if each["allowed"] is False} == {area}


def test_without_the_clusters_credentials_its_permissions_are_not_known(ask, deny):
    deny(CLUSTER_ACTION)
    found = [each for each in ask(service="another").json()["permissions"] if each["area"] == "Kubernetes"]
    assert {each["allowed"] for each in found} == {None}


def test_a_missing_grant_in_postgresql_is_named_and_stops_a_run(app, ask, superuser):
    superuser.execute("revoke openwebui from scaleout_admin")
    try:
        refused = {e["what"] for e in ask().json()["permissions"] if e["area"] == "PostgreSQL" and not e["allowed"]}
        run = app.follow(app.start({"mode": "migrate"}), lambda state: None, patience_seconds=60)
    finally:
        superuser.execute("grant openwebui to scaleout_admin with admin true, inherit true, set true")
    assert "lock and drop what Open WebUI's role owns" in refused
    assert run["state"] == "refused"
    assert {p["code"] for p in run["report"]["problems"] if p["severity"] == "blocking"} == {"grants"}


def test_the_table_is_for_people(ask, deny):
    deny(VAULT_ACTION)
    answer = ask(**{"as": "text"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert "NO   Key Vault" in answer.text
    assert "→ Key Vault Secrets User" in answer.text


def test_a_mistake_in_the_query_is_told_and_a_key_is_needed(world):
    url, key = f"{world.url}/api/permissions", {"x-functions-key": world.key}
    assert httpx.get(url).status_code == 401
    assert "unknown field" in httpx.get(url, params={"nope": "x"}, headers=key).json()["error"]
