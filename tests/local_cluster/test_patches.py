"""The patches, as tables: the strategic ones are from Kubernetes' own documentation of the format."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.kubernetes.api_server.patches import PatchFailed, json_patch, merge_patch
from local.kubernetes.api_server.strategic_merge import strategic_merge_patch
from local.kubernetes.model.kinds import DEPLOYMENTS, PODS
from local.kubernetes.model.schema import schema_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(st.text("abc", max_size=2), JSON, max_size=4)


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [  # Source: RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_as_in_its_rfc(document: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(document, patch) == expected


@settings(deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_merging_twice_is_merging_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


def variables(**values: str) -> dict[str, Any]:
    return {"name": "main", "env": [{"name": name, "value": value} for name, value in values.items()]}


MAIN = {"name": "main", "image": "m:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
SIDE = {"name": "side", "image": "s:1"}


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        pytest.param(pod(MAIN), pod(SIDE), pod(SIDE, MAIN), id="an unknown key comes first"),
        pytest.param(
            pod(SIDE),
            pod({"name": "side", "image": "s:2"}),
            pod({"name": "side", "image": "s:2"}),
            id="a known one is merged",
        ),
        pytest.param(
            pod(MAIN),
            pod({"name": "main", "env": [{"name": "A", "value": "9"}]}),
            pod({**MAIN, "env": [{"name": "A", "value": "9"}, {"name": "B", "value": "2"}]}),
            id="lists in lists too",
        ),
        pytest.param(pod(MAIN, SIDE), pod({"name": "main", "$patch": "delete"}), pod(SIDE), id="$patch delete"),
        pytest.param(pod(MAIN), pod(SIDE, {"$patch": "replace"}), pod(SIDE), id="$patch replace of a list"),
        pytest.param(
            pod(MAIN), {"spec": {"$patch": "replace", "containers": [SIDE]}}, pod(SIDE), id="$patch replace of a map"
        ),
        pytest.param(
            pod({**SIDE, "command": ["a", "b"]}),
            pod({"name": "side", "command": ["c"]}),
            pod({**SIDE, "command": ["c"]}),
            id="a list without a key is replaced",
        ),
        pytest.param(
            pod(volumes=[{"name": "v", "emptyDir": {}}]),
            {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}},
            pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
            id="$retainKeys drops the alternatives",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["b", "c"]}},
            {"metadata": {"finalizers": ["a", "b", "c"]}},
            id="a list of values is a set",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            id="$deleteFromPrimitiveList",
        ),
        pytest.param(
            pod(MAIN, SIDE),
            {"spec": {"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}], "containers": []}},
            pod(SIDE, MAIN),
            id="$setElementOrder",
        ),
        pytest.param(
            pod(variables(A="1", B="2")),
            pod(variables(N="n", B="3", M="m")),
            pod(variables(N="n", A="1", B="3", M="m")),
            id="new items among known ones keep the order of the patch",
        ),
        pytest.param(
            {"metadata": {"labels": {"a": "1", "b": "2"}}},
            {"metadata": {"labels": {"a": None, "c": "3"}}},
            {"metadata": {"labels": {"b": "2", "c": "3"}}},
            id="null deletes",
        ),
    ],
)
def test_strategic_merge_patch(document: Any, patch: Any, expected: Any) -> None:
    assert strategic_merge_patch(document, patch, schema_of(PODS)) == expected


def test_a_strategic_patch_leaves_its_document_as_it_was() -> None:
    document = pod(MAIN)
    strategic_merge_patch(document, pod({"name": "main", "env": [{"name": "A", "value": "9"}]}), schema_of(PODS))
    assert document["spec"]["containers"][0]["env"][0]["value"] == "1"


def test_retain_keys_switches_a_strategy() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    patched = strategic_merge_patch(document, patch, schema_of(DEPLOYMENTS))
    assert patched == {"spec": {"strategy": {"type": "Recreate"}}}


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(PatchFailed, match="does not contain declared merge key: name"):
        strategic_merge_patch(pod(MAIN), pod({"image": "x"}), schema_of(PODS))


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/nope"}],
        [{"op": "replace", "path": "/nope/deeper", "value": 1}],
        [{"op": "no-such-operation", "path": "/a"}],
    ],
)
def test_a_json_patch_that_does_not_apply_is_refused(patch: list[dict[str, Any]]) -> None:
    with pytest.raises(PatchFailed):
        json_patch({"a": 1}, patch)
