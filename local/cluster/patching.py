"""PATCH: chooses the patch by its media type and stores the outcome."""

from typing import Any

from local.cluster import patches, status_errors
from local.cluster.objects import Object, copy_of
from local.cluster.patches import PatchFailed
from local.cluster.registry import Registry
from local.cluster.request import Options, Target
from local.cluster.schema import decode, schema_of
from local.cluster.status_errors import ApiError, Cause, bad_request
from local.cluster.strategic_merge import strategic_merge_patch

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_MEDIA_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY)


def patched(document: Object, patch: Any, media_type: str, target: Target) -> Object:
    """Return the document after one of the three patches; nothing is stored."""
    if media_type in (MERGE_PATCH, STRATEGIC_PATCH) and not isinstance(patch, dict):
        raise bad_request(f"json: cannot unmarshal {type(patch).__name__} into a patch, which is an object")
    try:
        match media_type:
            case "application/json-patch+json":
                return patches.json_patch(document, patch)
            case "application/merge-patch+json":
                merged: Object = patches.merge_patch(document, patch)
                return merged
            case "application/strategic-merge-patch+json" if not target.resource.custom:
                return strategic_merge_patch(document, patch, schema_of(target.resource))
    except PatchFailed as error:
        message = "the server rejected our request due to an error in our request"
        raise ApiError(422, message, details={"causes": [{"message": str(error)}]}) from error
    known = ", ".join(one for one in _MEDIA_TYPES if one != STRATEGIC_PATCH or not target.resource.custom)
    raise ApiError(415, f"the body of the request was in an unknown format - accepted media types include: {known}")


def patch_object(
    registry: Registry, target: Target, patch: Any, media_type: str, options: Options
) -> tuple[Object, list[str]]:
    """Patch an object, or the part of it that a subresource stands for; returns it and the warnings."""
    current = registry.get(target.key)
    new = patched(copy_of(current), patch, media_type, target)
    if not new["metadata"].get("resourceVersion"):
        new["metadata"].pop("resourceVersion", None)
    given, warnings = options.check(decode(new, target.resource), target.resource)
    return registry.update(target.key, given, options.writer, target.subresource), warnings


def apply_object(registry: Registry, target: Target, configuration: Any, options: Options) -> tuple[Object, bool]:
    """Server-side apply; returns the object and whether it is new."""
    resource = target.resource
    if not options.text("fieldManager"):
        cause = Cause.required("fieldManager", "is required for apply patch")
        raise ApiError(422, f'PatchOptions.meta.k8s.io "" is invalid: {cause.field}: {cause.message}', details={})
    decoded = decode(configuration, resource)
    if decoded.unknown:
        where = f"{target.namespace}/{target.name}; {resource.api_version}, Kind={resource.kind}"
        raise ApiError(
            500, f"failed to create typed patch object ({where}): .{decoded.unknown[0]}: field not declared in schema"
        )
    metadata = decoded.value.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if metadata.setdefault("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    _check_version(registry, target, metadata.pop("resourceVersion", None))
    return registry.apply(target.key, decoded.value, options.writer, target.subresource)


def _check_version(registry: Registry, target: Target, expected: str | None) -> None:
    current = registry.store.get(target.key)
    if expected and current is not None and current["metadata"]["resourceVersion"] != expected:
        raise status_errors.modified_meanwhile(target.resource, target.name)
