"""PATCH: chooses the patch by its media type and stores the outcome."""

from http import HTTPStatus
from typing import Any

from local.kubernetes.api_server import patches
from local.kubernetes.api_server.patches import PatchFailed
from local.kubernetes.api_server.request import Options, Target
from local.kubernetes.api_server.strategic_merge import strategic_merge_patch
from local.kubernetes.model import go_words, status_errors
from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object, copy_of
from local.kubernetes.model.schema import schema_of
from local.kubernetes.model.status_errors import ApiError, Cause, bad_request
from local.kubernetes.registry.decoding import WrongType, decode, read, wrong_shape
from local.kubernetes.registry.registry import Registry

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_MEDIA_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY)
_GO_MAP, _GO_OPERATIONS = "map[string]interface {}", "[]handlers.jsonPatchOp"


def check_media_type(media_type: str, target: Target) -> None:
    """Refuse a patch of a type that the kind does not take."""
    known = [one for one in _MEDIA_TYPES if one != STRATEGIC_PATCH or not target.resource.custom]
    if media_type not in known:
        own = f"the body of the request was in an unknown format - accepted media types include: {', '.join(known)}"
        raise ApiError(415, own if target.resource.custom else "415: Unsupported Media Type", details={})


def patched(document: Object, patch: Any, media_type: str, target: Target) -> Object:
    """Return the document after one of the three patches; nothing is stored."""
    check_media_type(media_type, target)
    _check_shape(patch, media_type)
    try:
        match media_type:
            case "application/json-patch+json":
                return patches.json_patch(document, patch)
            case "application/merge-patch+json":
                merged: Object = patches.merge_patch(document, patch)
                return merged
        return strategic_merge_patch(document, patch, schema_of(target.resource))
    except PatchFailed as error:
        raise _failed(error) from error


def _check_shape(patch: Any, media_type: str) -> None:
    wanted, go_type = (list, _GO_OPERATIONS) if media_type == JSON_PATCH else (dict, _GO_MAP)
    if not isinstance(patch, wanted):
        problem = wrong_shape(patch, go_type)
        raise bad_request(problem if media_type == STRATEGIC_PATCH else f"error decoding patch: {problem}")


def _failed(error: PatchFailed) -> ApiError:
    """Source: apiserver, endpoints/handlers/patch.go, interpretStrategicMergePatchError."""
    if error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return ApiError(422, "the server rejected our request due to an error in our request", details={})
    return ApiError(error.code, str(error), "" if error.code == HTTPStatus.INTERNAL_SERVER_ERROR else None)


def read_patched(
    document: Any, patch: Any, media_type: str, resource: Resource, options: Options
) -> tuple[Object, list[str]]:
    """Read what a patch made of a document as the kind that it is to be; returns it and the warnings."""
    shown = go_words.to_text(patch) if media_type == STRATEGIC_PATCH else go_words.to_json(document)
    try:
        decoded = read(document, resource)
    except WrongType as error:
        raise status_errors.invalid_patch(shown, str(error)) from error
    problem, warnings = options.judge(decoded)
    if problem:
        raise status_errors.invalid_patch(shown, problem)
    return decoded.value, warnings


def patch_object(
    registry: Registry, target: Target, patch: Any, media_type: str, options: Options
) -> tuple[Object, list[str]]:
    """Patch an object, or the part of it that a subresource stands for; returns it and the warnings."""
    check_media_type(media_type, target)
    current = registry.get(target.key)
    new = patched(copy_of(current), patch, media_type, target)
    if isinstance(new, dict) and isinstance(new.get("metadata"), dict) and not new["metadata"].get("resourceVersion"):
        new["metadata"].pop("resourceVersion", None)
    given, warnings = read_patched(new, patch, media_type, target.resource, options)
    return registry.update(target.key, given, options.writer, target.subresource), warnings


def apply_object(registry: Registry, target: Target, configuration: Any, options: Options) -> tuple[Object, bool]:
    """Server-side apply; returns the object and whether it is new."""
    resource = target.resource
    if not options.text("fieldManager"):
        cause = Cause.required("fieldManager", "is required for apply patch")
        raise status_errors.invalid_options("PatchOptions", [cause])
    _check_shape(configuration, APPLY)
    decoded = decode(configuration, resource, literally=True)
    if decoded.unknown:
        where = f"{target.namespace}/{target.name}; {resource.api_version}, Kind={resource.kind}"
        raise ApiError(
            500, f"failed to create typed patch object ({where}): .{decoded.unknown[0]}: field not declared in schema"
        )
    metadata = decoded.value.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if "name" not in metadata and registry.store.get(target.key) is None:
        raise bad_request(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
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
