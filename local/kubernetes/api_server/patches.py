"""The two standard patches, as pure functions from a document and a patch to a new document.

JSON Patch (RFC 6902) comes from `jsonpatch`; JSON Merge Patch (RFC 7386) is six lines. Kubernetes' own is in
`strategic_merge`.
"""

from typing import Any

import jsonpatch

from local.kubernetes.model.objects import Object

_UNPROCESSABLE = 422


class PatchFailed(Exception):
    """The patch does not apply to this document: a failed test, a path that is not there. `code` is the HTTP status."""

    def __init__(self, message: str, code: int = _UNPROCESSABLE) -> None:
        super().__init__(message)
        self.code = code


def json_patch(document: Object, operations: Any) -> Object:
    try:
        patched: Object = jsonpatch.apply_patch(document, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
        raise PatchFailed(str(error)) from error
    return patched


def merge_patch(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
