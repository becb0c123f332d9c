"""What a container would see of a variable, when it comes from a Secret. The value is for the caller alone."""

import base64

from shared import deployments
from shared.ports import Cluster, Manifest
from shared.survey import DatabaseAddress


def read_variable(cluster: Cluster, container: Manifest, name: str) -> str | None:
    """The variable's value: the container's `env` first, then its `envFrom`; None where it cannot be told."""
    entry = deployments.environment_entry(container, name)
    reference = ((entry or {}).get("valueFrom") or {}).get("secretKeyRef")
    if entry is not None:
        return _secret_value(cluster, reference["name"], reference["key"]) if reference else entry.get("value")
    for source in container.get("envFrom") or []:
        secret = (source.get("secretRef") or {}).get("name")
        if secret and (value := _secret_value(cluster, secret, name.removeprefix(source.get("prefix", "")))):
            return value
    return None


def read_database_address(cluster: Cluster, container: Manifest) -> DatabaseAddress | None:
    """Where DATABASE_URL points, without its password; None when it names no PostgreSQL."""
    url = read_variable(cluster, container, "DATABASE_URL")
    return deployments.parse_database_url(url) if url else None


def _secret_value(cluster: Cluster, secret: str, key: str) -> str | None:
    found = (cluster.read("Secret", secret) or {}).get("data") or {}
    return base64.b64decode(found[key]).decode() if key in found else None
