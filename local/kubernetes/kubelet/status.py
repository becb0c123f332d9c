"""What a pod's status says, built from what its containers are doing. Pure.

Source: the pod lifecycle page of the Kubernetes documentation, and k8s.io/kubernetes/pkg/kubelet/status/generate.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from local.kubernetes.kubelet.api import Object

_OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


@dataclass(slots=True)
class ContainerStatus:
    """One container as the API shows it."""

    name: str
    image: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last_state: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    @property
    def exit_code(self) -> int | None:
        """The exit code of a container that has ended for good or for now."""
        terminated = self.state.get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    def as_object(self) -> Object:
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"local://{self.image}" if self.container_id else "",
            "containerID": self.container_id,
            "restartCount": self.restarts,
            "ready": self.ready,
            "started": self.started,
            "state": self.state,
            "lastState": self.last_state,
        }


@dataclass(frozen=True, slots=True)
class PodStatus:
    """Everything that a pod's status is made from."""

    phase: str
    pod_ip: str
    started_at: str
    initialized: bool
    init: Sequence[ContainerStatus]
    containers: Sequence[ContainerStatus]

    def as_object(self, previous: Sequence[Object], time: str) -> Object:
        """Build the status; `previous` conditions keep their times, and those of others are kept."""
        body: Object = {
            "phase": self.phase,
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "podIP": self.pod_ip,
            "podIPs": [{"ip": self.pod_ip}],
            "startTime": self.started_at,
            "conditions": self._conditions(previous, time),
            "containerStatuses": [container.as_object() for container in self.containers],
        }
        if self.init:
            body["initContainerStatuses"] = [container.as_object() for container in self.init]
        return body

    def _conditions(self, previous: Sequence[Object], time: str) -> list[Object]:
        old = {condition["type"]: condition for condition in previous}
        unready = [container.name for container in self.containers if not container.ready]
        message = f"containers with unready status: [{' '.join(unready)}]"
        ended = self.phase == "Succeeded"
        ready = self.phase == "Running" and not unready
        why = ("", "") if ready else ("PodCompleted" if ended else "ContainersNotReady", "" if ended else message)
        waiting = [container.name for container in self.init if container.exit_code != 0]
        incomplete = f"containers with incomplete status: [{' '.join(waiting)}]"
        mine: list[tuple[str, bool, str, str]] = [
            ("PodReadyToStartContainers", True, "", ""),
            ("Initialized", self.initialized, "ContainersNotInitialized", incomplete),
            ("ContainersReady", ready, *why),
            ("Ready", ready, *why),
        ]
        others = [condition for condition in previous if condition["type"] not in _OWN_CONDITIONS]
        return [*others, *(_condition(old.get(said[0]), time, said) for said in mine)]


def _condition(old: Object | None, time: str, said: tuple[str, bool, str, str]) -> Object:
    kind, holds, reason, message = said
    state = "True" if holds else "False"
    since = old["lastTransitionTime"] if old and old["status"] == state else time
    condition = {"type": kind, "status": state, "lastTransitionTime": since}
    if not holds:
        condition |= {"reason": reason, "message": message}
    return condition


def phase_of(containers: Sequence[ContainerStatus], restart_policy: str) -> str:
    """Decide a pod's phase once its init containers are through."""
    codes = [container.exit_code for container in containers]
    if restart_policy != "Always" and None not in codes:
        if all(code == 0 for code in codes):
            return "Succeeded"
        if restart_policy == "Never":
            return "Failed"
    begun = any(container.container_id for container in containers)
    return "Running" if begun else "Pending"


def restarts_after(exit_code: int, restart_policy: str, *, init: bool) -> bool:
    """Decide whether a container that ended runs again."""
    if restart_policy == "Never":
        return False
    return exit_code != 0 or (restart_policy == "Always" and not init)


def backoff_seconds(restarts: int, first: float, limit: float) -> float:
    """Return how long a container waits before it starts again: twice as long every time, up to a limit."""
    return float(min(first * 2 ** min(restarts, 30), limit))
