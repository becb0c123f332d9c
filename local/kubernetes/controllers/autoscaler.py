"""Autoscalers: every fifteen seconds, as on AKS, compare what the pods use with what they should.

Facts that a migration meets: replicas outside the bounds are moved inside at the next look, whoever set them; zero
replicas switch the autoscaler off; without metrics it only keeps the bounds.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from local.kubernetes.api_server.kubelet_proxy import KubeletProxy
from local.kubernetes.controllers import autoscaling
from local.kubernetes.controllers.autoscaling import Change, Measurement, Recommendation
from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.controllers.recorder import Recorder
from local.kubernetes.model import selectors
from local.kubernetes.model.kinds import AUTOSCALERS, PODS, find_kind
from local.kubernetes.model.objects import (
    Object,
    is_active,
    is_ready,
    labels_of,
    name_of,
    namespace_of,
    status_of,
    with_condition,
)
from local.kubernetes.model.quantities import to_millis
from local.kubernetes.model.status_errors import ApiError
from local.kubernetes.registry.registry import Registry, key_of
from local.kubernetes.registry.store import DELETED, Event, Key

log = logging.getLogger(__name__)

type Usage = dict[tuple[str, str], Object]


class NoMetrics(Exception):
    """The pods' usage cannot be judged, for the reason given."""


@dataclass(slots=True)
class Decision:
    """The outcome of one look: the replicas to set and the conditions that explain it."""

    replicas: int
    conditions: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(type, status, reason, message)"""
    metrics: list[Object] = field(default_factory=list)


class Autoscaler:
    """Looks at all autoscalers in turn; sleeps for good while there are none."""

    def __init__(self, registry: Registry, kubelets: KubeletProxy, period: timedelta, haste: float = 1.0) -> None:
        self._registry = registry
        self._events = Recorder(registry, "horizontal-pod-autoscaler")
        self._kubelets = kubelets
        self._period = period.total_seconds()
        self._began, self._haste = registry.clock(), haste
        self._recommendations: dict[Key, tuple[Recommendation, ...]] = {}
        self._changes: dict[Key, tuple[Change, ...]] = {}
        self._wake = asyncio.Event()

    def start(self) -> None:
        self._unsubscribe = self._registry.store.subscribe(self._on_event)
        self._wake.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._unsubscribe()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _on_event(self, event: Event) -> None:
        if event.resource is AUTOSCALERS:
            self._wake.set()
            if event.type == DELETED:
                self._recommendations.pop(event.key, None)
                self._changes.pop(event.key, None)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if not self._registry.store.all_of(AUTOSCALERS):
                self._wake.clear()
                continue
            try:
                await self._look_at_all()
            except Exception:
                log.exception("autoscalers")
            await asyncio.sleep(self._period)

    async def _look_at_all(self) -> None:
        measured = await self._kubelets.pod_metrics("")
        usage = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in measured}
        for autoscaler in self._registry.store.all_of(AUTOSCALERS):
            try:
                self._look(key_of(AUTOSCALERS, autoscaler), usage)
            except ApiError as error:
                log.info("autoscaler %s: %s", name_of(autoscaler), error)
            except Exception:  # a bug met by one must not stop the others
                log.exception("autoscaler %s", name_of(autoscaler))

    def _look(self, key: Key, usage: Usage) -> None:
        autoscaler = self._registry.get(key)
        reference = autoscaler["spec"]["scaleTargetRef"]
        resource = find_kind(reference.get("apiVersion", ""), reference["kind"])
        can_scale = resource is not None and "scale" in resource.subresources
        target_key = Key(resource, key.namespace, reference["name"]) if resource and can_scale else None
        target = self._registry.store.get(target_key) if target_key else None
        if target_key is None or target is None:
            why = f"the HPA controller was unable to get the target's current scale: {reference['name']} not found"
            self._report(key, 0, Decision(0, [("AbleToScale", "False", "FailedGetScale", why)]))
            return
        current = target["spec"]["replicas"]
        decision = self._decide(key, autoscaler, target, usage)
        if decision.replicas != current:
            self._registry.change(
                target_key, lambda obj: obj["spec"].update(replicas=decision.replicas), MANAGER, "scale"
            )
            self._events.normal(autoscaler, "SuccessfulRescale", f"New size: {decision.replicas}")
        self._report(key, status_of(target).get("replicas", 0), decision, rescaled=decision.replicas != current)

    def _decide(self, key: Key, autoscaler: Object, target: Object, usage: Usage) -> Decision:
        current, bounds = target["spec"]["replicas"], autoscaling.bounds_of(autoscaler)
        able = (
            "AbleToScale",
            "True",
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )
        if current == 0:
            off = "scaling is disabled since the replica count of the target is zero"
            return Decision(0, [able, ("ScalingActive", "False", "ScalingDisabled", off)])
        if bounds.clamp(current) != current:
            return Decision(bounds.clamp(current), [able])
        try:
            wanted, metrics = self._measure(autoscaler, target, usage)
        except NoMetrics as reason:
            self._events.warning(autoscaler, "FailedGetResourceMetric", str(reason))
            return Decision(current, [able, ("ScalingActive", "False", "FailedGetResourceMetric", str(reason))])
        replicas = bounds.clamp(self._damped(key, autoscaler, current, wanted))
        valid = "the HPA was able to successfully calculate a replica count from cpu resource utilization"
        active = ("ScalingActive", "True", "ValidMetricFound", valid)
        return Decision(replicas, [able, active, _limited(wanted, bounds)], metrics)

    def _damped(self, key: Key, autoscaler: Object, current: int, wanted: int) -> int:
        """Return what is left of a wish after the stabilization windows and the scaling policies."""
        now = self._began + (self._registry.clock() - self._began) * self._haste
        past = self._recommendations.get(key, ())
        stable, self._recommendations[key] = autoscaling.stabilize(autoscaler, past, wanted, current, now)
        changes = self._changes.get(key, ())
        replicas, self._changes[key] = autoscaling.limit_rate(autoscaler, current, stable, changes, now)
        return replicas

    def _measure(self, autoscaler: Object, target: Object, usage: Usage) -> tuple[int, list[Object]]:
        """Return the most that any metric asks for, and the metrics as the status shows them."""
        selector = selectors.from_object(target["spec"]["selector"])
        pods = [
            pod
            for pod in self._registry.store.all_of(PODS, namespace_of(autoscaler))
            if selectors.matches(selector, labels_of(pod)) and is_active(pod) and is_ready(pod)
        ]
        wanted, shown = [], []
        for metric in autoscaler["spec"]["metrics"]:
            if metric["type"] != "Resource":
                raise NoMetrics(f"metrics of type {metric['type']} are not served here")
            measured = measure(metric["resource"], pods, usage)
            wanted.append(autoscaling.wanted_replicas(metric, measured, target["spec"]["replicas"]))
            shown.append(_current_metric(metric["resource"]["name"], measured))
        return max(wanted), shown

    def _report(self, key: Key, current: int, decision: Decision, *, rescaled: bool = False) -> None:
        def edit(obj: Object) -> None:
            status = obj.setdefault("status", {})
            status |= {"currentReplicas": current, "desiredReplicas": decision.replicas}
            status["currentMetrics"] = decision.metrics
            if rescaled:
                status["lastScaleTime"] = self._registry.now()
            for type_, state, reason, message in decision.conditions:
                new = {"type": type_, "status": state, "reason": reason, "message": message}
                new["lastTransitionTime"] = self._registry.now()
                status["conditions"] = with_condition(status.get("conditions") or [], new)

        self._registry.change(key, edit, MANAGER, "status")


def measure(resource: Object, pods: list[Object], usage: Usage) -> Measurement:
    """Add up what the ready pods use and request; a pod without a request makes a utilization impossible."""
    name, needs_request = resource["name"], resource["target"]["type"] == "Utilization"
    used = requested = counted = 0
    for pod in pods:
        metrics = usage.get((namespace_of(pod), name_of(pod)))
        if metrics is None:
            continue
        requests = [(c.get("resources", {}).get("requests") or {}).get(name) for c in pod["spec"]["containers"]]
        if needs_request and None in requests:
            raise NoMetrics(f"failed to get {name} utilization: missing request for {name} in pod {name_of(pod)}")
        used += sum(to_millis(container["usage"][name]) for container in metrics["containers"])
        requested += sum(to_millis(request) for request in requests if request is not None)
        counted += 1
    if not counted:
        raise NoMetrics(f"failed to get {name} utilization: no metrics returned from resource metrics API")
    return Measurement(used, requested, counted)


def _current_metric(name: str, measured: Measurement) -> Object:
    current: Object = {"averageValue": f"{measured.used // measured.pods}m"}
    if measured.requested:
        current["averageUtilization"] = measured.used * 100 // measured.requested
    return {"type": "Resource", "resource": {"name": name, "current": current}}


def _limited(wanted: int, bounds: autoscaling.Bounds) -> tuple[str, str, str, str]:
    if wanted > bounds.most:
        why = "the desired replica count is more than the maximum replica count"
        return "ScalingLimited", "True", "TooManyReplicas", why
    if wanted < bounds.least:
        return (
            "ScalingLimited",
            "True",
            "TooFewReplicas",
            "the desired replica count is less than the minimum replica count",
        )
    return "ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the acceptable range"
