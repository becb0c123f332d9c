"""A rehearsal in somebody else's cluster: what must hold before anything is begun, and when the node is there.

What it makes there has a label and goes with it: the namespace with the volumes that were provisioned for it, the
rights of the app's identity, and, by the kubelet, the node and what that brought.
"""

import json
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from local.rehearsal.current_state import Operator
from shared.errors import ConfigurationError, MigrationError

NEEDED = (
    ("create", "nodes", ""),
    ("create", "namespaces", ""),
    ("create", "clusterroles", "rbac.authorization.k8s.io"),
)
JOB = "reach-the-node"


def connect(kubeconfig: Path) -> client.ApiClient:
    """A client for the kubeconfig; ConfigurationError where that is none."""
    if not kubeconfig.is_file():
        raise ConfigurationError(f"there is no {kubeconfig}")
    try:
        found: client.ApiClient = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{kubeconfig} is no kubeconfig: {error}") from error
    return found


def require_rights(kubeconfig: Path) -> None:
    """ConfigurationError where the cluster does not answer, or its user may not do what a rehearsal does."""
    reviews: Any = client.AuthorizationV1Api(connect(kubeconfig))
    lacking = []
    try:
        for verb, resource, group in NEEDED:
            attributes = {"verb": verb, "resource": resource, "group": group}
            body = {"spec": {"resourceAttributes": attributes}}
            if not reviews.create_self_subject_access_review(body, _request_timeout=(5, 10)).status.allowed:
                lacking.append(f"{verb} {resource}")
    except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
        why = getattr(error, "reason", None) or error
        raise ConfigurationError(
            f"the cluster of {kubeconfig} does not answer: {why}",
            hint=f"kubectl --kubeconfig {kubeconfig} version",
        ) from error
    if lacking:
        raise ConfigurationError(
            f"the user of {kubeconfig} may not: {', '.join(lacking)}",
            hint="A rehearsal makes a node, a namespace and rights: give it a kubeconfig of a cluster-admin.",
        )


def require_reached(operator: Operator, certificate: dict[str, str]) -> None:
    """ConfigurationError where the API server does not come through to the node, as logs and exec must.

    `certificate`: what the kubelet said of its own.
    """
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": operator.node_label,
        "containers": [{"name": "reach", "image": "busybox:1.37", "command": ["sh", "-c", "echo reached"]}],
    }
    metadata = {"name": JOB, "namespace": operator.names.namespace}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}
    try:
        operator.run_job(job, seconds=60)
    except ApiException as error:
        raise not_reached(_said(error), certificate) from error
    finally:
        operator.delete_job(JOB)


def _said(error: ApiException) -> str:
    """The sentence in the Status, or whatever came."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.body or error.reason)


def not_reached(said: str, certificate: dict[str, str]) -> MigrationError:
    """What the API server said of the way to the node, and what to do about it."""
    if "x509" not in said and "certificate" not in said:
        return ConfigurationError(
            f"the API server does not reach the rehearsal's node: {said.strip()}",
            hint="It goes to 127.0.0.1 for logs and exec, so it must run on this machine.",
        )
    unsigned = f" The cluster did not sign one: {certificate['why']}." if certificate.get("why") else ""
    return ConfigurationError(
        f"the API server does not trust the serving certificate of the rehearsal's node: {said.strip()}",
        hint=f"It was started with --kubelet-certificate-authority.{unsigned} Let the kubeconfig's user create and "
        "approve CertificateSigningRequests of the signer kubernetes.io/kubelet-serving, or pass "
        "--serving-certificate FILE: key and certificate, signed by that authority, for IP 127.0.0.1.",
    )
