"""StatefulSets and the ControllerRevisions that remember their templates.

Source: pkg/apis/apps/validation/validation.go of Kubernetes 1.36, ValidateStatefulSetSpec and after it.
"""

from local.kubernetes.model import selectors
from local.kubernetes.model.objects import Object, labels_of
from local.kubernetes.model.status_errors import Cause
from local.kubernetes.registry.validation import names, pods, storage, workloads
from local.kubernetes.registry.validation.rules import IMMUTABLE, Causes, ChangeRules, Rules

_NOT_NEGATIVE = "must be greater than or equal to 0"
_MAY_CHANGE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_ONLY_THESE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def _stateful_set(obj: Object) -> Causes:
    spec = obj["spec"]
    if spec["podManagementPolicy"] not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        yield Cause.invalid("spec.podManagementPolicy", spec["podManagementPolicy"], why)
    yield from _update_strategy(spec["updateStrategy"])
    for name, policy in spec["persistentVolumeClaimRetentionPolicy"].items():
        if policy not in ("Retain", "Delete"):
            where = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            yield Cause.unsupported(where, policy, ["Retain", "Delete"])
    for index, template in enumerate(spec.get("volumeClaimTemplates") or ()):
        yield from storage.claim_spec(template["spec"], f"spec.volumeClaimTemplates[{index}].spec")
    yield from _not_negative("spec.replicas", spec["replicas"])
    yield from _not_negative("spec.minReadySeconds", spec.get("minReadySeconds", 0))
    yield from _not_negative("spec.ordinals.start", spec.get("ordinals", {}).get("start", 0))
    for problem in names.label_problems(spec["serviceName"]) if spec["serviceName"] else ():
        yield Cause.invalid("spec.serviceName", spec["serviceName"], problem)
    yield from _selector(spec)
    yield from _template(spec)


def _update_strategy(strategy: Object) -> Causes:
    """The values are shown as the server's own types have them, not as they were sent."""
    where, rolling = "spec.updateStrategy.rollingUpdate", strategy.get("rollingUpdate")
    shown = None if rolling is None else {"Partition": rolling.get("partition", 0), "MaxUnavailable": None}
    if strategy["type"] not in ("RollingUpdate", "OnDelete"):
        whole = {"Type": strategy["type"], "RollingUpdate": shown}
        yield Cause.invalid("spec.updateStrategy", whole, "must be 'RollingUpdate' or 'OnDelete'")
    elif strategy["type"] == "OnDelete" and rolling is not None:
        yield Cause.invalid(where, shown, "only allowed for updateStrategy 'RollingUpdate'")
    elif rolling is not None:
        yield from _not_negative(f"{where}.partition", rolling["partition"])


def _not_negative(path: str, value: int) -> Causes:
    if value < 0:
        yield Cause.invalid(path, value, _NOT_NEGATIVE)


def _selector(spec: Object) -> Causes:
    labels = dict(sorted(labels_of({"metadata": spec["template"].get("metadata") or {}}).items()))
    selector = selectors.from_object(spec["selector"])
    if not selector:
        yield Cause.invalid("spec.selector", {}, "empty selector is invalid for statefulset")
    elif not selectors.matches(selector, labels):
        why = "`selector` does not match template `labels`"
        yield Cause.invalid("spec.template.metadata.labels", labels or None, why)


def _template(spec: Object) -> Causes:
    """The pods' part, with a volume for each claim template."""
    pod = spec["template"]["spec"]
    names_claimed = [template["metadata"].get("name") for template in spec.get("volumeClaimTemplates") or ()]
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names_claimed]
    volumes = [*claimed, *(volume for volume in pod.get("volumes") or () if volume.get("name") not in names_claimed)]
    yield from pods.pod_spec({**pod, "volumes": volumes}, "spec.template.spec")
    yield from workloads.template_labels({"spec": spec})
    if pod["restartPolicy"] != "Always":
        yield Cause.unsupported("spec.template.spec.restartPolicy", pod["restartPolicy"], ["Always"])
    if "activeDeadlineSeconds" in pod:
        why = "activeDeadlineSeconds in StatefulSet is not Supported"
        yield Cause.forbidden("spec.template.spec.activeDeadlineSeconds", why)


def _stateful_set_change(obj: Object, old: Object) -> Causes:
    before, after = ({k: v for k, v in o["spec"].items() if k not in _MAY_CHANGE} for o in (old, obj))
    if before != after:
        yield Cause.forbidden("spec", _ONLY_THESE)


def _revision(obj: Object) -> Causes:
    yield from _not_negative("revision", obj["revision"])
    if obj.get("data") is None:
        yield Cause.required("data", "data is mandatory")
    elif not isinstance(obj["data"], dict):
        yield Cause.required("data", "data must be a valid JSON object")


def _revision_change(obj: Object, old: Object) -> Causes:
    if obj.get("data") != old.get("data"):
        yield Cause.invalid("data", obj.get("data"), IMMUTABLE)


RULES: Rules = {"StatefulSet": _stateful_set, "ControllerRevision": _revision}
CHANGE_RULES: ChangeRules = {"StatefulSet": _stateful_set_change, "ControllerRevision": _revision_change}
