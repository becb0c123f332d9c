"""Deployments: one ReplicaSet for each pod template, and the way from the old one to the new.

Recreate stops every old pod before the first new one starts; RollingUpdate keeps within `maxSurge` and
`maxUnavailable`.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER, owned_by, owner_keys
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.controllers.workloads import rollout_status
from local.kubernetes.controllers.workloads.rolling_update import Size, next_sizes
from local.kubernetes.model.kinds import DEPLOYMENTS, PODS, REPLICA_SETS, Resource
from local.kubernetes.model.objects import (
    Object,
    annotations_of,
    condition,
    controller_reference,
    copy_of,
    is_controlled_by,
    is_finished,
    is_terminating,
    name_of,
    namespace_of,
    status_of,
    with_condition,
)
from local.kubernetes.registry.deletion import Deletion
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import DELETED, Event, Key

REVISION = "deployment.kubernetes.io/revision"
_HISTORY = "deployment.kubernetes.io/revision-history"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAXIMUM = "deployment.kubernetes.io/max-replicas"
_OWN_ANNOTATIONS = (REVISION, _HISTORY, _DESIRED, _MAXIMUM, "kubectl.kubernetes.io/last-applied-configuration")
_HASH = "pod-template-hash"
_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class DeploymentController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events = Recorder(registry, "deployment-controller")

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is DEPLOYMENTS:
            yield event.key
        elif event.resource is REPLICA_SETS:
            yield from owner_keys(event, DEPLOYMENTS)
        elif event.resource is PODS and (event.type == DELETED or is_finished(event.obj)):
            # Recreate waits for the last old pod, which its ReplicaSet has stopped counting long before.
            for deployment in self._registry.store.all_of(DEPLOYMENTS, event.key.namespace):
                if deployment["spec"]["strategy"]["type"] == "Recreate":
                    yield key_of(DEPLOYMENTS, deployment)

    def reconcile(self, key: Key) -> timedelta | None:
        deployment = self._registry.store.get(key)
        if deployment is None or is_terminating(deployment):
            return None
        sets = sorted(owned_by(self._registry, deployment, REPLICA_SETS), key=_age)
        new = next((found for found in sets if _same_template(found, deployment)), None)
        old = [found for found in sets if found is not new]
        if deployment["spec"].get("paused"):
            self._resize(deployment, new or (sets[-1] if sets else None), deployment["spec"]["replicas"])
        elif deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, new, old)
        else:
            self._roll(deployment, self._ensure_new(deployment, new, old), old)
        return self._report(key)

    # ── strategies ───────────────────────────────────────────────────────────────────────────────────────────────

    def _recreate(self, deployment: Object, new: Object | None, old: Sequence[Object]) -> None:
        for replica_set in old:
            self._resize(deployment, replica_set, 0)
        if not any(self._has_pods(replica_set) for replica_set in old):
            new = self._ensure_new(deployment, new, old)
            self._resize(deployment, new, deployment["spec"]["replicas"])

    def _has_pods(self, replica_set: Object) -> bool:
        """Say whether a pod of it may still run; one that is being stopped may."""
        pods = self._registry.store.all_of(PODS, namespace_of(replica_set))
        return any(is_controlled_by(pod, replica_set) and not is_finished(pod) for pod in pods)

    def _roll(self, deployment: Object, new: Object, old: Sequence[Object]) -> None:
        wanted, limits = deployment["spec"]["replicas"], rollout_status.limits_of(deployment)
        by_name = {name_of(replica_set): replica_set for replica_set in (new, *old)}
        for name, replicas in next_sizes(_size(new), [_size(each) for each in old], wanted, limits).items():
            self._resize(deployment, by_name[name], replicas)

    def _resize(self, deployment: Object, replica_set: Object | None, replicas: int) -> None:
        if replica_set is None:
            return
        wanted = deployment["spec"]["replicas"]
        annotations = {_DESIRED: str(wanted), _MAXIMUM: str(wanted + rollout_status.limits_of(deployment).surge)}

        def edit(obj: Object) -> None:
            obj["spec"]["replicas"] = replicas
            obj["metadata"].setdefault("annotations", {}).update(annotations)

        before = replica_set["spec"]["replicas"]
        if before != replicas:
            self._registry.change(key_of(REPLICA_SETS, replica_set), edit, MANAGER)
            direction = "up" if replicas > before else "down"
            message = f"Scaled {direction} replica set {name_of(replica_set)} from {before} to {replicas}"
            self._events.normal(deployment, "ScalingReplicaSet", message)

    # ── the newest ReplicaSet ────────────────────────────────────────────────────────────────────────────────────

    def _ensure_new(self, deployment: Object, new: Object | None, old: Sequence[Object]) -> Object:
        """Return the ReplicaSet of the current template, made if it is missing, with the highest revision."""
        revision = str(max((_revision(replica_set) for replica_set in old), default=0) + 1)
        if new is None:
            new = self._create(deployment, revision)
            self._note(deployment, rollout_status.CREATED, f'Created new replica set "{name_of(new)}"')
        elif condition(deployment, "Progressing") is None:
            self._note(deployment, rollout_status.FOUND, f'Found new replica set "{name_of(new)}"')
        if _revision(new) < int(revision):
            new = self._annotate_revision(REPLICA_SETS, new, revision)
        if annotations_of(deployment).get(REVISION) != annotations_of(new)[REVISION]:
            self._annotate_revision(DEPLOYMENTS, deployment, annotations_of(new)[REVISION])
        return new

    def _create(self, deployment: Object, revision: str) -> Object:
        spec = deployment["spec"]
        hash_ = template_hash(spec["template"])
        template = copy_of(spec["template"])
        template.setdefault("metadata", {}).setdefault("labels", {})[_HASH] = hash_
        selector = copy_of(spec["selector"])
        selector.setdefault("matchLabels", {})[_HASH] = hash_
        inherited = {k: v for k, v in annotations_of(deployment).items() if k not in _OWN_ANNOTATIONS}
        replica_set = {
            "metadata": {
                "name": f"{name_of(deployment)}-{hash_}",
                "labels": template["metadata"]["labels"],
                "annotations": {**inherited, REVISION: revision},
                "ownerReferences": [controller_reference(deployment)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        }
        if "minReadySeconds" in spec:
            replica_set["spec"]["minReadySeconds"] = spec["minReadySeconds"]
        return self._registry.create(REPLICA_SETS, namespace_of(deployment), replica_set, Writer(MANAGER))

    def _annotate_revision(self, resource: Resource, obj: Object, revision: str) -> Object:
        """Set the revision; a ReplicaSet keeps its earlier ones.

        Source: kubernetes, deployment_util.go, SetNewReplicaSetAnnotations.
        """

        def edit(changed: Object) -> None:
            annotations = changed["metadata"].setdefault("annotations", {})
            if resource is REPLICA_SETS and (old := annotations.get(REVISION)):
                annotations[_HISTORY] = ",".join(filter(None, (annotations.get(_HISTORY), old)))
            annotations[REVISION] = revision

        by = "status" if resource is DEPLOYMENTS else ""  # there a change of annotations would count as a generation
        return self._registry.change(key_of(resource, obj), edit, MANAGER, by) or obj

    def _note(self, deployment: Object, reason: str, message: str) -> None:
        new = rollout_status.progressing(reason, message, self._registry.clock())

        def edit(obj: Object) -> None:
            status = obj.setdefault("status", {})
            status["conditions"] = with_condition(status.get("conditions") or [], new)

        self._registry.change(key_of(DEPLOYMENTS, deployment), edit, MANAGER, "status")

    # ── status and history ───────────────────────────────────────────────────────────────────────────────────────

    def _report(self, key: Key) -> timedelta | None:
        """Write the status as it is after this step, and tidy up once the rollout is complete."""
        deployment = self._registry.get(key)
        sets = sorted(owned_by(self._registry, deployment, REPLICA_SETS), key=_age)
        new = next((found for found in sets if _same_template(found, deployment)), None)
        now = self._registry.clock()
        status = rollout_status.rollout_status(deployment, sets, new, now)
        deployment = self._registry.set_status(key, status, MANAGER) or deployment
        progress = condition(deployment, "Progressing")
        if progress and progress["reason"] == rollout_status.COMPLETE:
            self._forget_old(deployment, [found for found in sets if found is not new])
        return rollout_status.time_until_deadline(deployment, now)

    def _forget_old(self, deployment: Object, old: Sequence[Object]) -> None:
        """Delete the oldest empty ReplicaSets beyond the history limit."""
        empty = [
            s for s in old if not s["spec"]["replicas"] and not status_of(s).get("replicas") and not is_terminating(s)
        ]
        excess = len(old) - deployment["spec"]["revisionHistoryLimit"]
        for replica_set in sorted(empty, key=_revision)[: max(0, excess)]:
            self._registry.delete(key_of(REPLICA_SETS, replica_set), Deletion("Background"))


def template_hash(template: Object) -> str:
    """Return a short name for a pod template: FNV-1a in an alphabet without vowels, as Kubernetes has it."""
    number = 0x811C9DC5
    for byte in json.dumps(template, sort_keys=True).encode():
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_HASH_ALPHABET[ord(digit) % len(_HASH_ALPHABET)] for digit in str(number))


def _same_template(replica_set: Object, deployment: Object) -> bool:
    template = copy_of(replica_set["spec"]["template"])
    template.get("metadata", {}).get("labels", {}).pop(_HASH, None)
    return bool(template == deployment["spec"]["template"])


def _size(replica_set: Object) -> Size:
    available = status_of(replica_set).get("availableReplicas", 0)
    return Size(name_of(replica_set), replica_set["spec"]["replicas"], available)


def _revision(replica_set: Object) -> int:
    return int(annotations_of(replica_set).get(REVISION, "0"))


def _age(replica_set: Object) -> tuple[str, str]:
    return replica_set["metadata"]["creationTimestamp"], name_of(replica_set)
