"""Whose errors a log holds, in the forms that Open WebUI 0.12.4 writes (utils/logger.py, env.py)."""

import json

import pytest

from shared.criteria.log_errors import read_errors

AT = "2026-11-28 10:00:00.123"
INFO = f"{AT} | INFO     | open_webui.main:lifespan:400 - started"
OLLAMA = f"{AT} | ERROR    | open_webui.routers.ollama:send_get_request:87 - Connection error: Cannot connect to host"
VECTORS = f"{AT} | ERROR    | open_webui.retrieval.vector.dbs.pgvector:search:400 - Error during search: no table"
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    f()'


def found(*lines):
    return [(error.caller, error.blamed) for error in read_errors("\n".join(lines))]


def test_a_model_server_that_is_away_is_not_the_migrations_fault():
    assert found(INFO, OLLAMA, INFO) == [("open_webui.routers.ollama:send_get_request:87", False)]


def test_an_error_of_the_vector_store_is():
    assert found(VECTORS) == [("open_webui.retrieval.vector.dbs.pgvector:search:400", True)]


def test_the_word_in_a_message_is_no_error():
    assert (
        found(f"{AT} | INFO     | open_webui.main:chat:1 - the user asked: what does ERROR mean? CRITICAL psycopg")
        == []
    )


def test_a_traceback_belongs_to_its_entry_and_says_whose_fault_it_is():
    lines = f"{AT} | ERROR    | uvicorn.error:run_asgi:1 - Exception in ASGI application"
    [error] = read_errors("\n".join([lines, TRACE, "psycopg.OperationalError: the connection is closed", INFO]))
    assert error.blamed
    assert error.title == "uvicorn.error:run_asgi:1 Exception in ASGI application"


def test_a_printed_traceback_counts_once():
    [error] = read_errors("\n".join(["banner", TRACE, "PermissionError: [Errno 13] '/app/backend/data/uploads'", INFO]))
    assert (error.blamed, error.title) == (True, "PermissionError: [Errno 13] '/app/backend/data/uploads'")


@pytest.mark.parametrize(
    ("line", "blamed"),
    [
        ("ERROR:    [Errno 98] error while attempting to bind on address", False),
        ("ERROR:open_webui.socket.main:redis.exceptions.ConnectionError: 111", True),
        ("CRITICAL:root:sqlalchemy is missing", True),
        ("\x1b[31mERROR\x1b[0m:    No space left on device", True),
    ],
)
def test_lines_from_before_its_logger_starts(line, blamed):
    assert [error.blamed for error in read_errors(line)] == [blamed]


@pytest.mark.parametrize(
    ("entry", "blamed"),
    [
        ({"level": "error", "caller": "open_webui.storage.provider:get:1", "msg": "m"}, [True]),
        ({"level": "fatal", "caller": "x", "msg": "m", "error": {"type": "RedisError", "message": "gone"}}, [True]),
        ({"level": "error", "caller": "x", "msg": "m", "error": "Traceback\nValueError: 1"}, [False]),
        ({"level": "info", "caller": "x", "msg": "psycopg ERROR"}, []),
    ],
)
def test_json_lines(entry, blamed):
    assert [error.blamed for error in read_errors(json.dumps({"ts": AT} | entry))] == blamed


def test_an_empty_log_has_none():
    assert read_errors("") == []
