"""Label selectors and field selectors: what a list, a watch or a controller picks."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object, labels_of
from local.kubernetes.model.status_errors import bad_request

type Predicate = Callable[[Object], bool]

_EQUALITY = re.compile(r"([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)")
_MEMBERSHIP = re.compile(r"([\w./-]+)\s+(in|notin)\s+\(([^()]*)\)")
_EXISTENCE = re.compile(r"(!?)\s*([\w./-]+)")
_TOP_LEVEL_COMMA = re.compile(r",(?![^()]*\))")

# Kinds that know more fields than every kind does. Source: pkg/apis/*/v1/conversion.go, AddFieldLabelConversionFunc.
_FIELDS: Mapping[str, frozenset[str]] = {
    "Pod": frozenset(
        {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork"}
        | {"status.phase", "status.podIP", "status.nominatedNodeName"}
    ),
    "Service": frozenset({"spec.clusterIP", "spec.type"}),
    "Node": frozenset({"spec.unschedulable"}),
    "Namespace": frozenset({"status.phase"}),
    "Secret": frozenset({"type"}),
    "Job": frozenset({"status.successful"}),
    "ReplicaSet": frozenset({"status.replicas"}),
    "Event": frozenset(
        {"reason", "reportingComponent", "source", "type"}
        | {
            f"involvedObject.{name}"
            for name in ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid")
        }
    ),
}
_COMMON_FIELDS = frozenset({"metadata.name", "metadata.namespace"})


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `operator` is In, NotIn, Exists or DoesNotExist, as in a LabelSelector."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """A label that is not there fulfils NotIn, as in Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
        return self.key not in labels


type Selector = tuple[Requirement, ...]


def parse_labels(text: str) -> Selector:
    """Read the notation of a query parameter: `app=a,tier in (x,y),!legacy`."""
    return tuple(_parse_requirement(term.strip()) for term in _TOP_LEVEL_COMMA.split(text) if term.strip())


def _parse_requirement(term: str) -> Requirement:
    if found := _EQUALITY.fullmatch(term):
        return Requirement(found[1], "NotIn" if found[2] == "!=" else "In", frozenset({found[3]}))
    if found := _MEMBERSHIP.fullmatch(term):
        values = frozenset(value.strip() for value in found[3].split(","))
        return Requirement(found[1], "In" if found[2] == "in" else "NotIn", values)
    if found := _EXISTENCE.fullmatch(term):
        return Requirement(found[2], "DoesNotExist" if found[1] else "Exists")
    raise bad_request(f"unable to parse requirement: found '{term}'")


def from_object(selector: Mapping[str, Any] | None) -> Selector:
    """Read a LabelSelector object (`matchLabels`, `matchExpressions`); an empty one picks everything."""
    selector = selector or {}
    equal = (Requirement(key, "In", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items())
    return (*equal, *from_expressions(selector.get("matchExpressions") or ()))


def from_expressions(expressions: Sequence[Mapping[str, Any]]) -> Selector:
    return tuple(Requirement(e["key"], e["operator"], frozenset(e.get("values") or ())) for e in expressions)


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    return all(requirement.matches(labels) for requirement in selector)


def to_words(selector: Mapping[str, Any] | None) -> str:
    """Return a LabelSelector object in the notation of a query parameter, as a Scale's status shows it."""
    words = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for expression in (selector or {}).get("matchExpressions") or ():
        values = ",".join(sorted(expression.get("values") or ()))
        key = expression["key"]
        words.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(
                expression["operator"], f"!{key}"
            )
        )
    return ",".join(words)


def predicate(resource: Resource, namespace: str, labels: str, fields: str) -> Predicate:
    """Combine a request's namespace and its two selectors."""
    by_label, by_field = parse_labels(labels), _parse_fields(resource, fields)

    def picks(obj: Object) -> bool:
        return (
            (not namespace or obj["metadata"].get("namespace") == namespace)
            and matches(by_label, labels_of(obj))
            and all((_field(obj, path) == value) is wanted for path, wanted, value in by_field)
        )

    return picks


def _parse_fields(resource: Resource, text: str) -> list[tuple[str, bool, str]]:
    terms = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"([\w.]+)(==|=|!=)(.*)", term)
        if found is None:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        if found[1] not in _COMMON_FIELDS | _FIELDS.get(resource.kind, frozenset()):
            raise bad_request(_unknown_field(resource, found[1]))
        terms.append((found[1], found[2] != "!=", found[3]))
    return terms


def _unknown_field(resource: Resource, field: str) -> str:
    match resource.kind:
        case "Job":
            return f'field label "{field}" not supported for batchv1.Job'
        case kind if kind in _FIELDS:
            return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
