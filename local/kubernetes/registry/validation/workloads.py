"""Pods, and what makes, keeps and scales them."""

import re
from typing import Any

from local.kubernetes.model import selectors
from local.kubernetes.model.objects import Object, labels_of
from local.kubernetes.model.status_errors import Cause
from local.kubernetes.registry.validation import names, pods
from local.kubernetes.registry.validation.rules import IMMUTABLE, Causes, ChangeRules, Rules

_PERCENTAGE = re.compile(r"[0-9]+%")


def _pod(obj: Object) -> Causes:
    yield from pods.pod_spec(obj.get("spec", {}), "spec")


def _pod_change(obj: Object, old: Object) -> Causes:
    # The scheduler's binding is the one change of nodeName that the API allows, through pods/binding.
    may_change = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName", "containers")
    before, after = ({k: v for k, v in o["spec"].items() if k not in may_change} for o in (old, obj))
    images_aside = [[{**c, "image": ""} for c in o["spec"].get("containers") or ()] for o in (old, obj)]
    moved = old["spec"].get("nodeName") not in (None, obj["spec"].get("nodeName"))
    if before != after or images_aside[0] != images_aside[1] or moved:
        yield Cause.forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )


def template_labels(obj: Object) -> Causes:
    """The pods' labels; those of a Job hold its name, which therefore may not be longer than a label."""
    labels = (obj["spec"]["template"].get("metadata") or {}).get("labels") or {}
    for value in labels.values():
        if len(value) > names.LONGEST_LABEL:
            yield Cause.invalid("spec.template.labels", value, f"must be no more than {names.LONGEST_LABEL} bytes")
        elif not names.LABEL_VALUE.fullmatch(value):
            yield Cause.invalid("spec.template.labels", value, names.LABEL_VALUE_RULE)


def _workload(obj: Object) -> Causes:
    spec = obj["spec"]
    if spec["replicas"] < 0:
        yield Cause.invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    labels = labels_of({"metadata": spec["template"].get("metadata") or {}})
    selector = selectors.from_object(spec["selector"])
    if not selector:
        yield Cause.invalid("spec.selector", {}, "empty selector is invalid for deployment")
    elif not selectors.matches(selector, labels):
        where = "spec.template.metadata.labels"
        yield Cause.invalid(where, dict(sorted(labels.items())), "`selector` does not match template `labels`")
    yield from template_labels(obj)
    yield from pods.pod_spec(spec["template"].get("spec", {}), "spec.template.spec")
    policy = spec["template"]["spec"]["restartPolicy"]
    if policy != "Always":
        yield Cause.unsupported("spec.template.spec.restartPolicy", policy, ["Always"])


def _deployment(obj: Object) -> Causes:
    yield from _workload(obj)
    strategy = obj["spec"]["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield Cause.unsupported("spec.strategy.type", strategy["type"], ["Recreate", "RollingUpdate"])
    if strategy["type"] == "Recreate" and "rollingUpdate" in strategy:
        why = "may not be specified when strategy `type` is 'Recreate'"
        yield Cause.forbidden("spec.strategy.rollingUpdate", why)
    if strategy["type"] == "RollingUpdate":
        yield from _rolling_update(strategy["rollingUpdate"])


def _rolling_update(rolling: Object) -> Causes:
    for name in ("maxSurge", "maxUnavailable"):
        yield from _count_or_percentage(rolling[name], f"spec.strategy.rollingUpdate.{name}")
    if {rolling["maxSurge"], rolling["maxUnavailable"]} <= {0, "0%"}:
        why = "may not be 0 when `maxSurge` is 0"
        yield Cause.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why)


def _count_or_percentage(value: Any, path: str) -> Causes:
    if isinstance(value, str) and not _PERCENTAGE.fullmatch(value):
        why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%')"
        yield Cause.invalid(path, value, why)
    if isinstance(value, int) and value < 0:
        yield Cause.invalid(path, value, "must be greater than or equal to 0")


def _same_selector(obj: Object, old: Object) -> Causes:
    if obj["spec"]["selector"] != old["spec"]["selector"]:
        yield Cause.invalid("spec.selector", obj["spec"]["selector"], IMMUTABLE)


def _job(obj: Object) -> Causes:
    spec = obj["spec"]
    if spec["completionMode"] == "Indexed" and "completions" not in spec:
        yield Cause.required("spec.completions", "when completion mode is Indexed")
    yield from template_labels(obj)
    yield from pods.pod_spec(spec["template"]["spec"], "spec.template.spec")
    policy, where = spec["template"]["spec"]["restartPolicy"], "spec.template.spec.restartPolicy"
    if policy == "Always":  # which is the default of pods: most likely it was not set at all
        yield Cause.required(where, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield Cause.unsupported(where, policy, ["OnFailure", "Never"])


def _job_change(obj: Object, old: Object) -> Causes:
    """A suspended job that never started may change what its pods ask for; a migration never does: it may not here."""
    new_spec, old_spec = obj["spec"], old["spec"]
    for name in ("selector", "completionMode", "backoffLimitPerIndex", "podFailurePolicy"):
        if new_spec.get(name) != old_spec.get(name):
            yield Cause.invalid(f"spec.{name}", new_spec.get(name), IMMUTABLE)
    if new_spec["template"]["spec"] != old_spec["template"]["spec"]:
        yield Cause.invalid("spec.template.spec", new_spec["template"]["spec"], IMMUTABLE)
    elif new_spec["template"] != old_spec["template"]:
        yield Cause.invalid("spec.template", new_spec["template"], IMMUTABLE)
    if new_spec["completionMode"] != "Indexed" and new_spec.get("completions") != old_spec.get("completions"):
        yield Cause.invalid("spec.completions", new_spec.get("completions"), IMMUTABLE)


def _disruption_budget(obj: Object) -> Causes:
    spec = obj.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield Cause.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for name in ("minAvailable", "maxUnavailable"):
        if name in spec:
            yield from _count_or_percentage(spec[name], f"spec.{name}")


def _autoscaler(obj: Object) -> Causes:
    spec = obj["spec"]
    if spec["minReplicas"] < 1:
        yield Cause.invalid("spec.minReplicas", spec["minReplicas"], "must be greater than or equal to 1")
    if spec["maxReplicas"] < spec["minReplicas"]:
        yield Cause.invalid("spec.maxReplicas", spec["maxReplicas"], "must be greater than or equal to `minReplicas`")
    for index, metric in enumerate(spec["metrics"]):
        yield from _metric(metric, f"spec.metrics[{index}]")


def _metric(metric: Object, path: str) -> Causes:
    if metric["type"] != "Resource":
        return
    target = metric.get("resource", {}).get("target", {})
    wanted = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}.get(target.get("type", ""))
    if "resource" not in metric:
        yield Cause.required(f"{path}.resource", "must populate information for the given metric source")
    elif wanted is None or not target.get(wanted):
        yield Cause.required(
            f"{path}.resource.target.averageUtilization", "must set either a target raw value or utilization"
        )


RULES: Rules = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "Job": _job,
    "PodDisruptionBudget": _disruption_budget,
    "HorizontalPodAutoscaler": _autoscaler,
}
CHANGE_RULES: ChangeRules = {
    "Pod": _pod_change,
    "Deployment": _same_selector,
    "ReplicaSet": _same_selector,
    "Job": _job_change,
}
