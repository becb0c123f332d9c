"""The claims that a StatefulSet makes from its templates: one for each template and number.

They outlive their pods and the set itself, so a set that grows again finds its data, unless
`persistentVolumeClaimRetentionPolicy` says `Delete`.
Source: pkg/controller/statefulset/stateful_set_utils.go and stateful_pod_control.go of Kubernetes 1.36.
"""

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.model.kinds import CLAIMS
from local.kubernetes.model.objects import (
    Object,
    controller_reference,
    copy_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.registry import Registry, Writer
from local.kubernetes.registry.store import Key


def claims_of(stateful_set: Object, ordinal: int) -> list[Object]:
    """Return the claims of a number, as they are created from the templates."""
    chosen = stateful_set["spec"]["selector"].get("matchLabels") or {}
    claims = []
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        claim = copy_of(template)
        claim["metadata"] |= {
            "name": f"{name_of(template)}-{name_of(stateful_set)}-{ordinal}",
            "labels": {**labels_of(template), **chosen},
        }
        claims.append(claim)
    return claims


def claim_owners(stateful_set: Object, pod: Object, claim: Object, *, is_condemned: bool) -> list[Object]:
    """Return the owners by which a claim is kept or goes, as `persistentVolumeClaimRetentionPolicy` says.

    One that goes with the set belongs to the set, one that goes when the set shrinks to the pod that is condemned. A
    claim that belongs to an earlier set or pod of the same name is left alone, one with another controller is let go.
    """
    policy = stateful_set["spec"]["persistentVolumeClaimRetentionPolicy"]
    mine = {(owner["kind"], name_of(owner)): uid_of(owner) for owner in (stateful_set, pod)}
    namesakes = [owner for owner in owners_of(claim) if (owner["kind"], owner["name"]) in mine]
    if any(mine[owner["kind"], owner["name"]] != owner["uid"] for owner in namesakes):
        return owners_of(claim)
    owners = [owner for owner in owners_of(claim) if owner not in namesakes]
    if any(owner.get("controller") for owner in owners):
        return owners
    if policy["whenScaled"] == "Delete" and is_condemned:
        return [*owners, controller_reference(pod)]
    return [*owners, controller_reference(stateful_set)] if policy["whenDeleted"] == "Delete" else owners


class ClaimKeeper:
    """Creates claims and keeps their owners as the policy says."""

    def __init__(self, registry: Registry, events: Recorder) -> None:
        self._registry = registry
        self._events = events

    def provide(self, stateful_set: Object, pod: str, ordinal: int) -> None:
        """Create the claims that are missing. Raises ApiError while an old one is going."""
        for claim in claims_of(stateful_set, ordinal):
            key = Key(CLAIMS, namespace_of(stateful_set), name_of(claim))
            found = self._registry.store.get(key)
            if found is not None and is_terminating(found):
                raise ApiError(409, f"pvc {key.name} is being deleted")
            if found is None:
                self._registry.create(CLAIMS, key.namespace, claim, Writer(MANAGER))
                message = f"Create Claim {key.name} Pod {pod} in StatefulSet {name_of(stateful_set)} success"
                self._events.normal(stateful_set, "SuccessfulCreate", message)

    def keep(self, stateful_set: Object, pod: Object, ordinal: int, *, is_condemned: bool) -> None:
        """Set the owners of the claims that are there."""
        for template in claims_of(stateful_set, ordinal):
            key = Key(CLAIMS, namespace_of(stateful_set), name_of(template))
            claim = self._registry.store.get(key)
            if claim is not None:
                self._set_owners(key, claim, claim_owners(stateful_set, pod, claim, is_condemned=is_condemned))

    def _set_owners(self, key: Key, claim: Object, owners: list[Object]) -> None:
        if owners != owners_of(claim):
            self._registry.change(key, lambda found: found["metadata"].update(ownerReferences=owners), MANAGER)
