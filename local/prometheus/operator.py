"""prometheus-operator as a cluster knows it: its definitions, and a Prometheus that says which rules it takes.

The schemas are cut down to what rules need. Source: prometheus-operator 0.93, monitoring.coreos.com_prometheusrules and
_prometheuses.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException, NotFoundException

from shared.errors import VerificationFailed
from shared.wire import JsonObject

GROUP = "monitoring.coreos.com"
NAMESPACE = "default"
USUAL = {"matchLabels": {"release": "kube-prometheus-stack"}}
"""Source: prometheus-community/helm-charts, kube-prometheus-stack: ruleSelectorNilUsesHelmValues."""
_TEXT: JsonObject = {"type": "string"}
_TEXTS: JsonObject = {"type": "object", "additionalProperties": _TEXT}
_RULE: JsonObject = {
    "type": "object",
    "required": ["expr"],
    "properties": {
        "alert": _TEXT,
        "record": _TEXT,
        "expr": {"anyOf": [{"type": "integer"}, _TEXT], "x-kubernetes-int-or-string": True},
        "for": _TEXT,
        "keep_firing_for": _TEXT,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}
_GROUP: JsonObject = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _TEXT,
        "interval": _TEXT,
        "limit": {"type": "integer"},
        "rules": {"type": "array", "items": _RULE},
    },
}
_GROUPS: JsonObject = {
    "type": "array",
    "items": _GROUP,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
_REQUIREMENT: JsonObject = {
    "type": "object",
    "required": ["key", "operator"],
    "properties": {"key": _TEXT, "operator": _TEXT, "values": {"type": "array", "items": _TEXT}},
}
_SELECTOR: JsonObject = {
    "type": "object",
    "x-kubernetes-map-type": "atomic",
    "properties": {"matchLabels": _TEXTS, "matchExpressions": {"type": "array", "items": _REQUIREMENT}},
}


@contextmanager
def brought(api: client.ApiClient) -> Iterator[bool]:
    """Bring the definitions into a cluster, and a Prometheus as the usual chart makes it, until the block ends.

    Yields False, and brings nothing, where the cluster has them already: an operator may be at work there.
    """
    extensions: Any = client.ApiextensionsV1Api(api)
    present = {one.metadata.name for one in extensions.list_custom_resource_definition().items}
    wanted = definitions()
    if present & {one["metadata"]["name"] for one in wanted}:
        yield False
        return
    try:
        for definition in wanted:
            extensions.create_custom_resource_definition(definition)
        _create_prometheus(api)
        yield True
    finally:
        for definition in wanted:
            with suppress(ApiException):  # its objects go with it
                extensions.delete_custom_resource_definition(definition["metadata"]["name"])


def _create_prometheus(api: client.ApiClient) -> None:
    """A definition is served a moment after it was created; until then its path is not found."""
    custom: Any = client.CustomObjectsApi(api)
    usual = prometheus("kube-prometheus-stack-prometheus", NAMESPACE, ruleSelector=USUAL, ruleNamespaceSelector={})
    for _ in range(50):
        with suppress(NotFoundException):
            custom.create_namespaced_custom_object(GROUP, "v1", NAMESPACE, "prometheuses", usual)
            return
        time.sleep(0.2)
    raise VerificationFailed(f"the cluster does not serve {GROUP}, whose definitions were created")


def definitions() -> list[JsonObject]:
    """The CustomResourceDefinitions of rules and of Prometheuses."""
    selectors = {"ruleSelector": _SELECTOR, "ruleNamespaceSelector": _SELECTOR}
    return [
        _definition("PrometheusRule", "prometheusrules", "promrule", {"groups": _GROUPS}),
        _definition("Prometheus", "prometheuses", "prom", selectors),
    ]


def prometheus(name: str, namespace: str, **spec: Any) -> JsonObject:
    """A Prometheus with these selectors."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{GROUP}/v1", "kind": "Prometheus", "metadata": metadata, "spec": spec}


def _definition(kind: str, plural: str, short: str, fields: JsonObject) -> JsonObject:
    properties = {
        "apiVersion": _TEXT,
        "kind": _TEXT,
        "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": fields},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    schema = {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List", "shortNames": [short]}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
