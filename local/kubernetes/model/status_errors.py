"""Refusals as the API states them: an HTTP status, a machine-readable reason and a sentence, in a `Status` object.

The sentences are those of the real API server, because people and programs match on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local.kubernetes.model.go_words import bad_value, quoted
from local.kubernetes.model.kinds import Resource

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class ApiError(Exception):
    """A request that the API refuses."""

    def __init__(self, code: int, message: str, reason: str | None = None, details: dict[str, Any] | None = None):
        """Without a `reason` it is the one that goes with the code; an empty one is left out."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS[code] if reason is None else reason
        self.details = details

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "code": self.code,
        }
        return body if self.details is None else {**body, "details": self.details}


class PageNotFound(Exception):
    """Nothing is served at a path: the API's router answers, in plain text, and not the API."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with an object: where, and what."""

    field: str
    message: str
    reason: str

    @classmethod
    def required(cls, field: str, hint: str = "") -> "Cause":
        return cls(field, f"Required value: {hint}" if hint else "Required value", "FieldValueRequired")

    @classmethod
    def invalid(cls, field: str, value: Any, why: str) -> "Cause":
        return cls(field, f"Invalid value: {bad_value(value)}: {why}", "FieldValueInvalid")

    @classmethod
    def forbidden(cls, field: str, why: str) -> "Cause":
        return cls(field, f"Forbidden: {why}", "FieldValueForbidden")

    @classmethod
    def duplicate(cls, field: str, value: Any) -> "Cause":
        return cls(field, f"Duplicate value: {bad_value(value)}", "FieldValueDuplicate")

    @classmethod
    def unsupported(cls, field: str, value: Any, supported: Sequence[str]) -> "Cause":
        choices = ", ".join(map(quoted, supported))
        why = f"Unsupported value: {bad_value(value)}: supported values: {choices}"
        return cls(field, why, "FieldValueNotSupported")


def _details(resource: Resource, name: str, **more: Any) -> dict[str, Any]:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural, **more}


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, f'{resource.qualified_name} "{name}" not found', details=_details(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource", details={})


def already_exists(resource: Resource, name: str, *, terminating: bool) -> ApiError:
    prefix = "object is being deleted: " if terminating else ""
    message = f'{prefix}{resource.qualified_name} "{name}" already exists'
    return ApiError(409, message, "AlreadyExists", _details(resource, name))


def precondition_failed(resource: Resource, name: str, why: str) -> ApiError:
    """Return the refusal of a deletion whose precondition does not hold; it names the kind, not the resource."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return _conflict(kind, name, why, {**_details(resource, name), "kind": resource.kind})


def modified_meanwhile(resource: Resource, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return _conflict(resource.qualified_name, name, why, _details(resource, name))


def _conflict(what: str, name: str, why: str, details: dict[str, Any]) -> ApiError:
    return ApiError(409, f'Operation cannot be fulfilled on {what} "{name}": {why}', details=details)


def apply_conflict(message: str, causes: Sequence[Cause]) -> ApiError:
    return ApiError(409, message, details={"causes": _listed(causes)})


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return _invalid(kind, name, causes, {**_details(resource, name), "kind": resource.kind})


def invalid_patch(patch: str, why: str) -> ApiError:
    """Return the refusal of a patch whose outcome is no object of the kind; `patch` is what was decoded."""
    return _invalid("", "", [Cause.invalid("patch", patch, why)], {})


def invalid_options(kind: str, causes: Sequence[Cause]) -> ApiError:
    return _invalid(f"{kind}.meta.k8s.io", "", causes, {"group": "meta.k8s.io", "kind": kind})


def _invalid(kind: str, name: str, causes: Sequence[Cause], details: dict[str, Any]) -> ApiError:
    """List all causes; a sentence that comes twice is said once."""
    sentences = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    what = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    return ApiError(422, f'{kind} "{name}" is invalid: {what}', details={**details, "causes": _listed(causes)})


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    subject = f'{resource.qualified_name} "{name}"' if name else resource.qualified_name
    more = {"causes": _listed(causes)} if causes else {}
    return ApiError(403, f"{subject} is forbidden: {why}", details=_details(resource, name, **more))


def terminating(resource: Resource, name: str, namespace: str) -> ApiError:
    cause = Cause("metadata.namespace", f"namespace {namespace} is being terminated", "NamespaceTerminating")
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return forbidden(resource, name, why, [cause])


def bad_request(message: str) -> ApiError:
    return ApiError(400, message)


def expired(message: str) -> ApiError:
    return ApiError(410, message)


def method_not_allowed() -> ApiError:
    return ApiError(405, "the server does not allow this method on the requested resource", details={})


def success(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": _details(resource, name, uid=uid),
    }


def _listed(causes: Sequence[Cause]) -> list[dict[str, str]]:
    return [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
