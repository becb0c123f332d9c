"""Mount paths and Service names in commands and environment values, by tables and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.kubernetes.kubelet.network.service_names import is_host_variable, rewrite_hosts
from local.kubernetes.kubelet.process.paths import locate, rewrite, unsafe_characters

MOUNTS = {"/data": "/k/d", "/app/backend/data": "/k/v", "/app/backend/data/cache": "/k/c", "/etc/redis/": "/k/r"}
SERVICES = {
    ("ollama", "redis-service"): "127.96.0.1",
    ("ollama", "open-webui"): "127.96.0.2",
    ("other", "db"): "127.96.0.3",
    ("", "10.0.0.7"): "127.112.0.1",
}


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/data", "/k/d"),
        ("/data/", "/k/d/"),
        ("/data/x/y", "/k/d/x/y"),
        ("KEY=/data", "KEY=/k/d"),
        ("--dir=/data/in", "--dir=/k/d/in"),
        ("/usr/bin:/data/bin:/data", "/usr/bin:/k/d/bin:/k/d"),
        ("a,/data", "a,/k/d"),
        ("cd /data && ls /data/;cat</data/x>/data/y", "cd /k/d && ls /k/d/;cat</k/d/x>/k/d/y"),
        ("open('/data/x')", "open('/k/d/x')"),
        ('{"a": ["/data"]}', '{"a": ["/k/d"]}'),
        (r"{\"a\":\"/data\"}", r"{\"a\":\"/k/d\"}"),
        ("sqlite:////data/x.db", "sqlite:////k/d/x.db"),
        ("file:///data/x", "file:///k/d/x"),
        ("/app/backend/data/uploads", "/k/v/uploads"),
        ("/app/backend/data/cache/embedding", "/k/c/embedding"),
        ("/app/backend/data/cached", "/k/v/cached"),
        ("/etc/redis/redis.conf", "/k/r/redis.conf"),
    ],
)
def test_a_mount_path_becomes_its_directory(text: str, rewritten: str) -> None:
    assert rewrite(text, MOUNTS) == rewritten


@pytest.mark.parametrize(
    "text",
    [
        "/database",
        "/data.bak",
        "/data-old/x",
        "/data*",
        "/srv/data",
        "./data",
        "~/data",
        "$HOME/data",
        "$(pwd)/data",
        '"$x"/data',
        "http://host/data",
        "postgresql://u:p@host:5432/data",
        "redis://host/data",
        "/Data",
        "data",
        "/",
        "",
    ],
)
def test_what_only_looks_like_a_mount_path_stays(text: str) -> None:
    assert rewrite(text, MOUNTS) == text


def test_without_mounts_nothing_changes() -> None:
    assert rewrite("/data /app", {}) == "/data /app"
    assert rewrite("/x/y", {"/": "/k"}) == "/x/y"


@given(st.text(alphabet="abc/ .:=,'\"$(){}-_~*\n"))
def test_a_text_without_a_mount_path_is_never_changed(text: str) -> None:
    assert rewrite(text, {"/mount": "/k/m"}) == text


@given(st.lists(st.sampled_from(["/data", "/app/backend/data", "/x", "word", "a=b", "/data/f", "''"])))
def test_rewriting_twice_is_rewriting_once(words: list[str]) -> None:
    once = rewrite(" ".join(words), MOUNTS)
    assert rewrite(once, MOUNTS) == once
    assert "/data" not in once.replace("/k/", "").split()


def test_a_path_is_located_in_the_innermost_mount() -> None:
    assert locate("/app/backend/data/cache/x", MOUNTS) == "/k/c/x"
    assert locate("/app/backend/data/../data/y", MOUNTS) == "/k/v/y"
    assert locate("/etc/redis", MOUNTS) == "/k/r"
    assert locate("/app/backend", MOUNTS) is None


def test_a_directory_that_would_break_a_command_is_told() -> None:
    assert unsafe_characters("/srv/rehearsal-1/x_y.z") == ""
    assert unsafe_characters("/srv/my files/$x") == " $"


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("redis://redis-service:6379/0", "redis://127.96.0.1:6379/0"),
        ("redis://:p%40ss@redis-service:6379", "redis://:p%40ss@127.96.0.1:6379"),
        ("http://open-webui.ollama.svc.cluster.local:8080/ready", "http://127.96.0.2:8080/ready"),
        ("https://open-webui.ollama.svc", "https://127.96.0.2"),
        (
            "postgresql://u:p@db.other/openwebui?sslmode=require",
            "postgresql://u:p@127.96.0.3/openwebui?sslmode=require",
        ),
        ("curl -s http://open-webui:8080/health | jq .", "curl -s http://127.96.0.2:8080/health | jq ."),
        ("open-webui:8080", "127.96.0.2:8080"),
        ("http://10.0.0.7:8080/health", "http://127.112.0.1:8080/health"),
        ("10.0.0.7:8080", "127.112.0.1:8080"),
        ("open-webui.ollama", "127.96.0.2"),
        ("db.other.svc.cluster.local.", "127.96.0.3"),
    ],
)
def test_a_service_name_in_a_hosts_place_becomes_its_address(text: str, rewritten: str) -> None:
    assert rewrite_hosts(text, SERVICES, "ollama") == rewritten


@pytest.mark.parametrize(
    "text",
    [
        "open-webui",
        "http://db/",
        "http://open-webui-x/",
        "http://open-webui.example.com/",
        "http://example.com/open-webui",
        "the open-webui:8080 of the cluster",
        "redis-service-2:6379",
        "http://10.0.0.70:80/",
        "10.0.0.7.5:80",
        "",
    ],
)
def test_what_is_no_service_or_no_host_stays(text: str) -> None:
    assert rewrite_hosts(text, SERVICES, "ollama") == text


def test_a_bare_word_is_a_host_only_where_the_variable_says_so() -> None:
    assert rewrite_hosts("redis-service", SERVICES, "ollama", bare=is_host_variable("REDIS_HOST")) == "127.96.0.1"
    assert rewrite_hosts("open-webui", SERVICES, "ollama", bare=is_host_variable("WEBUI_NAME")) == "open-webui"
    assert rewrite_hosts("redis-service", SERVICES, "other", bare=True) == "redis-service"
