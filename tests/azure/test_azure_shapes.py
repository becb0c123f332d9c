"""The stand-in says nothing that Azure would not: every field of its answers is one that the service's SDK knows."""

import inspect
import re
from typing import Any

import pytest
import requests
from azure.mgmt.containerservice import models as aks_models
from azure.mgmt.postgresqlflexibleservers import models as postgres_models
from fix_azure import SUBSCRIPTION, LocalAzure

from shared.adapters.azure_credentials import ARM_SCOPE, credential

GROUP = f"https://management.azure.com/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-webui/providers"
CLUSTER = f"{GROUP}/Microsoft.ContainerService/managedClusters/aks-webui"
SERVER = f"{GROUP}/Microsoft.DBforPostgreSQL/flexibleServers/pg-webui"
ANSWERS = [
    ("GET", CLUSTER, aks_models, "ManagedCluster"),
    ("POST", f"{CLUSTER}/listClusterUserCredential", aks_models, "CredentialResults"),
    ("GET", SERVER, postgres_models, "Server"),
    ("GET", f"{SERVER}/configurations/max_connections", postgres_models, "Configuration"),
]


@pytest.mark.parametrize(("method", "url", "module", "model"), ANSWERS, ids=[a[3] for a in ANSWERS])
def test_every_field_is_known(azure: LocalAzure, method: str, url: str, module: Any, model: str) -> None:
    cluster = {"kubeconfig": "kubeconfig", "entra": True, "private_fqdn": "aks.privatelink.westeurope.azmk8s.io"}
    azure.configure(clusters={"rg-webui/aks-webui": cluster})
    token = credential(None).get_token(ARM_SCOPE).token
    answer = requests.request(
        method, url, params={"api-version": "2026-01-01"}, headers={"Authorization": f"Bearer {token}"}, timeout=5
    )
    assert answer.status_code == 200
    assert unknown(module, model, answer.json()) == []


def test_a_field_that_is_not_known_would_be_seen() -> None:
    body = {"name": "x", "properties": {"fqdn": "y", "storage": {"sizeGB": 1}}}
    assert unknown(postgres_models, "Server", body) == ["Server.properties.fqdn", "Server.properties.storage.sizeGB"]


def unknown(module: Any, model: str, body: dict[str, Any], where: str = "") -> list[str]:
    """The fields of the answer that the model lacks, by their place."""
    kind = getattr(module, model)
    kind({})  # fills the table of fields
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        hints |= inspect.get_annotations(base)
    fields = {field._rest_name: str(hints.get(name, "")) for name, field in kind._attr_to_rest_field.items()}
    found = []
    for key, value in body.items():
        place = f"{where or model}.{key}"
        inner = next((n for n in re.findall(r"[A-Z]\w+", fields.get(key, "")) if hasattr(module, n)), "")
        if key not in fields:
            found.append(place)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and inner:
                found += unknown(module, inner, item, place)
    return found
