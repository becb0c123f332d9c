"""prometheus-operator as a cluster knows it: its definitions, and a Prometheus that says which rules it takes.

The schemas are cut down to what rules need. Source: prometheus-operator 0.93, monitoring.coreos.com_prometheusrules and
_prometheuses.
"""

from typing import Any

from kubernetes import client

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


def install(api: client.ApiClient) -> None:
    """Bring the definitions into a cluster, and a Prometheus as the usual chart makes it."""
    extensions: Any = client.ApiextensionsV1Api(api)
    for definition in definitions():
        extensions.create_custom_resource_definition(definition)
    custom: Any = client.CustomObjectsApi(api)
    usual = prometheus("kube-prometheus-stack-prometheus", NAMESPACE, ruleSelector=USUAL, ruleNamespaceSelector={})
    custom.create_namespaced_custom_object(GROUP, "v1", NAMESPACE, "prometheuses", usual)


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
