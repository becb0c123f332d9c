"""What the phases apply arrives field by field under our own manager, on a real API, and others' fields stay theirs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from phases.scale_out import rolling_update
from shared.adapters.cluster import FIELD_MANAGER, KubernetesCluster
from shared.adapters.discovery import dynamic_client
from shared.errors import ConfigurationError
from shared.kubernetes import deployments, manifests
from shared.model.ports import Manifest
from tests.local_kubelet.fix_node import cluster
from tests.way_back.fix_cluster import LABELS, NAMES, RUN, TARGET, deployment

OTHER = "operator"
APPLIED = [
    manifests.files_claim(TARGET.files_claim, RUN, "azurefile-csi-premium", "100Gi"),
    *manifests.redis(NAMES.redis, RUN, "redis:7.4-alpine", {"nodeSelector": {"pool": "apps"}}),
    manifests.disruption_budget(NAMES.disruption_budget, RUN, LABELS),
    manifests.code_map(NAMES.code, RUN, b"zip"),
    manifests.opaque_secret(NAMES.session_secret, RUN, {"webui-secret-key": b"k"}),
    manifests.volume_snapshot(NAMES.snapshot, RUN, TARGET.disk_claim, "csi-azuredisk-vsc"),
]


class Api:
    """The same API seen by us and by whoever else is there."""

    def __init__(self, kubeconfig: Path) -> None:
        def connect() -> client.ApiClient:
            return config.new_client_from_config(str(kubeconfig))

        self.ours = KubernetesCluster(TARGET.namespace, connect)
        self._dynamic = dynamic_client(connect())

    def apply_as_other(self, manifest: Manifest, *, force: bool = False) -> None:
        resource = self._dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        resource.server_side_apply(
            body=manifest,
            name=manifest["metadata"]["name"],
            namespace=TARGET.namespace,
            field_manager=OTHER,
            force_conflicts=force,
        )


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with cluster(tmp_path_factory.mktemp("applied")) as kubeconfig:
        made = Api(kubeconfig)
        core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        core.create_namespace({"metadata": {"name": TARGET.namespace}})
        yield made


def differences(applied: Any, stored: Any, path: str = "") -> list[str]:
    """Where what is stored lacks, or has otherwise, what was applied."""
    if isinstance(applied, dict):
        found = stored if isinstance(stored, dict) else {}
        return [line for key in applied for line in differences(applied[key], found.get(key), f"{path}.{key}")]
    if isinstance(applied, list):
        if not isinstance(stored, list) or len(stored) != len(applied):
            return [f"{path}: {stored!r}"]
        return [line for at, one in enumerate(applied) for line in differences(one, stored[at], f"{path}[{at}]")]
    return [] if applied == stored else [f"{path}: {stored!r} instead of {applied!r}"]


def managers(found: Manifest) -> set[str]:
    return {entry["manager"] for entry in found["metadata"]["managedFields"]}


@pytest.mark.parametrize("applied", APPLIED, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_every_field_arrives_and_is_ours(api: Api, applied: Manifest) -> None:
    api.ours.apply(applied)
    stored = api.ours.read(applied["kind"], applied["metadata"]["name"])
    assert stored is not None
    assert differences(applied, stored) == []
    assert manifests.is_ours(stored)
    assert FIELD_MANAGER in managers(stored)


@pytest.mark.parametrize("applied", APPLIED, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_what_others_add_stays_theirs_when_we_apply_again(api: Api, applied: Manifest) -> None:
    kind, name = applied["kind"], applied["metadata"]["name"]
    api.ours.apply(applied)
    theirs = {"labels": {"team": "a"}, "annotations": {"note": "keep"}}
    api.apply_as_other({"apiVersion": applied["apiVersion"], "kind": kind, "metadata": {"name": name, **theirs}})
    api.ours.apply(applied)
    stored = api.ours.read(kind, name)
    assert stored is not None
    assert differences({"metadata": theirs} | applied | {"metadata": applied["metadata"]}, stored) == []
    assert (stored["metadata"]["labels"]["team"], stored["metadata"]["annotations"]["note"]) == ("a", "keep")
    paths = {"label": ("f:metadata", "f:labels", "f:team")}
    assert deployments.field_owners(stored, paths) == {"label": OTHER}


def test_a_conflict_is_shown_and_taken_over_only_when_told_so(api: Api) -> None:
    redis = APPLIED[1]
    api.ours.apply(redis)
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAMES.redis}, "spec": {"replicas": 2}}
    api.apply_as_other(other, force=True)
    with pytest.raises(ConfigurationError, match=rf"{OTHER}.*spec\.replicas|spec\.replicas.*{OTHER}"):
        api.ours.apply(redis)
    assert (api.ours.read("Deployment", NAMES.redis) or {})["spec"]["replicas"] == 2
    api.ours.apply(redis, force=True)
    assert (api.ours.read("Deployment", NAMES.redis) or {})["spec"]["replicas"] == 1


def test_the_switch_changes_what_it_lists_and_nothing_else(api: Api) -> None:
    """Every other field of the user's Deployment, and whose it is, stays as it was; so do they after the way back."""
    before = deployment()
    del before["status"]
    before["metadata"] = {"name": "users", "labels": {"mine": "yes"}, "annotations": {"why": "because"}}
    pod = before["spec"]["template"]["spec"]
    pod["containers"][0] |= {
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"requests": {"cpu": "1"}},
        "livenessProbe": {"exec": {"command": ["true"]}},
    }
    pod["containers"].append({"name": "sidecar", "image": "busybox", "env": [{"name": "A", "value": "1"}]})
    pod["tolerations"] = [{"key": "spot", "operator": "Exists"}]
    before["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    api.apply_as_other(before)
    live = api.ours.read("Deployment", "users")
    assert live is not None
    facts = deployments.describe(live, TARGET.disk_claim, [])
    assert facts is not None
    patch = deployments.switch_patch(live, facts, TARGET.files_claim, [{"name": "VECTOR_DB", "value": "pgvector"}])
    switched = api.ours.patch("Deployment", "users", patch)
    web, sidecar = sorted(switched["spec"]["template"]["spec"]["containers"], key=lambda one: one["name"] != "web")
    assert [(e["name"], e.get("value")) for e in web["env"] if e["name"] != "DATABASE_URL"] == [
        ("VECTOR_DB", "pgvector")
    ]
    was = pod["containers"]
    for key in ("image", "ports", "resources", "volumeMounts"):
        assert differences(was[0][key], web[key], key) == []
    assert differences(was[1], sidecar) == []
    assert differences({k: before["metadata"][k] for k in ("labels", "annotations")}, switched["metadata"]) == []
    assert switched["spec"]["template"]["spec"]["tolerations"] == pod["tolerations"]
    assert switched["spec"]["strategy"] == {"type": "Recreate"}
    assert "exec" not in web["livenessProbe"]
    theirs = {"image": ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"web"}', "f:image")}
    assert deployments.field_owners(switched, theirs) == {"image": OTHER}
    surged = api.ours.patch("Deployment", "users", rolling_update(1))
    assert surged["spec"]["strategy"] == before["spec"]["strategy"]
    api.ours.replace(live)
    after = api.ours.read("Deployment", "users")
    assert after is not None
    assert after["spec"] == live["spec"]
    assert after["metadata"]["labels"] == live["metadata"]["labels"]
    assert (after["metadata"]["annotations"]["why"], "x" in after["metadata"]["annotations"]) == ("because", False)
    api.apply_as_other(before)  # whoever installed it can go on applying his own manifest
