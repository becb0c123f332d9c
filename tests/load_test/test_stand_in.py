"""The stand-in's users, chats, searches and websockets: what the load test meets, as the real Open WebUI has it."""

import shutil
import urllib.request
from contextlib import ExitStack

import psycopg
import pytest
import socketio

from local.kubernetes.kubelet.process.images import find_redis_server
from local.sample import extract, load_sql
from shared.load_test.generator.accounts import Account, Administrator, Refused, remove, request
from shared.load_test.generator.sockets import MODEL, Socket
from tests.load_test.fix_redis import redis
from tests.local_kubelet.fix_open_webui import replica

VARIABLES = {
    "VECTOR_DB": "pgvector",
    "PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": "384",
    "PGVECTOR_CREATE_EXTENSION": "false",
    "DATABASE_POOL_SIZE": "1",
    "DATABASE_POOL_MAX_OVERFLOW": "1",
    "PGVECTOR_POOL_SIZE": "1",
    "WEBUI_SECRET_KEY": "shared",
}
PASSWORD = "Aa1!secret"


@pytest.fixture(scope="module")
def pair(postgres, tmp_path_factory):
    """Two replicas that share a database and Redis, and a third that has no Redis."""
    assert find_redis_server()
    directory = tmp_path_factory.mktemp("standin")
    sample = extract(directory / "sample")
    data = shutil.copytree(sample.data, directory / "data")
    postgres.create_database("standin")
    url = postgres.app_url("standin")
    load_sql(sample.app_sql, url)
    with psycopg.connect(postgres.superuser_url("standin"), autocommit=True) as connection:
        connection.execute("create extension vector")
    with redis() as address, ExitStack() as stack:
        shared = VARIABLES | {"REDIS_URL": address, "WEBSOCKET_MANAGER": "redis"}
        alone = VARIABLES | {"BYPASS_ADMIN_ACCESS_CONTROL": "false"}
        replicas = [stack.enter_context(replica(url, data, **some)) for some in (shared, shared, alone)]
        yield *(one.url for one in replicas), url


@pytest.fixture
def administrator(pair):
    return Administrator.sign_in(pair[0], "admin@example.com:whatever")


def new_user(administrator, name):
    administrator.add(Account(name), PASSWORD)
    body = {"email": Account(name).email, "password": PASSWORD}
    return request(administrator.url, "POST", "/api/v1/auths/signin", body=body)


def upload(url, token, name):
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "multipart/form-data; boundary=b"}
    asked = urllib.request.Request(f"{url}/api/v1/files/", f"{head}\r\n\r\nx\r\n--b--\r\n".encode(), headers)
    urllib.request.urlopen(asked, timeout=10).close()


def chat(url, session, token):
    body = {"model": MODEL["id"], "model_item": MODEL, "session_id": session, "messages": [], "stream": False}
    return request(url, "POST", "/api/chat/completions", body=body, token=token)


def test_a_user_can_be_made_once_and_signs_in_with_the_password(administrator):
    assert administrator.add(Account("made-1"), PASSWORD)
    assert not administrator.add(Account("made-1"), PASSWORD)
    with pytest.raises(Refused) as caught:
        request(
            administrator.url, "POST", "/api/v1/auths/signin", body={"email": Account("made-1").email, "password": "x"}
        )
    assert caught.value.status == 400


def test_only_an_administrator_sees_and_makes_users(administrator):
    user = Administrator(administrator.url, new_user(administrator, "made-2")["token"])
    for ask in (lambda: user.find_users("made"), lambda: user.add(Account("made-3"), PASSWORD)):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.status == 401


def test_an_api_key_counts_only_where_they_are_enabled(pair):
    with psycopg.connect(pair[3], autocommit=True) as connection:
        admin = connection.execute("select id from \"user\" where role = 'admin'").fetchone()[0]
        statement = "insert into api_key (id, user_id, key, created_at, updated_at) values ('k', %s, 'sk-1', 0, 0)"
        connection.execute(statement, (admin,))
        with pytest.raises(Refused):
            Administrator.sign_in(pair[0], "sk-1")
        connection.execute("update config set value = 'true' where key = 'auth.enable_api_keys'")
        assert Administrator.sign_in(pair[0], "sk-1").find_users("admin@")


def test_with_a_user_his_chats_go_and_his_files_stay(administrator, pair):
    user = new_user(administrator, "made-4")
    token, url = user["token"], administrator.url
    request(url, "POST", "/api/v1/chats/new", body={"chat": {"title": "mine"}}, token=token)
    assert [c["title"] for c in request(url, "GET", "/api/v1/chats/?page=1", token=token)] == ["mine"]
    administrator.delete(f"/api/v1/users/{user['id']}")
    assert administrator.find_users("made-4") == []
    with psycopg.connect(pair[3]) as connection:
        assert connection.execute("select count(*) from chat where user_id = %s", (user["id"],)).fetchone() == (0,)


def test_an_administrator_who_is_not_shown_others_files_still_removes_the_tests(pair, administrator):
    blind = Administrator.sign_in(pair[2], "admin@example.com:whatever")
    for number in range(3):
        token = new_user(administrator, f"scaleout-load-x-{number}")["token"]
        upload(pair[0], token, f"scaleout-load-x-{number}-1.txt")
    assert blind.find_files("scaleout-load-x") == []
    assert len(administrator.find_files("scaleout-load-x")) == 3
    *_, gone = remove(blind, "scaleout-load-x", PASSWORD)
    assert gone == (3, 3)
    assert administrator.find_files("scaleout-load-x") == administrator.find_users("scaleout-load-x") == []


def test_what_cannot_be_removed_is_told_and_not_tried_for_ever(administrator, monkeypatch):
    new_user(administrator, "scaleout-load-y-1")
    monkeypatch.setattr(Administrator, "delete", lambda self, path: None)
    with pytest.raises(Refused, match="1 users were deleted and are still there"):
        list(remove(administrator, "scaleout-load-y", PASSWORD))


def test_a_search_over_somebody_elses_file_is_refused(administrator):
    token = new_user(administrator, "made-5")["token"]
    file = request(administrator.url, "GET", "/api/v1/files/", token=administrator.token)[0]
    body = {"collection_names": [f"file-{file['id']}"], "query": "anything", "k": 1}
    with pytest.raises(Refused) as caught:
        request(administrator.url, "POST", "/api/v1/retrieval/query/collection", body=body, token=token)
    assert caught.value.status == 403


def test_a_chat_reaches_the_users_socket_on_the_other_replica(administrator, pair):
    one, two, _, _ = pair
    token = new_user(administrator, "made-6")["token"]
    socket, other = Socket(one, token), Socket(two, token)
    socket.open()
    other.open()  # python-socketio listens to Redis from a replica's first socket on
    try:
        assert chat(two, socket.session, token)["choices"][0]["message"]["content"]
        assert chat(one, socket.session, token)["choices"]
    finally:
        socket.close()
        other.close()


def test_without_redis_a_replica_does_not_know_the_others_sockets(administrator, pair):
    one, _, alone, _ = pair
    token = new_user(administrator, "made-7")["token"]
    socket = Socket(one, token)
    socket.open()
    try:
        with pytest.raises(Refused, match="Client session disconnected"):
            chat(alone, socket.session, token)
    finally:
        socket.close()


def test_nobody_can_use_somebody_elses_socket(administrator, pair):
    socket = Socket(pair[0], new_user(administrator, "made-8")["token"])
    socket.open()
    try:
        with pytest.raises(Refused, match="Client session disconnected"):
            chat(pair[0], socket.session, new_user(administrator, "made-9")["token"])
    finally:
        socket.close()


def test_a_socket_with_a_wrong_token_is_told(pair):
    socket = Socket(pair[0], "standin.nobody.x")
    with pytest.raises((ValueError, socketio.exceptions.SocketIOError)):
        socket.open()
    socket.close()
