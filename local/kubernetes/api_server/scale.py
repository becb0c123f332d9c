"""The scale subresource: a Deployment, ReplicaSet or StatefulSet seen as nothing but a number of replicas."""

from typing import Any

from local.kubernetes.api_server.patching import patched, read_patched
from local.kubernetes.api_server.request import Options, Target
from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import SCALE
from local.kubernetes.model.objects import Object, copy_of, status_of
from local.kubernetes.model.status_errors import modified_meanwhile
from local.kubernetes.registry.registry import Registry

_SHOWN_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Object) -> Object:
    """Return the Scale of an object. Zero replicas are left out, as Go's `omitempty` does."""
    replicas = obj["spec"].get("replicas", 0)
    selector = selectors.to_words(obj["spec"].get("selector"))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: obj["metadata"][name] for name in _SHOWN_METADATA},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": status_of(obj).get("replicas", 0), "selector": selector},
    }


def set_scale(registry: Registry, target: Target, body: Any, options: Options, *, media_type: str | None) -> Object:
    """Replace the Scale (no media type) or patch it; only `spec.replicas` has an effect."""
    current = registry.get(target.key)
    if media_type:
        document = patched(scale_of(current), body, media_type, target)
        scale, _ = read_patched(document, body, media_type, SCALE, options)
    else:
        scale = body
    replicas = scale.get("spec", {}).get("replicas", 0)
    expected = scale.get("metadata", {}).get("resourceVersion")
    if expected and expected != current["metadata"]["resourceVersion"]:
        raise modified_meanwhile(target.resource, target.name)
    new = copy_of(current)
    new["spec"]["replicas"] = replicas
    return scale_of(registry.update(target.key, new, options.writer, "scale"))
