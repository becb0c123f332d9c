"""Collections: listing them page by page, deleting what a selector picks."""

import base64
import json
from typing import Any

from local.kubernetes.api_server.request import Options, Target
from local.kubernetes.model.kinds import Resource
from local.kubernetes.model.objects import Object, name_of, namespace_of
from local.kubernetes.model.selectors import Predicate
from local.kubernetes.model.status_errors import bad_request
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import Store


def list_objects(store: Store, target: Target, options: Options) -> Object:
    """Answer a list; with `limit`, one page of it and a token for the next."""
    picks = options.picks(target)
    after = _read_token(options.text("continue"))
    found = [obj for obj in store.all_of(target.resource, target.namespace) if picks(obj) and _position(obj) > after]
    limit = options.number("limit") or len(found)
    page, rest = found[:limit], found[limit:]
    metadata: Object = {"resourceVersion": str(store.revision)}
    if rest:
        metadata["continue"] = _write_token(_position(page[-1]))
        if not options.text("labelSelector") and not options.text("fieldSelector"):
            metadata["remainingItemCount"] = len(rest)
    return as_list(target.resource, page, metadata)


def as_list(resource: Resource, items: list[Object], metadata: Object) -> Object:
    """Wrap items as their kind's list; the items leave out what the list already says."""
    bare = [{name: value for name, value in item.items() if name not in ("kind", "apiVersion")} for item in items]
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": bare}


def delete_objects(registry: Registry, target: Target, picks: Predicate, deletion: Deletion) -> Object:
    """Delete every object that is picked; answers with what they were."""
    chosen = [obj for obj in registry.store.all_of(target.resource, target.namespace) if picks(obj)]
    deleted = [registry.delete(key_of(target.resource, obj), deletion)[0] for obj in chosen]
    return as_list(target.resource, deleted, {"resourceVersion": str(registry.store.revision)})


def _position(obj: Object) -> tuple[str, str]:
    return namespace_of(obj), name_of(obj)


def _write_token(position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    if not token:
        return "", ""
    try:
        position: Any = json.loads(base64.urlsafe_b64decode(token))
        namespace, name = position
    except ValueError as error:
        raise bad_request("continue key is not valid") from error
    return str(namespace), str(name)
