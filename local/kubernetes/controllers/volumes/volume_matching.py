"""Which volume fits which claim, pure.

Source: pkg/controller/volume/persistentvolume/index.go of Kubernetes 1.36.
"""

from collections.abc import Iterable
from decimal import Decimal

from local.kubernetes.model import selectors
from local.kubernetes.model.objects import Object, is_terminating, labels_of, name_of, namespace_of, status_of, uid_of
from local.kubernetes.model.quantities import parse_quantity


def is_reserved_for(volume: Object, claim: Object) -> bool:
    """Say whether the volume names this very claim; a reference without uid means whichever claim has that name."""
    reference = volume["spec"].get("claimRef")
    return bool(
        reference
        and (reference.get("namespace"), reference.get("name")) == (namespace_of(claim), name_of(claim))
        and reference.get("uid") in (None, "", uid_of(claim))
    )


def best_volume(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """Return the volume for a claim: one reserved for it, or the smallest free one that is large enough."""
    volumes = [volume for volume in volumes if _fits(volume, claim)]
    reserved = [volume for volume in volumes if is_reserved_for(volume, claim)]
    free = [volume for volume in volumes if "claimRef" not in volume["spec"] and _is_available(volume)]
    return min(reserved or free, key=_capacity, default=None)


def fits_modes_and_class(volume: Object, claim: Object) -> bool:
    return (
        (volume["spec"].get("storageClassName") or "") == (claim["spec"].get("storageClassName") or "")
        and set(claim["spec"]["accessModes"]) <= set(volume["spec"]["accessModes"])
        and volume["spec"].get("volumeMode") == claim["spec"].get("volumeMode")
    )


def _fits(volume: Object, claim: Object) -> bool:
    wanted = parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
    selector = selectors.from_object(claim["spec"].get("selector"))
    return (
        not is_terminating(volume)
        and fits_modes_and_class(volume, claim)
        and _capacity(volume) >= wanted
        and selectors.matches(selector, labels_of(volume))
    )


def _is_available(volume: Object) -> bool:
    return status_of(volume).get("phase") in ("Available", "Pending")


def _capacity(volume: Object) -> Decimal:
    return parse_quantity(volume["spec"]["capacity"]["storage"])
