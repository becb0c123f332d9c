"""The body of a request: JSON, or YAML where a client sends it, and the refusals of one that is something else."""

import json
from typing import Any

import yaml
from aiohttp import web

from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object
from local.kubernetes.model.status_errors import bad_request
from local.kubernetes.registry.decoding import Decoded, WrongType, decode, read, wrong_shape

_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_LONGEST_SUMMARY = 30


async def read_any(request: web.Request) -> Any:
    """Return the parsed body; None when there is none."""
    text = await request.text()
    if not text.strip():
        return None
    try:
        return yaml.safe_load(text) if "yaml" in request.content_type and text[0] != "{" else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"error decoding the body: {error}") from error


async def read_object(request: web.Request, resource: Resource) -> Decoded:
    """Return the body as an object of a kind.

    Source: apiserver, endpoints/handlers/rest.go, transformDecodeError.
    """
    body = await read_any(request)
    if not isinstance(body, dict):
        problem = f"couldn't get version/kind; json parse error: {wrong_shape(body, _TYPE_META)}"
        summary = _summary((await request.text()).encode())
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): {problem} ({summary})"
        )
    return decode(body, resource)


async def read_options(request: web.Request, kind: Resource) -> Object:
    """Return a body that may be left out: an empty object."""
    body = await read_any(request)
    try:
        return read({} if body is None else body, kind).value
    except WrongType as error:
        raise bad_request(str(error)) from error


def _summary(body: bytes) -> str:
    if not body:
        return "<empty>"
    if body[:1] == b"{":
        return body[:_LONGEST_SUMMARY].decode(errors="replace") + (" ..." if len(body) > _LONGEST_SUMMARY else "")
    half = _LONGEST_SUMMARY // 2
    return body[:half].hex() + (" ..." if len(body) > half else "")
