"""StatefulSets: pods with a number, a name that stays, and claims of their own.

What is done next is decided in `stateful_steps`; here the world is read for that decision, and the steps are carried
out. A pod that is deleted comes back under its name once the old one is gone.
Source: pkg/controller/statefulset of Kubernetes 1.36.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from local.kubernetes.controllers.ownership import MANAGER, owned_by, owner_keys
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.controllers.workloads.revisions import History, Revisions
from local.kubernetes.controllers.workloads.stateful_claims import ClaimKeeper
from local.kubernetes.controllers.workloads.stateful_pods import REVISION, ordinal_of, pod_of
from local.kubernetes.controllers.workloads.stateful_status import status_now
from local.kubernetes.controllers.workloads.stateful_steps import (
    Create,
    Delete,
    ProvideClaims,
    Replica,
    Wish,
    next_steps,
)
from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import PODS, STATEFUL_SETS
from local.kubernetes.model.objects import (
    Object,
    condition,
    controller_of,
    from_timestamp,
    is_ready,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    phase_of,
    status_of,
)
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.registry import Registry, Writer, key_of
from local.kubernetes.registry.store import Event, Key


class StatefulSetController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._events = Recorder(registry, "statefulset-controller")
        self._history = History(registry)
        self._claims = ClaimKeeper(registry, self._events)

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is STATEFUL_SETS:
            yield event.key
        elif event.resource is PODS:
            yield from owner_keys(event, STATEFUL_SETS)
            if controller_of(event.obj) is None:  # someone may adopt it
                for found in self._registry.store.all_of(STATEFUL_SETS, event.key.namespace):
                    if selectors.matches(selectors.from_object(found["spec"]["selector"]), labels_of(event.obj)):
                        yield key_of(STATEFUL_SETS, found)

    def reconcile(self, key: Key) -> timedelta | None:
        stateful_set = self._registry.store.get(key)
        if stateful_set is None:
            return None
        if is_terminating(stateful_set):  # its pods are the garbage collector's, or will be nobody's
            before = status_of(stateful_set)
            names = (before.get(field, "") for field in ("currentRevision", "updateRevision"))
            return self._report(stateful_set, _wish(stateful_set, *names), before.get("collisionCount", 0))
        revisions = self._history.bring_up_to_date(stateful_set)
        wish = _wish(stateful_set, name_of(revisions.current), name_of(revisions.update))
        try:
            self._act(stateful_set, wish, revisions)
        finally:
            after = self._report(stateful_set, wish, revisions.collisions)
        in_use = [labels_of(pod).get(REVISION, "") for pod in self._pods(stateful_set)]
        self._history.forget_old(stateful_set, revisions, in_use)
        return after

    def _pods(self, stateful_set: Object) -> list[Object]:
        """Return the set's pods; of the others with its labels only those are adopted that have a name of its."""
        return owned_by(self._registry, stateful_set, PODS, lambda pod: ordinal_of(stateful_set, pod) is not None)

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _act(self, stateful_set: Object, wish: Wish, revisions: Revisions) -> None:
        pods = {
            ordinal: pod for pod in self._pods(stateful_set) if (ordinal := ordinal_of(stateful_set, pod)) is not None
        }
        by_name = {name_of(revision): revision for revision in (revisions.current, revisions.update)}
        for ordinal, pod in pods.items():
            self._claims.keep(stateful_set, pod, ordinal, is_condemned=ordinal not in wish.ordinals)
        for step in next_steps(wish, _replicas(stateful_set, list(pods.values()), self._registry.clock())):
            match step:
                case Create(ordinal, revision):
                    self._create(stateful_set, pod_of(stateful_set, by_name[revision], ordinal), ordinal)
                case ProvideClaims(ordinal):
                    self._claims.provide(stateful_set, name_of(pods[ordinal]), ordinal)
                case Delete(ordinal):
                    self._registry.delete(key_of(PODS, pods[ordinal]))
                    self._told(stateful_set, "Delete", f"Pod {name_of(pods[ordinal])}")

    def _create(self, stateful_set: Object, pod: Object, ordinal: int) -> None:
        try:
            self._claims.provide(stateful_set, name_of(pod), ordinal)
            self._registry.create(PODS, namespace_of(stateful_set), pod, Writer(MANAGER))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                self._failed(stateful_set, "Create", f"Pod {name_of(pod)}", error)
            raise
        self._told(stateful_set, "Create", f"Pod {name_of(pod)}")

    def _told(self, stateful_set: Object, verb: str, what: str) -> None:
        message = f"{verb} {what} in StatefulSet {name_of(stateful_set)} successful"
        self._events.normal(stateful_set, f"Successful{verb}", message)

    def _failed(self, stateful_set: Object, verb: str, what: str, error: ApiError) -> None:
        message = f"{verb} {what} in StatefulSet {name_of(stateful_set)} failed error: {error}"
        self._events.warning(stateful_set, f"Failed{verb}", message)

    # ── status ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _report(self, stateful_set: Object, wish: Wish, collisions: int) -> timedelta | None:
        """Write the status; returns when the next pod has been ready for long enough."""
        pods, now = self._pods(stateful_set), self._registry.clock()
        generation = stateful_set["metadata"]["generation"]
        replicas = _replicas(stateful_set, pods, now)
        status = status_now(wish, replicas, generation=generation, collisions=collisions)
        status = {**{k: v for k, v in status_of(stateful_set).items() if k == "conditions"}, **status}
        if status != status_of(stateful_set):
            self._registry.set_status(key_of(STATEFUL_SETS, stateful_set), status, MANAGER)
        waits = [wait for pod in pods if (wait := _until_available(stateful_set, pod, now)) is not None]
        return min(waits) + timedelta(seconds=1) if waits else None  # timestamps are cut to seconds


def _until_available(stateful_set: Object, pod: Object, now: datetime) -> timedelta | None:
    """Return for how long a pod has to be ready still; None for one that is not ready or need not wait."""
    ready, least = condition(pod, "Ready"), stateful_set["spec"].get("minReadySeconds", 0)
    if ready is None or ready["status"] != "True" or not least:
        return None
    wait = from_timestamp(ready["lastTransitionTime"]) + timedelta(seconds=least) - now
    return wait if wait > timedelta(0) else None


def _replicas(stateful_set: Object, pods: Sequence[Object], now: datetime) -> list[Replica]:
    return [
        Replica(
            ordinal=ordinal,
            revision=labels_of(pod).get(REVISION, ""),
            phase=phase_of(pod),
            ready=is_ready(pod),
            available=is_ready(pod) and _until_available(stateful_set, pod, now) is None,
            terminating=is_terminating(pod),
        )
        for pod in pods
        if (ordinal := ordinal_of(stateful_set, pod)) is not None
    ]


def _wish(stateful_set: Object, current: str, update: str) -> Wish:
    spec = stateful_set["spec"]
    rolling = spec["updateStrategy"].get("rollingUpdate")
    return Wish(
        replicas=spec["replicas"],
        current=current,
        update=update,
        start=spec.get("ordinals", {}).get("start", 0),
        is_ordered=spec["podManagementPolicy"] != "Parallel",
        replaces=spec["updateStrategy"]["type"] == "RollingUpdate",
        partition=None if rolling is None else rolling["partition"],
        current_replicas=status_of(stateful_set).get("currentReplicas", 0),
    )
