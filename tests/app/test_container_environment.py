"""What the container has, resolved as the kubelet does; an empty variable is not there."""

import base64

import pytest

from shared.errors import ConfigurationError
from shared.kubernetes.container_environment import (
    names_with_value,
    read_database_address,
    read_database_url,
    read_variable,
)
from shared.kubernetes.redis_choice import needs_redis, redis_variables
from shared.transfer.database_url import COMPOSED_FROM
from tests.way_back.fix_cluster import FakeCluster

PARTS = {
    "DATABASE_TYPE": "postgresql",
    "DATABASE_USER": "webui",
    "DATABASE_PASSWORD": "p/#x",
    "DATABASE_HOST": "db",
    "DATABASE_PORT": "5432",
    "DATABASE_NAME": "owui",
}


def cluster():
    found = FakeCluster()
    encoded = {"password": "s3cret", "DATABASE_URL": "postgresql://all@one/secret", "EMPTY": ""}
    found.put("Secret", "theirs", data={k: base64.b64encode(v.encode()).decode() for k, v in encoded.items()})
    found.put("ConfigMap", "settings", data={"REDIS_URL": "redis://r", "DATABASE_HOST": "db2"})
    return found


def container(env, *sources):
    return {"name": "web", "env": env, "envFrom": [{kind: {"name": name}} for kind, name in sources]}


def literal(**values):
    return [{"name": name, "value": value} for name, value in values.items()]


PASSWORD = {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "password"}}}


def test_a_url_composed_of_references():
    env = [PASSWORD, *literal(HOST="db", DATABASE_URL="postgresql://u:$(PW)@$(HOST):5433/d")]
    assert read_database_url(cluster(), container(env)) == "postgresql://u:s3cret@db:5433/d"
    address = read_database_address(cluster(), container(env))
    assert (address.host, address.port, address.name, address.role) == ("db", 5433, "d", "u")


def test_a_reference_to_what_comes_by_env_from():
    found = container(literal(DATABASE_URL="postgresql://u@$(DATABASE_HOST)/d"), ("configMapRef", "settings"))
    assert read_database_url(cluster(), found) == "postgresql://u@db2/d"


def test_everything_in_one_secret_and_env_wins_over_it():
    found = container([], ("secretRef", "theirs"))
    assert read_database_url(cluster(), found) == "postgresql://all@one/secret"
    found = container(literal(DATABASE_URL="postgresql://env@h/d"), ("secretRef", "theirs"))
    assert read_database_url(cluster(), found) == "postgresql://env@h/d"


def test_a_reference_that_comes_too_early_stays_as_the_kubelet_leaves_it():
    assert read_variable(cluster(), container(literal(A="$(B)", B="x")), "A") == "$(B)"


def test_an_escaped_reference_is_text():
    assert read_variable(cluster(), container(literal(B="x", A="$$(B)")), "A") == "$(B)"


def test_only_the_secrets_of_what_is_asked_for_are_read():
    found = cluster()
    found.read = lambda kind, name: pytest.fail(f"{kind} {name} was read")
    other = {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}
    assert read_variable(found, container([other, *literal(DATA_DIR="/data")]), "DATA_DIR") == "/data"


def test_the_parts_win_over_the_url_when_all_are_there():
    assert read_database_url(cluster(), container(literal(DATABASE_URL="x://y", **PARTS))) == (
        "postgresql://webui:p/#x@db:5432/owui"
    )


@pytest.mark.parametrize("missing", [name for name in PARTS if name not in {"DATABASE_USER", "DATABASE_PASSWORD"}])
def test_with_one_part_empty_the_url_counts(missing):
    parts = PARTS | {missing: ""}
    assert read_database_url(cluster(), container(literal(DATABASE_URL="postgresql://h/d", **parts))) == (
        "postgresql://h/d"
    )


def test_a_decisive_variable_without_a_value_is_not_there():
    env = literal(WEBUI_SECRET_KEY="", REDIS_URL=" ", A="", CHROMA_HTTP_HOST="x")
    names = names_with_value(cluster(), container(env), ("WEBUI_SECRET_KEY", "REDIS_URL", "CHROMA_HTTP_HOST"))
    assert names == ("A", "CHROMA_HTTP_HOST")


def test_an_empty_entry_hides_what_comes_by_env_from():
    found = container(literal(REDIS_URL=""), ("configMapRef", "settings"))
    assert names_with_value(cluster(), found, ("REDIS_URL",)) == ("DATABASE_HOST",)


def test_what_only_the_node_knows_is_there():
    env = [{"name": "WEBUI_SECRET_KEY", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]
    assert names_with_value(cluster(), container(env), ("WEBUI_SECRET_KEY",)) == ("WEBUI_SECRET_KEY",)


def test_no_error_shows_a_part_of_a_url():
    env = literal(DATABASE_URL="postgresql://u:to@p-s3cret:x@h/d")
    with pytest.raises(ConfigurationError) as error:
        read_database_address(cluster(), container(env))
    assert "s3cret" not in f"{error.value.message} {error.value.hint} {error.value.__cause__}"
    assert error.value.__suppress_context__


OURS = "redis://ours:6379/0"


@pytest.mark.parametrize(
    ("names", "needed", "variables"),
    [
        ((), True, {"REDIS_URL": OURS, "WEBSOCKET_REDIS_URL": OURS, "WEBSOCKET_MANAGER": "redis"}),
        (("REDIS_URL",), False, {"WEBSOCKET_REDIS_URL": "$(REDIS_URL)", "WEBSOCKET_MANAGER": "redis"}),
        (("WEBSOCKET_REDIS_URL", "WEBSOCKET_MANAGER"), False, {"REDIS_URL": "$(WEBSOCKET_REDIS_URL)"}),
        (("REDIS_URL", "WEBSOCKET_REDIS_URL", "WEBSOCKET_MANAGER"), False, {}),
    ],
)
def test_the_redis_that_is_there_is_used(names, needed, variables):
    assert needs_redis(names) is needed
    assert redis_variables(names, OURS) == variables


def test_jobs_get_all_that_the_url_is_made_of():
    assert set(PARTS) == set(COMPOSED_FROM)
