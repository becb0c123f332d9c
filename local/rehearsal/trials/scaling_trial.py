"""The autoscaler on trial, after a rehearsed migration: load makes it add replicas, and quiet takes them away again.

Meanwhile every look asks whether the connections keep below the limit, whether the replicas keep within the bounds that
phase 6 set, and who owns the replica count. The health guard acts all the time and must not fight it. In the local
cluster the autoscaler's windows pass `HASTE` times as fast as on AKS: a stabilization window of five minutes takes
fifteen seconds. Another control plane takes its time, half an hour.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from local.rehearsal.app_client import AppClient
from local.rehearsal.processes import wait_until
from local.rehearsal.world import World
from shared.errors import MigrationError, VerificationFailed
from shared.kubernetes import deployments
from shared.model.ports import Cluster
from shared.sizing.azure_skus import AZURE_SKUS

HASTE = 20.0
USERS = 8
WORDS = " ".join(f"word{number}" for number in range(20_000))
"""A question that costs a replica some 20 ms of CPU, and its asker almost nothing."""
PATIENCE_SECONDS = 150.0
"""Of a trial in haste; without haste five minutes pass before the first replica goes, and two for each."""
REAL_PATIENCE_SECONDS = 1800.0
LOOK_SECONDS = 0.5
CONNECTIONS = """
    select count(*), current_setting('max_connections')::int - current_setting('reserved_connections')::int
        - current_setting('superuser_reserved_connections')::int
    from pg_stat_activity where backend_type = 'client backend'
"""

OPTIONS = {"autoscaling": True, "monitoring": True}
SIZE = next(sku for sku in AZURE_SKUS if sku.name == "Standard_B2s")
WORLD: dict[str, Any] = {"size": SIZE, "haste": HASTE, "cpu_request": "60m"}
"""The smallest server that carries more than three replicas; and so little CPU requested that a busy machine of two
cores, which runs the users and the database too, still has replicas above 70 % of it."""


@dataclass(frozen=True, slots=True)
class Look:
    """The world at one moment."""

    replicas: int
    ready: int
    minimum: int
    maximum: int
    wanted: int
    connections: int
    for_users: int
    owner: str
    """Field manager of the replica count."""


@dataclass(slots=True)
class Trial:
    """What happened, for the report."""

    world: World
    app: AppClient
    cluster: Cluster
    looks: list[Look] = field(default_factory=list)

    @property
    def patience(self) -> float:
        """Seconds for the autoscaler to do what is expected of it."""
        return REAL_PATIENCE_SECONDS if self.world.kubeconfig else PATIENCE_SECONDS

    @property
    def say(self) -> Callable[[str], None]:
        return self.world.say

    def hold(self) -> dict[str, Any]:
        """`run`, with what went wrong under `failure`."""
        try:
            return self.run()
        except MigrationError as error:
            self.say(f"the autoscaler failed its trial: {error.message}")
            return self._found() | {"failure": error.message}

    def run(self) -> dict[str, Any]:
        """Out and back; VerificationFailed says what did not hold."""
        first = self._look()
        if first.maximum <= first.minimum:
            raise VerificationFailed(f"there is no room: {first.minimum} to {first.maximum} replicas")
        self.say(f"{USERS} users ask long questions; {first.minimum} to {first.maximum} replicas are allowed")
        began = time.monotonic()
        with load(self.world.service_url) as asked:
            self._until(lambda look: look.ready > first.minimum, "more replicas under load")
            out_after = time.monotonic() - began
            self._settle()
        highest = max(look.ready for look in self.looks)
        self.say(f"{highest} replicas; the users leave")
        began = time.monotonic()
        self._until(lambda look: look.replicas == look.ready == first.minimum, "fewer replicas without load")
        seconds = {"out_after_seconds": round(out_after, 1), "back_after_seconds": round(time.monotonic() - began, 1)}
        self.say(f"back to {first.minimum} replicas")
        return self._found() | seconds | {"answers": asked.answers, "refused": asked.refused}

    def _settle(self) -> None:
        """Until it has wanted the same for a while, as far as the trial's patience goes."""
        end = time.monotonic() + self.patience / 3
        while time.monotonic() < end:
            last = [look.wanted for look in self.looks[-20:]]
            if len(self.looks) > 40 and len(set(last)) == 1:
                return
            self._look()
            time.sleep(LOOK_SECONDS)

    def _until(self, holds: Callable[[Look], bool], what: str) -> None:
        def look() -> bool:
            time.sleep(LOOK_SECONDS)
            return holds(self._look())

        wait_until(look, what, self.patience)

    def _look(self) -> Look:
        """Look, and hold what is seen against the promises."""
        look = self._read()
        self.looks.append(look)
        if not look.minimum <= look.replicas <= look.maximum:
            raise VerificationFailed(f"{look.replicas} replicas are outside {look.minimum} to {look.maximum}")
        if look.connections > look.for_users:
            raise VerificationFailed(f"{look.connections} of {look.for_users} connections are taken")
        if (look.minimum, look.maximum) != (self.looks[0].minimum, self.looks[0].maximum):
            raise VerificationFailed(f"somebody moved the bounds to {look.minimum} to {look.maximum}")
        return look

    def _read(self) -> Look:
        name = "open-webui"
        live, scaler = self.cluster.read("Deployment", name), self.cluster.read("HorizontalPodAutoscaler", name)
        if live is None or scaler is None:
            raise VerificationFailed("the Deployment or its autoscaler is gone")
        with psycopg.connect(self.world.admin_url) as connection:
            row = connection.execute(CONNECTIONS).fetchone() or (0, 0)
        return Look(
            replicas=int(live["spec"]["replicas"]),
            ready=int((live.get("status") or {}).get("readyReplicas") or 0),
            minimum=int(scaler["spec"]["minReplicas"]),
            maximum=int(scaler["spec"]["maxReplicas"]),
            wanted=int((scaler.get("status") or {}).get("desiredReplicas") or 0),
            connections=int(row[0]),
            for_users=int(row[1]),
            owner=deployments.field_owners(live, {"replicas": ("f:spec", "f:replicas")}).get("replicas", ""),
        )

    def _found(self) -> dict[str, Any]:
        verdicts = (self.app.guard() or {}).get("verdicts") or []
        return {
            "minimum": self.looks[0].minimum,
            "maximum": self.looks[0].maximum,
            "highest": max(look.ready for look in self.looks),
            "most_connections": max(look.connections for look in self.looks),
            "for_users": self.looks[0].for_users,
            "replicas_owned_by": list(dict.fromkeys(look.owner for look in self.looks)),
            "guard": list(dict.fromkeys(verdict["action"] for verdict in verdicts)),
        }


@dataclass(slots=True)
class Asked:
    """How the users fared."""

    answers: int = 0
    refused: int = 0


@contextmanager
def load(url: str) -> Iterator[Asked]:
    """Users who ask one long question after the other, each time over a new connection."""
    asked, ended = Asked(), threading.Event()
    users = [threading.Thread(target=_ask, args=(url, asked, ended), daemon=True) for _ in range(USERS)]
    for user in users:
        user.start()
    try:
        yield asked
    finally:
        ended.set()
        for user in users:
            user.join(15)


def _ask(url: str, asked: Asked, ended: threading.Event) -> None:
    body = {"collection_name": "knowledge-bases", "query": WORDS, "k": 3}
    while not ended.is_set():
        try:
            with httpx.Client(timeout=10) as client:
                answer = client.post(f"{url}/api/v1/retrieval/query/doc", json=body)
            asked.answers += answer.is_success
            asked.refused += not answer.is_success
        except httpx.HTTPError:
            asked.refused += 1
