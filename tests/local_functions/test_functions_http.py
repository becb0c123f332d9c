"""HTTP functions behave as in Azure: routes, methods, bodies, keys and errors."""

import hashlib
import http.client
import os
import stat
from pathlib import Path

import pytest
from fix_rig import Rig


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("open", "none", 200),
        ("guarded", "none", 401),
        ("guarded", "wrong", 401),
        ("guarded", "host", 200),
        ("guarded", "own", 200),
        ("guarded", "master", 200),
        ("guarded", "system", 401),
        ("secret", "none", 401),
        ("secret", "host", 401),
        ("secret", "own", 401),
        ("secret", "system", 401),
        ("secret", "master", 200),
    ],
)
def test_every_level_takes_its_keys_and_no_other(rig: Rig, path: str, key: str, status: int) -> None:
    keys = {**rig.keys, "none": "", "wrong": "x" * 40, "own": rig.keys["functions"]["guarded"]}
    in_header = rig.http.get(f"/api/{path}", headers={"x-functions-key": keys[key]})
    in_query = rig.http.get(f"/api/{path}", params={"code": keys[key]}, headers={"x-functions-key": ""})
    assert (in_header.status_code, in_query.status_code) == (status, status)
    assert status == 200 or in_header.content == b""


def test_a_key_of_one_function_does_not_open_another(rig: Rig) -> None:
    own = {"x-functions-key": rig.keys["functions"]["guarded"]}
    assert rig.http.get("/api/runs/none", headers=own).status_code == 401


def test_the_keys_are_readable_by_their_owner_only(rig: Rig) -> None:
    assert stat.S_IMODE((rig.folder / "keys.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("things/newest", "newest"),
        ("things/NEWEST", "newest"),
        ("things/12", {"number": "12"}),
        ("things/twelve", {"any": "twelve"}),
        ("things/a%2Fb", {"any": "a/b"}),
        ("files/a/b%20c/d?x=1&y=%C3%BC", {"path": "a/b c/d", "query": {"x": "1", "y": "ü"}}),
    ],
)
def test_a_literal_wins_over_a_constraint_and_that_over_a_parameter(rig: Rig, path: str, answer: object) -> None:
    assert rig.http.get(f"/api/{path}").json() == answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/none"),
        ("GET", "/none"),
        ("GET", "/api/things/1/2"),
        ("POST", "/api/open"),
        ("HEAD", "/api/open"),
        ("OPTIONS", "/api/open"),
        ("DELETE", "/api/runs/x"),
    ],
)
def test_an_unknown_path_or_method_is_404(rig: Rig, method: str, path: str) -> None:
    answer = rig.http.request(method, path)
    assert (answer.status_code, answer.content) == (404, b"")


def test_head_answers_without_a_body_where_it_is_allowed(rig: Rig) -> None:
    answer = rig.http.head("/api/files/a")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_a_large_body_arrives_whole_and_cookies_come_back(rig: Rig) -> None:
    body = os.urandom(20_000_000)
    answer = rig.http.post("/api/digest", content=body)
    assert answer.json() == hashlib.sha256(body).hexdigest()
    assert "session=abc" in answer.headers["set-cookie"]
    assert "HttpOnly" in answer.headers["set-cookie"]


def test_an_error_nobody_caught_is_an_empty_500_and_is_in_the_log(rig: Rig) -> None:
    answer = rig.http.get("/api/broken")
    assert (answer.status_code, answer.content) == (500, b"")
    log = rig.host.log.read_text()
    assert "RuntimeError: a bug in the sample" in log
    assert "def broken" in log or "function_app.py" in log


def test_the_environment_and_the_trace_reach_the_function(rig: Rig) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = rig.http.get("/api/open", headers={"traceparent": trace}).json()
    assert answer == {"setting": "from the environment", "traceparent": trace}


def test_admin_wants_the_master_key_and_the_ping_none(rig: Rig) -> None:
    for path in ("/admin/host/status", "/admin/functions"):
        assert rig.http.get(path, headers={"x-functions-key": rig.keys["host"]}).status_code == 401
        assert rig.http.get(path).status_code == 200
    assert rig.http.get("/admin/host/status").json()["state"] == "Running"
    assert rig.http.get("/admin/host/ping", headers={"x-functions-key": ""}).status_code == 200
    assert rig.http.post("/admin/functions/tick", headers={"x-functions-key": rig.keys["host"]}).status_code == 401
    assert rig.http.post("/admin/functions/nothing", json={}).status_code == 404
    assert rig.http.post("/admin/functions/open_to_all", json={}).status_code == 400


def test_only_loopback_is_listened_on(rig: Rig) -> None:
    port = int(rig.url.rsplit(":", 1)[1])
    reached = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    reached.request("GET", "/admin/host/ping")
    assert reached.getresponse().status == 200
    reached.close()
    listening = {
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }
    assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
