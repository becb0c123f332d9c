"""What a reading means: whose fault it is that replicas do not serve, and how full the connections are.

The order of the questions is the point. A revision is only at fault when *all* its pods are broken and the database
answered; without the database nobody can serve, whatever the image. One broken replica among good ones is that
replica's fault, one on a lost node the node's. What could not be read is nobody's fault.
"""

import enum
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.guard.policy import Policy
from shared.guard.readings import BUSY_STATES, Connections, Obstacle, Part, Pod, Reading

BROKEN_REASONS = frozenset({
    "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull",
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
})  # fmt: skip
"""Waiting reasons that time alone does not mend. Source: kubelet; facts §7."""

CRASHES = 2
"""Restarts after which a pod that is not ready is broken, although its container runs at the moment."""


class Fault(enum.StrEnum):
    """Why not all replicas serve."""

    NONE = "none"
    STARTING = "starting"
    REPLICA = "replica"
    REVISION = "revision"
    NODE = "node"
    DATABASE = "database"
    RESTARTING = "restarting"  # a phase of the migration stops or replaces pods on purpose
    PARKED = "parked"  # scaled to 0 by somebody: theirs to wake
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pressure:
    """How full the connections are. `foreign`: sessions not Open WebUI's. `busy`: share of its pools in use."""

    used: int
    for_users: int
    foreign: int
    busy: float
    per_process: int
    idle_in_transaction: timedelta


@dataclass(frozen=True, slots=True)
class Sign:
    """One reading, weighed. `pressure`: None when the database did not answer; `full`: it was out of connections."""

    at: datetime
    fault: Fault
    replicas: int | None = None
    serving: int | None = None
    revision: int | None = None
    pressure: Pressure | None = None
    full: bool = False
    restarts: int = 0
    out_of_memory: int = 0
    broken: str = ""
    """The first broken pod and what ails it."""
    rolled_out: bool = False
    """All replicas are of the newest revision and serve."""
    seasoned: bool = False
    """A broken pod of the newest revision has run for long: this is no rollout that never came up."""

    @property
    def healthy(self) -> bool:
        """Whether everything serves and nothing is being rolled out."""
        return self.fault is Fault.NONE and self.rolled_out

    @property
    def conclusive(self) -> bool:
        """Whether the pods were seen in a state that says something about them."""
        return self.fault not in {Fault.UNKNOWN, Fault.RESTARTING, Fault.PARKED}


@dataclass(slots=True)
class _Census:
    """Counts over the pods of one reading."""

    serving: int = 0
    newest: int = 0
    newest_serving: int = 0
    newest_broken: int = 0
    any_broken: int = 0
    lost: int = 0
    alive: int = 0
    restarts: int = 0
    out_of_memory: int = 0
    seasoned: bool = False
    broken: str = ""


def read_sign(reading: Reading, policy: Policy) -> Sign:
    """Weigh one reading."""
    full = reading.connections is None and reading.obstacle(Part.CONNECTIONS) is Obstacle.NO_CONNECTION_LEFT
    deployment = reading.deployment
    if deployment is None or reading.pods is None:
        fault = Fault.RESTARTING if reading.migration.restarts_pods else Fault.UNKNOWN
        replicas, revision = (deployment.replicas, deployment.revision) if deployment else (None, None)
        return Sign(reading.at, fault, replicas, None, revision, _pressure(reading, policy, _Census()), full)
    census = _count_pods(reading, deployment.revision, policy)
    return Sign(
        reading.at,
        _fault(reading, census, deployment.replicas),
        deployment.replicas,
        census.serving,
        deployment.revision,
        _pressure(reading, policy, census),
        full,
        census.restarts,
        census.out_of_memory,
        census.broken,
        census.newest_serving >= deployment.replicas > 0,
        census.seasoned,
    )


def _fault(reading: Reading, census: _Census, replicas: int) -> Fault:
    """Ask whose fault it is, in the order that keeps the innocent out of it."""
    if reading.migration.restarts_pods or replicas == 0:
        return Fault.RESTARTING if replicas else Fault.PARKED
    revision_broken = census.newest > 0 and census.newest_broken == census.newest
    if census.serving >= replicas and not revision_broken:
        return Fault.NONE
    if reading.connections is None and (revision_broken or census.serving == 0):
        return Fault.DATABASE if census.serving == 0 else Fault.UNKNOWN
    if revision_broken:
        return Fault.REVISION
    if census.lost:
        return Fault.NODE
    return Fault.REPLICA if census.any_broken else Fault.STARTING


def _count_pods(reading: Reading, newest_revision: int, policy: Policy) -> _Census:
    """Count once over all pods; those ending still hold connections but serve nobody."""
    census = _Census()
    answers = {answer.pod: answer.status for answer in reading.answers or ()}
    for pod in reading.pods or ():
        census.alive += 1
        if pod.ending:
            continue
        census.restarts += pod.restarts
        census.out_of_memory += pod.out_of_memory
        census.newest += pod.revision == newest_revision and pod.node_ready
        if not pod.node_ready:
            census.lost += 1
        elif pod.ready and (status := answers.get(pod.name) or 200) < 400:
            census.serving += 1
            census.newest_serving += pod.revision == newest_revision
        elif pod.ready:  # the kubelet and we disagree: that is no word on the revision
            census.any_broken += 1
            census.broken = census.broken or f"{pod.name}: ready for Kubernetes, /ready answers {status}"
        elif ailment := _ailment(pod, answers.get(pod.name), reading.at, policy):
            census.any_broken += 1
            census.newest_broken += pod.revision == newest_revision
            census.seasoned |= pod.revision == newest_revision and _has_run_long(pod, reading.at, policy)
            census.broken = census.broken or f"{pod.name}: {ailment}"
    return census


def _ailment(pod: Pod, status: int | None, at: datetime, policy: Policy) -> str:
    """Say what is wrong with a pod that does not serve; empty while it may still be starting."""
    if pod.waiting_reason in BROKEN_REASONS:
        return pod.waiting_reason
    if pod.restarts >= CRASHES:
        return f"{pod.restarts} restarts and not ready"
    if pod.running_since is not None and (age := at - pod.running_since) >= policy.startup_grace:
        answered = f", /ready answers {status}" if status else ""
        return f"running for {age.total_seconds():.0f} s and not ready{answered}"
    return ""


def _has_run_long(pod: Pod, at: datetime, policy: Policy) -> bool:
    return pod.running_since is not None and at - pod.running_since > policy.start_patience


def _pressure(reading: Reading, policy: Policy, census: _Census) -> Pressure | None:
    """Split the sessions into Open WebUI's and others; pools are as configured, or as measured when that is more."""
    if reading.connections is None:
        return None
    ours, busy = _our_sessions(reading.connections, policy.application)
    used = reading.connections.used
    deployment = reading.deployment
    configured = deployment.pools.most_per_process if deployment else 0
    pods = census.alive or (deployment.replicas if deployment else 0) or 1
    per_process = max(configured, math.ceil(ours / pods), 1)
    return Pressure(
        used,
        reading.connections.limits.for_users,
        used - ours,
        busy / (per_process * (census.serving or pods)),
        per_process,
        reading.connections.longest_idle_in_transaction,
    )


def _our_sessions(connections: Connections, application: str) -> tuple[int, int]:
    """Count Open WebUI's sessions, and those of them that are in use."""
    ours = busy = 0
    for group in connections.sessions:
        if group.application.startswith(application):
            ours += group.count
            busy += group.count if group.state in BUSY_STATES else 0
    return ours, busy
