"""What an operator says is taken for nothing that it does not say, and no body makes a 500."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bodies import LONGEST_BODY_BYTES, read_json, read_order
from shared.model.request_parsing import InvalidRequest, parse_request
from tests.app.test_requests import TARGET

NESTED = b"[" * 100_000
RAW = [
    b'{"approved": tru',
    b"[1",
    b"\xff\xfe",
    NESTED,
    NESTED + b"]" * 100_000,
    b'{"a": NaN}',
    b'"\\ud800"',
    b"x" * (LONGEST_BODY_BYTES + 1),
]


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:12]))
def test_what_is_no_json_is_said_so(raw):
    with pytest.raises(InvalidRequest) as error:
        read_json(raw)
    json.dumps(error.value.problems, ensure_ascii=False).encode()


@pytest.mark.parametrize("raw", [b"", b"  \n"])
def test_no_body_is_an_empty_object(raw):
    assert read_json(raw) == {}


def test_an_approval_says_so():
    assert read_order("approve", {"approved": True})["approved"] is True
    assert read_order("approve", {"approved": False, "reason": "not today"})["reason"] == "not today"


@pytest.mark.parametrize(
    "body",
    [{}, {"approved": "false"}, {"approved": "true"}, {"approved": 1}, {"approved": [False]}, {"approved": None},
     {"approved": True, "disc": "x"}, {"approved": True, "disk": 3}, [False], [True], True, "yes", None],
    ids=repr,
)  # fmt: skip
def test_everything_else_is_no_approval(body):
    with pytest.raises(InvalidRequest):
        read_order("approve", body)


@pytest.mark.parametrize("disk", [None, "", "pv-2", "PV-1"])
def test_what_is_deleted_for_good_must_be_named(disk):
    body = {"approved": True} | ({} if disk is None else {"disk": disk})
    with pytest.raises(InvalidRequest, match="pv-1"):
        read_order("approve", body, names="pv-1")
    assert read_order("approve", {"approved": True, "disk": "pv-1"}, names="pv-1")["disk"] == "pv-1"
    assert read_order("approve", {"approved": False}, names="pv-1")["approved"] is False


@pytest.mark.parametrize("action", ["pause", "resume", "abort", "rollback"])
def test_the_other_orders_take_a_reason_and_nothing_else(action):
    assert read_order(action, {}) == {"reason": f"{action} by an operator"}
    assert read_order(action, {"reason": "maintenance"}) == {"reason": "maintenance"}
    for body in ([], [{}], "x", 3, None, {"approved": True}, {"reason": 3}, {"reason": ""}, {"reason": "x" * 501}):
        with pytest.raises(InvalidRequest):
            read_order(action, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from([*TARGET, "namespace", "deployment", "database", "admin_user", "key_vault"]), JSON
)
BODIES = JSON | st.fixed_dictionaries(
    {}, optional={"target": FIELDS | JSON, "mode": JSON, "options": JSON, "phases": JSON}
)


@given(BODIES)
def test_any_json_is_a_request_or_a_list_of_mistakes(body):
    try:
        parse_request(body, TARGET)
    except InvalidRequest as error:
        assert error.problems
        assert all(len(problem) < 500 for problem in error.problems)


@pytest.mark.parametrize("phases", [[[]], [{}], [["retire_source"]], {"a": 1}, "enable_autoscaling", [None, 3]])
def test_phases_of_the_wrong_shape(phases):
    with pytest.raises(InvalidRequest):
        parse_request({"mode": "phases", "phases": phases}, TARGET)


@pytest.mark.parametrize("name", ["a/../b", "@run@x", "", "x" * 5000, "a\nb", "..", "a b", "ä", "-a", "a-"])
@pytest.mark.parametrize(
    "field", ["cluster", "subscription_id", "resource_group", "postgres_server", "namespace", "deployment"]
)
def test_names_that_lead_elsewhere(field, name):
    if field == "resource_group" and name in {"..", "ä", "-a", "a-"}:
        name = "a."  # a group's name may be any of these; it may not end with a period
    with pytest.raises(InvalidRequest) as error:
        parse_request({"target": {field: name}}, TARGET)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "vault",
    ["https://evil.example", "http://v.vault.azure.net", "https://v.vault.azure.net.evil.example", "https://u@v.vault.azure.net",
     "https://v.vault.azure.net:444", "https://v.vault.azure.net/x?y", "https://evil.example/.vault.azure.net"],
)  # fmt: skip
def test_the_token_for_the_vault_goes_to_azures_own_hosts(vault):
    with pytest.raises(InvalidRequest, match="key_vault"):
        parse_request({"target": {"key_vault": vault}}, TARGET)
