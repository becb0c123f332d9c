"""What a container would see of a variable, wherever it comes from. A secret value is for the caller alone."""

import base64

from shared import deployments
from shared.pooling import DIRECT_PORT_VARIABLE, direct
from shared.ports import Cluster, Manifest
from shared.survey import DatabaseAddress


def read_variable(cluster: Cluster, container: Manifest, name: str) -> str | None:
    """The variable's value: the container's `env` first, then the last of its `envFrom` that has it; None where it
    cannot be told."""
    entry = deployments.environment_entry(container, name)
    if entry is not None:
        reference = entry.get("valueFrom") or {}
        for key, read in (("secretKeyRef", _read_secret), ("configMapKeyRef", _read_config_map)):
            if key in reference:
                return read(cluster, reference[key]["name"]).get(reference[key]["key"])
        value = entry.get("value")
        return None if value is None else str(value)
    return read_sources(cluster, container).get(name)


def read_sources(cluster: Cluster, container: Manifest) -> dict[str, str]:
    """What the container gets by `envFrom`. Source: Kubernetes, EnvFromSource: a later source wins."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for key, read in (("secretRef", _read_secret), ("configMapRef", _read_config_map)):
            if key in source:
                entries = read(cluster, source[key]["name"])
                found |= {f"{source.get('prefix', '')}{name}": value for name, value in entries.items()}
    return found


def read_database_address(cluster: Cluster, container: Manifest) -> DatabaseAddress | None:
    """The server behind DATABASE_URL, without the password; None when it names no PostgreSQL."""
    url = read_variable(cluster, container, "DATABASE_URL")
    address = deployments.parse_database_url(url) if url else None
    return direct(address, read_variable(cluster, container, DIRECT_PORT_VARIABLE)) if address else None


def _read_secret(cluster: Cluster, name: str) -> dict[str, str]:
    held = (cluster.read("Secret", name) or {}).get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in held.items()}


def _read_config_map(cluster: Cluster, name: str) -> dict[str, str]:
    return dict((cluster.read("ConfigMap", name) or {}).get("data") or {})
