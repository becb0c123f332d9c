"""Who owns which field: the notation, and the rules as properties over random configurations."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.kubernetes.model.kinds import CONFIG_MAPS, PODS
from local.kubernetes.model.schema import Schema, schema_of
from local.kubernetes.registry.field_ownership import APPLY, UPDATE, Owner, Ownership, after_update, apply_configuration
from local.kubernetes.registry.field_paths import field_set, from_fields_v1, to_fields_v1, to_words

ONE, TWO = Owner(APPLY, "one", "v1"), Owner(APPLY, "two", "v1")
HAND = Owner(UPDATE, "hand", "v1")
CONFIG_MAP, POD = schema_of(CONFIG_MAPS), schema_of(PODS)

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), min_size=1)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["x", "y", "z"])},
        optional={"image": st.sampled_from(["i:1", "i:2"]), "env": st.just([{"name": "A", "value": "1"}])},
    ),
    unique_by=lambda item: item["name"],
    min_size=1,
)
PODS_ = CONTAINERS.map(lambda containers: {"spec": {"containers": containers}})


def apply(
    live: dict[str, Any], ownership: Ownership, config: dict[str, Any], owner: Owner, schema: Schema, force: bool = True
) -> tuple[dict[str, Any], Ownership]:
    applied = apply_configuration(live, ownership, config, owner, schema, force=force, time="now")
    assert not applied.conflicts
    return applied.value, applied.ownership


def fields(value: dict[str, Any]) -> dict[str, Any]:
    return to_fields_v1(field_set(value, POD))


def test_items_are_named_by_their_keys_with_defaults() -> None:
    container = {"name": "main", "ports": [{"containerPort": 80}]}
    assert fields({"spec": {"containers": [container]}}) == {
        "f:spec": {
            "f:containers": {
                'k:{"name":"main"}': {
                    ".": {},
                    "f:name": {},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                }
            }
        }
    }


def test_members_of_a_set_are_named_by_their_value() -> None:
    assert fields({"metadata": {"finalizers": ["a"]}}) == {"f:metadata": {"f:finalizers": {'v:"a"': {}}}}


def test_an_atomic_list_is_one_field() -> None:
    container = {"name": "main", "command": ["sh", "-c"]}
    assert (
        fields({"spec": {"containers": [container]}})["f:spec"]["f:containers"]['k:{"name":"main"}']["f:command"] == {}
    )


def test_identity_and_kind_belong_to_nobody() -> None:
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n", "namespace": "ns", "labels": {"a": "1"}}}
    assert fields(config) == {"f:metadata": {"f:labels": {"f:a": {}}}}


@settings(deadline=None)
@given(PODS_)
def test_both_notations_say_the_same(config: dict[str, Any]) -> None:
    found = field_set(config, POD)
    assert frozenset(from_fields_v1(to_fields_v1(found))) == found


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:spec", "f:containers", 'k:{"name":"main"}', "f:image"), '.spec.containers[name="main"].image'),
        (("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'), '.ports[containerPort=80,protocol="TCP"]'),
        (("f:finalizers", 'v:"a"'), '.finalizers[="a"]'),
    ],
)
def test_paths_read_as_in_conflicts(path: tuple[str, ...], words: str) -> None:
    assert to_words(path) == words


@settings(deadline=None)
@given(PODS_, PODS_)
def test_forced_the_last_configuration_is_what_is_there(first: dict[str, Any], last: dict[str, Any]) -> None:
    live, ownership = apply({}, {}, first, ONE, POD)
    live, ownership = apply(live, ownership, last, TWO, POD)
    assert apply(live, ownership, last, TWO, POD) == (live, ownership), "applying again changes nothing"
    by_name = {item["name"]: item for item in live["spec"]["containers"]}
    for item in last["spec"]["containers"]:
        assert item.items() <= by_name[item["name"]].items()


@settings(deadline=None)
@given(PODS_, PODS_)
def test_what_one_manager_alone_applied_goes_when_it_is_no_longer_applied(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    live, ownership = apply({}, {}, first, ONE, POD)
    live, _ = apply(live, ownership, second, ONE, POD)

    def by_name(pod: dict[str, Any]) -> dict[str, Any]:
        return {item["name"]: item for item in pod["spec"]["containers"]}

    assert by_name(live) == by_name(second)


@settings(deadline=None)
@given(DATA, DATA)
def test_conflicts_are_exactly_the_values_on_which_two_managers_differ(
    first: dict[str, str], second: dict[str, str]
) -> None:
    live, ownership = apply({}, {}, {"data": first}, ONE, CONFIG_MAP)
    outcome = apply_configuration(live, ownership, {"data": second}, TWO, CONFIG_MAP, force=False, time="now")
    differing = {f".data.{key}" for key in first.keys() & second.keys() if first[key] != second[key]}
    assert {to_words(conflict.path) for conflict in outcome.conflicts} == differing


@settings(deadline=None)
@given(DATA, DATA, DATA)
def test_every_field_has_an_owner_and_no_owner_a_missing_field(
    first: dict[str, str], second: dict[str, str], third: dict[str, str]
) -> None:
    live, ownership = apply({}, {}, {"data": first}, ONE, CONFIG_MAP)
    live, ownership = apply(live, ownership, {"data": second}, TWO, CONFIG_MAP)
    ownership = after_update(ownership, HAND, live, {"data": third}, CONFIG_MAP, time="later")
    owned = {path for share in ownership.values() for path in share.fields if len(path) == 2}
    assert owned == {("f:data", f"f:{key}") for key in third}


def test_an_update_takes_a_field_from_all_who_applied_it() -> None:
    live, ownership = apply({}, {}, {"data": {"a": "1"}}, ONE, CONFIG_MAP)
    live, ownership = apply(live, ownership, {"data": {"a": "1"}}, TWO, CONFIG_MAP)
    ownership = after_update(ownership, HAND, live, {"data": {"a": "2"}}, CONFIG_MAP, time="later")
    assert set(ownership) == {HAND}


def test_an_item_in_which_another_owns_something_stays() -> None:
    live, ownership = apply({}, {}, {"spec": {"containers": [{"name": "x", "image": "i"}, {"name": "y"}]}}, ONE, POD)
    live, ownership = apply(live, ownership, {"spec": {"containers": [{"name": "x", "tty": True}]}}, TWO, POD)
    live, _ = apply(live, ownership, {"spec": {"containers": [{"name": "y"}]}}, ONE, POD)
    assert live["spec"]["containers"] == [{"name": "x", "tty": True}, {"name": "y"}]


def names_after(live: str, applied: str) -> str:
    """Apply containers to containers, named by one letter each."""
    outcome = apply_configuration(pods(live), {}, pods(applied), ONE, POD, force=True, time="now")
    return "".join(item["name"] for item in outcome.value["spec"]["containers"])


def pods(names: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": name} for name in names]}}


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [
        pytest.param("ab", "c", "abc", id="new items come after those that are there"),
        pytest.param("ab", "ca", "cab", id="a new item that is applied before a known one comes before it"),
        pytest.param("abc", "cb", "acb", id="known items are put into the applied order"),
        pytest.param("abc", "bdc", "abdc", id="a new item stands where it is applied"),
        pytest.param("aab", "c", "aabc", id="items with the same key stay as they are"),
        pytest.param("aab", "a", "ab", id="until one of them is applied"),
    ],
)
def test_the_order_of_merged_items(live: str, applied: str, merged: str) -> None:
    assert names_after(live, applied) == merged


@pytest.mark.parametrize("nothing", [{}, None])
def test_an_empty_map_is_claimed_as_a_whole(nothing: Any) -> None:
    assert field_set({"data": nothing}, CONFIG_MAP) == {("f:data",)}
    _, ownership = apply({}, {}, {"data": nothing}, ONE, CONFIG_MAP)
    stored: dict[str, Any] = {}  # an empty map is not written
    outcome = apply_configuration(stored, ownership, {"data": {"a": "1"}}, TWO, CONFIG_MAP, force=False, time="now")
    assert [to_words(conflict.path) for conflict in outcome.conflicts] == [".data"]
