"""The app's identity in another cluster: an account that may do what the shipped roles grant, and nothing else.

So the cluster's own RBAC says whether the rights that are asked for in production are enough. The roles get names of
their own: the cluster may have the app's already.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from local.rehearsal.current_state import OURS, Operator
from local.rehearsal.guest import connect

ACCOUNT = "scaleout-rehearsal"
SUFFIX = "-rehearsal"
TOKEN_SECONDS = 24 * 3600
CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding")


def grant(operator: Operator, kubeconfig: Path, roles: Sequence[Path], folder: Path) -> Path:
    """Make the account and its rights; returns its kubeconfig."""
    namespace = operator.names.namespace
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}
    operator.apply(account)
    for manifest in manifests(roles, namespace):
        operator.apply(manifest)
    core: Any = client.CoreV1Api(connect(kubeconfig))
    wanted = {"spec": {"expirationSeconds": TOKEN_SECONDS}}
    token = core.create_namespaced_service_account_token(ACCOUNT, namespace, wanted).status.token
    path = folder / "kubeconfig-app"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(with_token(yaml.safe_load(kubeconfig.read_text()), token)))
    return path


def manifests(roles: Sequence[Path], namespace: str) -> Iterator[dict[str, Any]]:
    """The shipped roles and bindings, for the account in this namespace."""
    for path in roles:
        for manifest in filter(None, yaml.safe_load_all(path.read_text())):
            metadata = {"name": manifest["metadata"]["name"] + SUFFIX, "labels": {OURS: "true"}}
            if manifest["kind"] not in CLUSTER_WIDE:
                metadata["namespace"] = namespace
            made = manifest | {"metadata": metadata}
            if "roleRef" in manifest:
                made["roleRef"] = manifest["roleRef"] | {"name": manifest["roleRef"]["name"] + SUFFIX}
                made["subjects"] = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}]
            yield made


def revoke(kubeconfig: Path) -> None:
    """Delete what is not in the namespace."""
    rbac: Any = client.RbacAuthorizationV1Api(connect(kubeconfig))
    rbac.delete_collection_cluster_role_binding(label_selector=f"{OURS}=true")
    rbac.delete_collection_cluster_role(label_selector=f"{OURS}=true")


def with_token(content: dict[str, Any], token: str) -> dict[str, Any]:
    """The same cluster, this user."""
    context = next(one for one in content["contexts"] if one["name"] == content["current-context"])
    user = [{"name": ACCOUNT, "user": {"token": token}}]
    contexts = [{"name": ACCOUNT, "context": {"cluster": context["context"]["cluster"], "user": ACCOUNT}}]
    return content | {"users": user, "contexts": contexts, "current-context": ACCOUNT}
