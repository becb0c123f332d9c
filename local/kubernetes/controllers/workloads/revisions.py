"""ControllerRevisions: which pod templates a StatefulSet has had, each under a name that is made from its content.

The names are those that a real controller gives: `s1-84d85db6c5` for the template of the recorded
`statefulset-create`.
Source: pkg/controller/history/controller_history.go and pkg/controller/statefulset/stateful_set_utils.go (getPatch,
newRevision) of Kubernetes 1.36.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from local.kubernetes.controllers.ownership import MANAGER, owned_by
from local.kubernetes.model.kinds import CONTROLLER_REVISIONS
from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    controller_reference,
    copy_of,
    name_of,
    namespace_of,
    status_of,
)
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Key

_HASH = "controller.kubernetes.io/hash"
_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_PREFIX = 223
_ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


@dataclass(frozen=True, slots=True)
class Revisions:
    """A StatefulSet's revisions, oldest first."""

    all: tuple[Object, ...]
    current: Object
    """The one that its pods come from."""
    update: Object
    """The one of its template as it is now."""
    collisions: int


def snapshot(template: Object) -> Object:
    """Return a revision's data: the patch that puts the template back."""
    return {"spec": {"template": {**copy_of(template), "$patch": "replace"}}}


def template_in(revision: Object) -> Object:
    template: Object = copy_of(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def hash_of(data: Object, collisions: int) -> str:
    """Return FNV-1 of the data as Go encodes JSON and of the number of collisions, in an alphabet without vowels."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPED)
    number = 0x811C9DC5
    for byte in f"{text}{collisions}".encode():
        number = ((number * 0x01000193) & 0xFFFFFFFF) ^ byte
    return "".join(_HASH_ALPHABET[ord(digit) % len(_HASH_ALPHABET)] for digit in str(number))


class History:
    """Reads and writes the revisions of StatefulSets."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def bring_up_to_date(self, owner: Object) -> Revisions:
        """Have a revision of the owner's template that is its youngest: a new one, or an old one moved up."""
        known, collisions = self._of(owner), status_of(owner).get("collisionCount", 0)
        data = snapshot(owner["spec"]["template"])
        same = [revision for revision in known if revision["data"] == data]
        number = known[-1]["revision"] + 1 if known else 1
        if same and same[-1] is known[-1]:
            update = same[-1]
        elif same:
            key = key_of(CONTROLLER_REVISIONS, same[-1])
            update = self._registry.change(key, lambda found: found.update(revision=number), MANAGER) or same[-1]
        else:
            update, collisions = self._create(owner, data, number, collisions)
        by_name = {name_of(revision): revision for revision in (*known, update)}
        current = by_name.get(status_of(owner).get("currentRevision", ""), update)
        return Revisions(tuple(sorted(by_name.values(), key=_age)), current, update, collisions)

    def forget_old(self, owner: Object, revisions: Revisions, in_use: Iterable[str]) -> None:
        """Delete the oldest beyond the history limit, but none that a pod is made from."""
        live = {name_of(revisions.current), name_of(revisions.update), *in_use}
        past = [revision for revision in revisions.all if name_of(revision) not in live]
        limit = owner["spec"]["revisionHistoryLimit"]
        for revision in past[: max(0, len(past) - limit)] if limit >= 0 else ():
            self._registry.delete(key_of(CONTROLLER_REVISIONS, revision))

    def _of(self, owner: Object) -> Sequence[Object]:
        """Return the owner's revisions, oldest first; those without an owner are taken in."""
        return sorted(owned_by(self._registry, owner, CONTROLLER_REVISIONS), key=_age)

    def _create(self, owner: Object, data: Object, number: int, collisions: int) -> tuple[Object, int]:
        """Create a revision under a name that is free or its own already; returns the collisions so far, too."""
        while True:
            suffix = hash_of(data, collisions)
            name = f"{name_of(owner)[:_LONGEST_PREFIX]}-{suffix}"
            taken = self._registry.store.get(Key(CONTROLLER_REVISIONS, namespace_of(owner), name))
            if taken is None:
                break
            if taken["data"] == data:
                return taken, collisions
            collisions += 1
        revision = {
            "metadata": {
                "name": name,
                "labels": {**((owner["spec"]["template"].get("metadata") or {}).get("labels") or {}), _HASH: suffix},
                "annotations": dict(annotations_of(owner)),
                "ownerReferences": [controller_reference(owner)],
            },
            "data": data,
            "revision": number,
        }
        created = self._registry.create(CONTROLLER_REVISIONS, namespace_of(owner), revision, Writer(MANAGER))
        return created, collisions


def _age(revision: Object) -> tuple[int, str, str]:
    return revision["revision"], revision["metadata"]["creationTimestamp"], name_of(revision)
