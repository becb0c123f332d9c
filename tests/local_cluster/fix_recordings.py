"""What a real Kubernetes 1.36.2 was asked and answered: the cases in `recordings/`, made complete to be asked again.

`recordings/README.md` says how they were recorded, and what a recording leaves out. That is added here, from the
answer itself where it tells it, and by hand in the tables below where it does not.
"""

import gzip
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

type Object = dict[str, Any]

FOLDER = Path(__file__).parent / "recordings"
CLUSTER_WIDE = ("namespaces", "storageclasses", "persistentvolumes")
JSON, MERGE = "application/json", "application/merge-patch+json"
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_MARKS_OF_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")

# The recorder guessed the type of a patch, and has no body that the server could not decode.
# Source: tests/local_cluster/test_*_contract.py at f270cf2, which were the client.
_SENT: Mapping[str, tuple[str, Any]] = {
    "5a5ddaeeb9": (MERGE, ...),
    "7526bc07c1": ("text/plain", {"data": {"a": "2"}}),
    "4765ed13aa": ("application/apply-patch+yaml", {"apiVersion": "v1", "kind": "ConfigMap"}),
    "b00a3aa332": (JSON, {"kind": "Secret", "data": {"k": "no base64!"}}),
    "e79e94b603": (JSON, {"kind": "Deployment", "spec": {"replicaz": 1}}),
    "fade6a73a9": (JSON, {"kind": "Deployment", "spec": {"replicas": "three"}}),
    "44effc41e1": (JSON, {"kind": "Scale", "spec": {"replicas": "three"}}),
    "e8d70706df": (MERGE, ...),
    "df1c218479": (MERGE, ...),
    "35633afca2": (MERGE, ...),
    "5e9fd2244d": (JSON, {"gracePeriodSeconds": "soon"}),
    "7dba55f649": (JSON, {"preconditions": [1]}),
}


def _budget(name: str, namespace: str, labels: Mapping[str, str], allowed: int) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "uid": name},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": dict(labels)}},
        "status": {
            "observedGeneration": 1,
            "disruptionsAllowed": allowed,
            "desiredHealthy": 1,
            "currentHealthy": 1 + allowed,
            "expectedPods": 1 + allowed,
        },
    }


_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "user", "namespace": "golden", "labels": {"app": "user"}, "uid": "user"},
    "spec": {"containers": [{"name": "m", "image": "busybox"}], "nodeName": "fake-node-1"},
    "status": {"phase": "Running"},
}
_ENDING = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "xe2675a33", "uid": "ending", "deletionTimestamp": "2026-11-26T11:08:21Z"},
    "spec": {"finalizers": ["kubernetes"]},
    "status": {"phase": "Terminating"},
}
_TEST_NAMESPACE = "contract-x6126194e"

# What stood beside the object and decided the answer: the Source is the answer, and the test that was the client.
_BESIDE: Mapping[str, Sequence[Object]] = {
    "eviction-two-pdbs": (_POD, *(_budget(name, "golden", {"app": "user"}, 0) for name in ("one", "two"))),
    "45eaeece18": (_ENDING,),
    "a7a923e622": (_budget("xff92b26e", _TEST_NAMESPACE, {"app": "xff92b26e"}, 0),),
    "2c48884ac7": (_budget("xea1921eb", _TEST_NAMESPACE, {"app": "xea1921eb"}, 1),),
    "21667a135a": (_budget("xea1921eb", _TEST_NAMESPACE, {"app": "xea1921eb"}, 0),),
}
_BESIDE_FROM: Mapping[str, Sequence[str]] = {"4b1a05292d": ("332ce326b3",)}
"""Cases whose answer stood beside it: the default storage class."""
_ASKED_FIRST: Mapping[str, str] = {"355d304a14": "f3dc2bd625"}
"""Cases before which another one must be asked, because `before` shows the object as it was before both."""


@dataclass(frozen=True)
class Case:
    """One request to the real server, and its answer."""

    id: str
    method: str
    path: str
    content: str
    before: Object | None
    """The object as it stood; None: there was none."""
    request: Any
    code: int
    after: Any
    client: str
    """The User-Agent: it is the manager of what is written where the request does not name one."""
    beside: Sequence[Object] = ()
    asked_first: "Case | None" = None


@dataclass(frozen=True)
class Excepted:
    """Cases that the local cluster cannot answer as the real one; with `fields`, all else in the answer is equal."""

    reason: str
    cases: frozenset[str]
    fields: frozenset[str] = frozenset()


def all_exceptions() -> list[Excepted]:
    listed = tomllib.loads((FOLDER / "excepted.toml").read_text())["excepted"]
    return [Excepted(one["reason"], frozenset(one["cases"]), frozenset(one.get("fields", ()))) for one in listed]


@cache
def all_cases() -> Mapping[str, Case]:
    return {case.id: case for case in (_case(recorded) for recorded in _recorded().values())}


@cache
def _recorded() -> Mapping[str, Object]:
    lines = (line for name in ("answers", "recordings") for line in _lines(name))
    return {recorded["id"]: recorded for recorded in lines}


def _lines(name: str) -> Iterator[Object]:
    with gzip.open(FOLDER / f"{name}.jsonl.gz", "rt") as file:
        yield from map(json.loads, file)


def _case(recorded: Object) -> Case:
    key, after = recorded["id"], recorded["after"]
    content, request = _SENT.get(key, (recorded["content"], ...))
    managers = [entry["manager"] for entry in managed(after)]
    client = "Python" if managers == ["Python"] else "OpenAPI-Generator" if "verb" in recorded else "Python-urllib"
    asked_first = _ASKED_FIRST.get(key)
    return Case(
        id=key,
        method=recorded.get("method") or _METHODS[recorded["verb"]],
        path=recorded.get("path") or _path(recorded),
        content=content,
        before=_as_it_stood(recorded, client),
        request=recorded["request"] if request is ... else request,
        code=recorded["code"],
        after=after,
        client=client,
        beside=(*_BESIDE.get(key, ()), *(_recorded()[other]["after"] for other in _BESIDE_FROM.get(key, ()))),
        asked_first=_case(_recorded()[asked_first]) if asked_first else None,
    )


def _path(recorded: Object) -> str:
    group, plural, namespace = recorded["group"], recorded["resource"], recorded["namespace"]
    parts = [f"/apis/{group}" if group else "/api", recorded["version"]]
    parts += [] if plural in CLUSTER_WIDE else ["namespaces", namespace]
    parts += [plural]
    parts += [recorded["name"]] if recorded["verb"] != "create" or recorded["subresource"] else []
    parts += [recorded["subresource"]] if recorded["subresource"] else []
    path = "/".join(parts)
    return f"{path}?{urlencode(recorded['query'])}" if recorded["query"] else path


def managed(obj: Any) -> list[Object]:
    return (obj.get("metadata") or {}).get("managedFields") or [] if isinstance(obj, dict) else []


# ── the object as it stood ────────────────────────────────────────────────────────────────────────────────────────────


def _as_it_stood(recorded: Object, client: str) -> Object | None:
    """Return `before`, corrected where the answer shows that it was not what the server had."""
    before, after, code = recorded["before"], recorded["after"], recorded["code"]
    verb = recorded.get("verb")
    if code == 404 or (verb == "create" and code == 201 and not recorded["subresource"]):
        return None  # it had gone since it was last seen
    if before is None and code == 200 and verb in ("delete", "patch"):
        return _before_the_end(after, recorded["request"])
    if before is None or not managed(after):
        return before
    return _with_what_others_wrote(before, after, recorded, client)


def _before_the_end(after: Object, request: Any) -> Object:
    """Take back what a deletion, or taking the last finalizer off, did to an object."""
    before = deepcopy(after)
    metadata = before["metadata"]
    if request == {"metadata": {"finalizers": None}}:
        metadata["finalizers"] = ["example.io/held"]
        return before
    for name in _MARKS_OF_DELETION:
        metadata.pop(name, None)
    if "generation" in metadata:
        metadata["generation"] -= 1
    if before["kind"] == "Namespace":
        before["status"] = {"phase": "Active"}
    return before


def _with_what_others_wrote(before: Object, after: Object, recorded: Object, client: str) -> Object:
    """Add what controllers wrote between the reading of `before` and the request: it is in the answer as theirs."""
    before = deepcopy(before)
    wanted = re.search(r"fieldManager=([\w-]+)", recorded.get("path") or _path(recorded))
    writer = wanted[1] if wanted else client
    entries = {_owner(entry): entry for entry in managed(before)}
    for entry in managed(after):
        if entry["manager"] != writer:
            _copy_fields(entry["fieldsV1"], after, before)
            known = entries.get(_owner(entry))
            if known is None:
                before["metadata"].setdefault("managedFields", []).append(deepcopy(entry))
            elif entry["manager"].startswith("kube-"):
                known.update(deepcopy(entry))
    return before


def _owner(entry: Object) -> tuple[str, str, str]:
    return entry["manager"], entry["operation"], entry.get("subresource", "")


def _copy_fields(fields: Object, source: Object, target: Object) -> None:
    """Copy the fields that a `fieldsV1` names; a list that is there stays, but for the conditions of a status."""
    for element, below in fields.items():
        name = element.removeprefix("f:")
        if not element.startswith("f:") or name not in source:
            continue
        is_list = any(child.startswith(("k:", "v:")) for child in below)
        if is_list and name in target and name != "conditions":
            continue
        if isinstance(source[name], dict) and any(child.startswith("f:") for child in below):
            _copy_fields(below, source[name], target.setdefault(name, {}))
        else:
            target[name] = deepcopy(source[name])
