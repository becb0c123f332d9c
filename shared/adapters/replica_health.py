"""Open WebUI's own word from every replica: `GET /ready` of each pod, past the Service.

Through the API server's pod proxy where the identity may (`get pods/proxy`): that costs the pods nothing. Otherwise by
exec from inside the pod, which starts a Python there. Where neither is allowed, the part is unread as forbidden, and
the judge goes by the pods' Ready conditions, which are the kubelet's answers to the same question.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from shared.adapters.cluster import KubernetesCluster
from shared.errors import ConfigurationError, MigrationError, PermissionMissing
from shared.guard.readings import Answer
from shared.programs.replica_probe import ask

PATH = "/ready"
TIMEOUT_SECONDS = 5.0
AT_ONCE = 20

type Ask = Callable[[str], int | None]


class ReplicasOfDeployment:
    """`shared.guard.ports.ReplicaHealth` of one Deployment, whose container and port are read once."""

    def __init__(self, cluster: KubernetesCluster, main: Callable[[], tuple[str, int]]) -> None:
        self._cluster = cluster
        self._main = main
        self._proxy_allowed = True

    def ask_replicas(self, pods: Sequence[str]) -> Sequence[Answer]:
        """Ask all at the same time; PermissionMissing when we may neither proxy nor exec."""
        if not pods:
            return ()
        container, port = self._main()
        if self._proxy_allowed:
            try:
                return self._ask_all(pods, lambda pod: self._through_proxy(pod, container, port))
            except PermissionMissing:
                self._proxy_allowed = False
        return self._ask_all(pods, lambda pod: self._by_exec(pod, container, port))

    def _ask_all(self, pods: Sequence[str], ask: Ask) -> Sequence[Answer]:
        with ThreadPoolExecutor(min(len(pods), AT_ONCE), thread_name_prefix="replica") as pool:
            return tuple(pool.map(lambda pod: _timed(pod, ask), pods))

    def _through_proxy(self, pod: str, container: str, port: int) -> int | None:
        """By exec where the API server does not ask this pod: its address may be one that it does not go to."""
        try:
            return self._cluster.get_from_pod(pod, port, PATH, timeout_seconds=TIMEOUT_SECONDS)
        except ConfigurationError:
            return self._by_exec(pod, container, port)

    def _by_exec(self, pod: str, container: str, port: int) -> int | None:
        return ask(self._cluster, pod, container, f"http://{{self}}:{port}{PATH}")[0].status or None


def _timed(pod: str, ask: Ask) -> Answer:
    """A pod that goes away meanwhile gives no answer; what forbids us to ask any of them is an error."""
    began = time.perf_counter()
    try:
        status = ask(pod)
    except PermissionMissing:
        raise
    except MigrationError:
        status = None
    return Answer(pod, status, timedelta(seconds=time.perf_counter() - began))
