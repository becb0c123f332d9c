"""A rehearsal in somebody else's cluster: what is asked beforehand, what it says, and what it leaves alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from local.loopback import free_port
from local.prometheus import operator as prometheus_operator
from local.rehearsal import app_identity, guest
from local.rehearsal.current_state import OURS, Names, Operator
from local.rehearsal.world import NODE, NODE_LABEL, ROLES
from shared.errors import ConfigurationError
from tests.local_kubelet.fix_node import process

UNTRUSTED = (
    'Get "https://127.0.0.1:34603/containerLogs/default/l/a": tls: failed to verify certificate: x509: certificate '
    "signed by unknown authority"
)
"""Recorded from Kubernetes 1.36.2 with --kubelet-certificate-authority."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster in which `kubeconfig-limited` may make no node."""
    made = tmp_path_factory.mktemp("guest")
    with process("local.kubernetes", "--dir", str(made), "--deny", "create:nodes", log=made / "log"):
        yield made


@pytest.fixture
def operator(folder: Path) -> Operator:
    return Operator(folder / "kubeconfig", Names(), NODE_LABEL)


@pytest.fixture
def core(folder: Path) -> Any:
    return client.CoreV1Api(config.new_client_from_config(str(folder / "kubeconfig")))


def test_who_may_make_a_node_is_welcome_and_who_may_not_is_told_so(folder: Path) -> None:
    guest.require_rights(folder / "kubeconfig")
    with pytest.raises(ConfigurationError, match=r"may not: create nodes$") as refused:
        guest.require_rights(folder / "kubeconfig-limited")
    assert "cluster-admin" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no "),
        ("{}", "is no kubeconfig: "),
        ("- a list", "is no kubeconfig: "),
        ("nobody listens", "does not answer: "),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_is_said(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "kubeconfig"
    if content == "nobody listens":
        context = {"name": "c", "context": {"cluster": "k", "user": "u"}}
        server = {"name": "k", "cluster": {"server": f"http://127.0.0.1:{free_port()}"}}
        user = {"name": "u", "user": {"token": "t"}}
        parts = {"contexts": [context], "clusters": [server], "users": [user], "current-context": "c"}
        content = json.dumps(parts)
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=says):
        guest.require_rights(path)


def test_a_serving_certificate_that_is_not_trusted_is_told_with_what_to_do() -> None:
    error = guest.not_reached(UNTRUSTED, {"signed_by": "nobody", "why": "403 Forbidden: may not POST"})
    assert "does not trust the serving certificate of the rehearsal's node" in error.message
    assert "signed by unknown authority" in error.message
    assert "The cluster did not sign one: 403 Forbidden: may not POST." in error.hint
    assert "--serving-certificate FILE" in error.hint


def test_a_node_that_is_out_of_reach_is_told_as_that() -> None:
    error = guest.not_reached("dial tcp 127.0.0.1:1: connect: connection refused", {"signed_by": "cluster"})
    assert "does not reach" in error.message
    assert "must run on this machine" in error.hint


def test_the_shipped_roles_are_given_to_the_account_under_names_of_their_own() -> None:
    made = list(app_identity.manifests(ROLES, "ollama"))
    shipped = [one for path in ROLES for one in yaml.safe_load_all(path.read_text()) if one]
    assert [one["metadata"]["name"] for one in made] == [f"{one['metadata']['name']}-rehearsal" for one in shipped]
    assert [one.get("rules") for one in made] == [one.get("rules") for one in shipped]
    names = {one["metadata"]["name"] for one in made}
    bindings = [one for one in made if "roleRef" in one]
    assert {one["roleRef"]["name"] for one in bindings} <= names
    assert all([who["kind"] for who in one["subjects"]] == ["ServiceAccount"] for one in bindings)
    assert all(one["metadata"]["labels"] == {OURS: "true"} for one in made)


def test_a_namespace_of_somebody_else_is_refused(operator: Operator, core: Any) -> None:
    assert not operator.require_own_namespace()
    core.create_namespace({"metadata": {"name": "ollama"}})
    for ask in (operator.require_own_namespace, operator.remove):
        with pytest.raises(ConfigurationError, match="was not made by a rehearsal"):
            ask()
    core.delete_namespace("ollama")


def test_what_a_killed_rehearsal_left_goes_and_a_volume_of_others_stays(operator: Operator, core: Any) -> None:
    """A namespace of this name may have been somebody's before, and his retained disk must stay known."""
    core.create_namespace({"metadata": {"name": "ollama", "labels": {OURS: "true"}}})
    for name, labels in (("ours", {"scaleout.dev/rehearsal-node": NODE}), ("theirs", {})):
        claim = {"namespace": "ollama", "name": "disk", "uid": "of-a-claim-that-is-gone"}
        spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "claimRef": claim}
        spec |= {"persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "d", "volumeHandle": name}}
        core.create_persistent_volume({"metadata": {"name": name, "labels": labels}, "spec": spec})
    operator.remove()
    assert not operator.require_own_namespace()
    assert [one.metadata.name for one in core.list_persistent_volume().items] == ["theirs"]


def test_prometheus_operator_is_brought_for_a_while(folder: Path) -> None:
    api = config.new_client_from_config(str(folder / "kubeconfig"))
    extensions: Any = client.ApiextensionsV1Api(api)

    def definitions() -> list[str]:
        return [one.metadata.name for one in extensions.list_custom_resource_definition().items]

    with prometheus_operator.brought(api) as brought:
        assert brought
        assert len(definitions()) == 2
    assert definitions() == []
    theirs = prometheus_operator.definitions()[0]
    extensions.create_custom_resource_definition(theirs)
    with prometheus_operator.brought(api) as brought:
        assert not brought
        assert definitions() == [theirs["metadata"]["name"]]
    assert definitions() == [theirs["metadata"]["name"]]


def test_the_apps_kubeconfig_has_the_token_and_nobody_elses(folder: Path) -> None:
    content = yaml.safe_load((folder / "kubeconfig").read_text())
    made = app_identity.with_token(content, "t0ken")
    assert made["users"] == [{"name": app_identity.ACCOUNT, "user": {"token": "t0ken"}}]
    assert made["clusters"] == content["clusters"]
    assert content["users"][0]["user"]["token"] not in json.dumps(made)
