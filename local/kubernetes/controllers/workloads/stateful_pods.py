"""The pods of a StatefulSet, pure: their names, and what makes a pod the same as the one before it.

Source: pkg/controller/statefulset/stateful_set_utils.go of Kubernetes 1.36.
"""

import re

from local.kubernetes.controllers.workloads.revisions import template_in
from local.kubernetes.controllers.workloads.stateful_claims import claims_of
from local.kubernetes.model.objects import Object, controller_reference, name_of

REVISION = "controller-revision-hash"
_POD_NAME = "statefulset.kubernetes.io/pod-name"
_POD_INDEX = "apps.kubernetes.io/pod-index"
_NUMBERED = re.compile(r"(.*)-([0-9]+)")


def ordinal_of(stateful_set: Object, pod: Object) -> int | None:
    """Return a pod's number; None for a pod whose name is not the set's and a number."""
    found = _NUMBERED.fullmatch(name_of(pod))
    return int(found[2]) if found and found[1] == name_of(stateful_set) else None


def pod_of(stateful_set: Object, revision: Object, ordinal: int) -> Object:
    """Return the new pod of a number, made from a revision's template."""
    template, name = template_in(revision), f"{name_of(stateful_set)}-{ordinal}"
    given = template.get("metadata") or {}
    own = {REVISION: name_of(revision), _POD_NAME: name, _POD_INDEX: str(ordinal)}
    metadata = {
        "name": name,
        "generateName": f"{name_of(stateful_set)}-",
        "labels": {**(given.get("labels") or {}), **own},
        "annotations": given.get("annotations"),
        "finalizers": given.get("finalizers"),
        "ownerReferences": [controller_reference(stateful_set)],
    }
    spec = {
        **template["spec"],
        "hostname": name,
        "subdomain": stateful_set["spec"]["serviceName"],  # whether or not there is such a Service
        "volumes": _volumes(stateful_set, template["spec"], ordinal),
    }
    return {"metadata": _without_nothing(metadata), "spec": _without_nothing(spec)}


def _volumes(stateful_set: Object, spec: Object, ordinal: int) -> list[Object]:
    """Return the template's volumes, after the claims, which take the place of volumes of the same name."""
    templates = stateful_set["spec"].get("volumeClaimTemplates") or ()
    claims = [
        {"name": name_of(template), "persistentVolumeClaim": {"claimName": name_of(claim)}}
        for template, claim in zip(templates, claims_of(stateful_set, ordinal), strict=True)
    ]
    claimed = {volume["name"] for volume in claims}
    return [*claims, *(volume for volume in spec.get("volumes") or () if volume["name"] not in claimed)]


def _without_nothing(values: Object) -> Object:
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}
