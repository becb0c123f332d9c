"""Which labels a PrometheusRule needs, so that a Prometheus of prometheus-operator takes it. Pure.

A rule that no Prometheus selects is ignored without a word; the usual chart selects by `release: <its name>`. Source:
prometheus-operator, API reference: PrometheusSpec, ruleSelector and ruleNamespaceSelector: none selects nothing (for
namespaces: only its own), an empty one everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.model.ports import Manifest

NAME_LABEL = "kubernetes.io/metadata.name"
"""Every namespace carries it. Source: kubernetes.io, well-known labels."""


@dataclass(frozen=True, slots=True)
class Taker:
    """A Prometheus that takes rules of our namespace, and what they must carry."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


def find_taker(prometheuses: Sequence[Manifest], namespace: str) -> Taker | None:
    """The first that takes rules of this namespace; None: there is none, or only with selectors that we cannot meet."""
    for found in prometheuses:
        spec, home = found.get("spec") or {}, found["metadata"]["namespace"]
        labels = labels_for(spec.get("ruleSelector"))
        if labels is not None and _looks_into(spec.get("ruleNamespaceSelector"), home, namespace):
            return Taker(f"{home}/{found['metadata']['name']}", labels)
    return None


def labels_for(selector: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Labels that satisfy a selector; None: nothing does, or it asks for more than we understand."""
    if selector is None:
        return None
    labels = dict(selector.get("matchLabels") or {})
    for wanted in selector.get("matchExpressions") or []:
        key, values = wanted["key"], wanted.get("values") or []
        match wanted["operator"]:
            case "In" if labels.get(key, values[0]) in values:
                labels.setdefault(key, values[0])
            case "Exists":
                labels.setdefault(key, "true")
            case "DoesNotExist" if key not in labels:
                pass
            case "NotIn" if labels.get(key) not in values:
                pass
            case _:
                return None
    return labels


def _looks_into(selector: Mapping[str, Any] | None, home: str, namespace: str) -> bool:
    """Only names of namespaces can be judged: their other labels are not read."""
    if selector is None:
        return home == namespace
    wanted = labels_for(selector)
    return wanted is not None and wanted in ({}, {NAME_LABEL: namespace})
