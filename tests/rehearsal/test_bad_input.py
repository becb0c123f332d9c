"""Bad input, through the app's HTTP interface: one clear answer, and nothing changed."""

import base64
import json
from urllib.parse import urlsplit

import httpx
import pytest
from kubernetes import client, config

from local.rehearsal import fingerprint
from local.rehearsal.world import VAULT


@pytest.fixture(scope="module")
def core(world):
    return client.CoreV1Api(config.new_client_from_config(str(world.layout.run / "cluster" / "kubeconfig")))


@pytest.fixture
def untouched(world):
    """Byte-equal before and after, whatever the test asks for."""
    before = fingerprint.take(world.app_url, world.layout.volumes, world.operator.objects())
    yield
    after = fingerprint.take(world.app_url, world.layout.volumes, world.operator.objects())
    assert before.differences(after) == []


@pytest.fixture
def database_url(core, untouched):
    """Change where the Deployment's DATABASE_URL points, for one test."""
    secret = core.read_namespaced_secret("open-webui-database", "ollama")
    original = base64.b64decode(secret.data["url"]).decode()

    def put(url):
        body = {"data": {"url": base64.b64encode(url.encode()).decode()}}
        core.patch_namespaced_secret("open-webui-database", "ollama", body)

    yield lambda change: put(change(original))
    put(original)


@pytest.fixture
def vault(world):
    """Change the vault's secrets for one test."""
    file = world.layout.run / "azure" / "config.json"
    original = file.read_text()

    def put(name, value):
        content = json.loads(original)
        content["vaults"][VAULT] = {name: value}
        file.write_text(json.dumps(content))

    yield put
    file.write_text(original)


def refused(app, **body):
    """The blocking problems of a run that must be refused."""
    run = app.start({"mode": "migrate"} | body)
    ended = app.follow(run, lambda state: None, patience_seconds=60)
    assert ended["state"] == "refused", ended["report"]["failure"]
    return {p["code"]: p for p in ended["report"]["problems"] if p["severity"] == "blocking"}


def test_the_password_is_wrong(app, vault, untouched):
    vault("postgres-admin-password", "not this one")
    [(code, problem)] = refused(app).items()
    assert code == "database"
    assert "refused the password of scaleout_admin" in problem["message"]
    assert "key vault" in problem["hint"]


def test_the_secret_is_missing(app, vault, untouched):
    vault("another-secret", "x")
    problems = refused(app)
    assert "postgres-admin-password" in problems["secret"]["message"]


def test_the_database_cannot_be_reached(app, database_url):
    database_url(lambda url: url.replace(f":{urlsplit(url).port}/", ":9/"))
    problems = refused(app)
    assert set(problems) == {"database"}
    assert "cannot reach PostgreSQL at 127.0.0.1:9" in problems["database"]["message"]


def test_there_is_no_such_database(app, database_url):
    database_url(lambda url: urlsplit(url)._replace(path="/elsewhere").geturl())
    assert "elsewhere" in refused(app)["database_url"]["message"]
    assert "no such database" in refused(app, target={"database": "elsewhere"})["database"]["message"]


def test_the_application_data_is_not_in_postgresql(app, database_url):
    database_url(lambda url: "sqlite:////app/backend/data/webui.db")
    assert "PostgreSQL" in refused(app)["database_url"]["message"]


@pytest.mark.parametrize(
    ("target", "code", "word"),
    [
        ({"deployment": "nope"}, "deployment", "no Deployment 'nope'"),
        ({"namespace": "nope"}, "deployment", "nope"),
        ({"disk_claim": "nope"}, "storage", "no claim 'nope'"),
        ({"postgres_server": "nope"}, "server", "nope"),
    ],
)
def test_what_the_request_names_is_not_there(app, untouched, target, code, word):
    assert word in refused(app, target=target)[code]["message"]


def test_there_are_too_few_connections(app, untouched):
    problem = refused(app, options={"replicas": 20})["connections"]
    assert "35 connections" in problem["message"]
    assert "Standard_" in problem["hint"]


def test_the_storage_class_is_not_there(app, untouched):
    assert "nope" in refused(app, options={"storage_class": "nope"})["storage_class"]["message"]


def test_a_body_with_three_mistakes_lists_all_three(world, untouched):
    body = {"mode": "go", "target": {"namespace": "Not A Name"}, "options": {"replicas": "three"}}
    answer = httpx.post(f"{world.url}/api/migrations", json=body, headers={"x-functions-key": world.key})
    assert answer.status_code == 400
    assert len(answer.json()["problems"]) == 3


def test_a_body_that_is_no_json_is_refused(world, untouched):
    answer = httpx.post(f"{world.url}/api/migrations", content=b"{", headers={"x-functions-key": world.key})
    assert answer.status_code == 400


def test_a_key_is_needed(world):
    assert httpx.get(f"{world.url}/api/migrations").status_code == 401
    assert httpx.get(f"{world.url}/api/monitor").status_code == 200


def test_an_unknown_run_is_404(world, app):
    headers = {"x-functions-key": world.key}
    assert httpx.get(f"{world.url}/api/migrations/nope", headers=headers).status_code == 404
    assert httpx.post(f"{world.url}/api/migrations/nope/abort", headers=headers).status_code == 404


def test_a_plan_says_everything_and_changes_nothing(app, untouched):
    run = app.start({"mode": "plan"})
    report = app.follow(run, lambda state: None, patience_seconds=60)["report"]
    assert report["state"] == "planned"
    assert {c["phase"] for c in report["changes"]} >= {"enable_pgvector", "provision_storage", "cut_over", "scale_out"}
    assert report["connection_budget"]["sufficient"]
    assert report["store"]["chroma"]["rows"] >= 300
