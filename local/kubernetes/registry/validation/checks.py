"""What the API server refuses although it is well-formed: each rule yields causes, and a 422 lists them all at once.

Source: pkg/apis/*/validation/validation.go of Kubernetes 1.36; here are the rules that a migration can run into.
"""

from typing import Any

from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object, annotations_of, labels_of, name_of
from local.kubernetes.model.schema import Schema, Shape, schema_of
from local.kubernetes.model.status_errors import Cause
from local.kubernetes.registry.validation import configuration, names, stateful_sets, storage, workloads
from local.kubernetes.registry.validation.rules import Causes, ChangeRules, Rules

_RULES: Rules = {**workloads.RULES, **stateful_sets.RULES, **storage.RULES, **configuration.RULES}
_CHANGE_RULES: ChangeRules = {
    **workloads.CHANGE_RULES,
    **stateful_sets.CHANGE_RULES,
    **storage.CHANGE_RULES,
    **configuration.CHANGE_RULES,
}
_NAMED_BY_LABEL = ("Namespace", "Service", "StatefulSet")
_LONGEST_NAME, _LARGEST_ANNOTATIONS = 253, 256 * 1024


def find_causes(resource: Resource, obj: Object, old: Object | None) -> list[Cause]:
    """Return everything wrong with `obj`, which replaces `old` or is new."""
    causes = [*_metadata(resource, obj)]
    if old is not None and _content(obj) == _content(old):
        return causes
    causes += _required(obj, schema_of(resource), "")
    if not causes:
        rule, change_rule = _RULES.get(resource.kind), _CHANGE_RULES.get(resource.kind)
        causes += rule(obj) if rule else ()
        causes += change_rule(obj, old) if change_rule and old is not None else ()
    return causes


def _content(obj: Object) -> Object:
    """Return what the rules look at: a status is whatever its controller says."""
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _metadata(resource: Resource, obj: Object) -> Causes:
    name = name_of(obj)
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
        return
    if resource.kind in _NAMED_BY_LABEL:
        for problem in names.label_problems(name):
            yield Cause.invalid("metadata.name", name, problem)
    elif not names.SUBDOMAIN.fullmatch(name):
        yield Cause.invalid("metadata.name", name, names.SUBDOMAIN_RULE)
    if len(name) > _LONGEST_NAME:
        yield Cause("metadata.name", f"Too long: may not be more than {_LONGEST_NAME} bytes", "FieldValueTooLong")
    for value in labels_of(obj).values():
        if len(value) > names.LONGEST_LABEL or not names.LABEL_VALUE.fullmatch(value):
            yield Cause.invalid("metadata.labels", value, names.LABEL_VALUE_RULE)
    if sum(len(key) + len(value) for key, value in annotations_of(obj).items()) > _LARGEST_ANNOTATIONS:
        yield Cause(
            "metadata.annotations", f"Too long: may not be more than {_LARGEST_ANNOTATIONS} bytes", "FieldValueTooLong"
        )


def _required(value: Any, schema: Schema, path: str) -> Causes:
    """Find fields that the schema requires; a missing list, and anything in status, is merely empty in Go."""
    if schema.shape is Shape.STRUCT and isinstance(value, dict):
        for name in sorted(schema.required - value.keys()):
            if schema.fields[name].shape is not Shape.LIST:
                yield Cause.required(f"{path}{name}")
        for name, child in value.items():
            if name != "status":
                yield from _required(child, schema.child(name), f"{path}{name}.")
    elif schema.shape is Shape.LIST and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _required(item, schema.element or schema, f"{path[:-1]}[{index}].")
