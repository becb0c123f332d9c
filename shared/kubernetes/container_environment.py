"""What a container sees of a variable, wherever it comes from, resolved as the kubelet does. A secret value is for the
caller alone.

Source: Kubernetes 1.36.2, pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables): `envFrom` in order, then `env` in
order, each `$(NAME)` from what is known by then.
"""

import base64
from collections.abc import Iterable

from shared.kubernetes import deployments
from shared.kubernetes.environment_order import expanded, references, with_references
from shared.kubernetes.pgbouncer import DIRECT_PORT_VARIABLE, direct
from shared.model.ports import Cluster, Manifest
from shared.model.survey import DatabaseAddress
from shared.transfer.database_url import COMPOSED_FROM, effective_url


def read_variable(cluster: Cluster, container: Manifest, name: str) -> str | None:
    """The variable's value; None where it is not set, or set from what only the node knows."""
    return read_variables(cluster, container, (name,)).get(name)


def read_variables(cluster: Cluster, container: Manifest, names: Iterable[str]) -> dict[str, str]:
    """The values of these variables, as far as they are set. Reads only the Secrets that they come from."""
    wanted = set(names)
    entries = with_references(container.get("env") or [], wanted)
    own = {str(entry["name"]) for entry in entries}
    needed = wanted | {name for entry in entries for name in references(entry)}
    values = read_sources(cluster, container) if needed - own or _refers_to_itself(entries) else {}
    for entry in entries:
        value = _read_entry(cluster, entry, values)
        if value is not None:
            values[str(entry["name"])] = value
    return {name: value for name, value in values.items() if name in wanted}


def names_with_value(cluster: Cluster, container: Manifest, decisive: Iterable[str]) -> tuple[str, ...]:
    """The names that the container has; of the decisive ones only those with a value, since Open WebUI takes an empty
    one for not set (source: facts §8)."""
    listed = [str(entry["name"]) for entry in container.get("env") or []]
    names = dict.fromkeys([*listed, *read_sources(cluster, container)])
    decisive = set(decisive) & set(names)
    empty = {name for name, value in read_variables(cluster, container, decisive).items() if not value.strip()}
    return tuple(name for name in names if name not in empty)


def read_sources(cluster: Cluster, container: Manifest) -> dict[str, str]:
    """What the container gets by `envFrom`. Source: Kubernetes, EnvFromSource: a later source wins."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for key, read in (("secretRef", _read_secret), ("configMapRef", _read_config_map)):
            if key in source:
                entries = read(cluster, source[key]["name"])
                found |= {f"{source.get('prefix', '')}{name}": value for name, value in entries.items()}
    return found


def read_database_url(cluster: Cluster, container: Manifest) -> str:
    """The application database's URL, password and all; empty where there is none."""
    return effective_url(read_variables(cluster, container, ("DATABASE_URL", *COMPOSED_FROM)))


def read_database_address(cluster: Cluster, container: Manifest) -> DatabaseAddress | None:
    """The server behind it, without the password; None when it names no PostgreSQL."""
    address = deployments.parse_database_url(read_database_url(cluster, container))
    return direct(address, read_variable(cluster, container, DIRECT_PORT_VARIABLE)) if address else None


def _read_entry(cluster: Cluster, entry: Manifest, known: dict[str, str]) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expanded(str(entry.get("value") or ""), known)
    for key, read in (("secretKeyRef", _read_secret), ("configMapKeyRef", _read_config_map)):
        if key in source:
            return read(cluster, source[key]["name"]).get(source[key]["key"])
    return None


def _refers_to_itself(entries: Iterable[Manifest]) -> bool:
    return any(entry["name"] in references(entry) for entry in entries)


def _read_secret(cluster: Cluster, name: str) -> dict[str, str]:
    held = (cluster.read("Secret", name) or {}).get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in held.items()}


def _read_config_map(cluster: Cluster, name: str) -> dict[str, str]:
    return dict((cluster.read("ConfigMap", name) or {}).get("data") or {})
