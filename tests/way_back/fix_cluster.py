"""A cluster of plain objects behind the port, whose Jobs end at once with what the test says."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from phases.cut_over.switch_plan import Plan
from shared.errors import ConfigurationError
from shared.kubernetes import deployments
from shared.model.migration import Brief, MigrationRequest, Target
from shared.model.ports import Completed, Manifest, Ports
from shared.model.survey import DatabaseAddress, Survey
from shared.names import Names
from shared.programs import mover_job
from shared.programs.redis_reach import PING
from shared.transfer.steps.standby import STEP

RUN = "open-webui-0001"
TARGET = Target("s", "g", "c", "https://v.vault.azure.net", "p")
NAMES = Names(TARGET.deployment, RUN)
ADDRESS = DatabaseAddress("db", 5432, "openwebui", "openwebui")
LABELS = {"app": "open-webui"}


def deployment() -> Manifest:
    """As an operator made it."""
    container = {
        "name": "web",
        "image": "ghcr.io/open-webui/open-webui:0.12.4",
        "env": [{"name": "DATABASE_URL", "value": "postgresql://u:secret@db/openwebui"}],
        "volumeMounts": [{"name": "data", "mountPath": "/app/backend/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": TARGET.disk_claim}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "open-webui", "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [container], "volumes": [volume]}},
        },
        "status": settled(1),
    }


def settled(replicas: int) -> dict[str, int]:
    names = ("replicas", "updatedReplicas", "availableReplicas")
    return {"observedGeneration": 1} | dict.fromkeys(names, replicas)


@dataclass
class FakeCluster:
    """`shared.model.ports.Cluster`."""

    namespace: str = "ollama"
    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    job_lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Job → the last line that its mover prints."""
    forbidden: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    standby: set[str] = field(default_factory=set)
    """Jobs that wait to be told."""
    redis_says: str = "+PONG"
    refuses: str = ""
    mutates: Callable[[Manifest], None] = lambda tried: None
    """What an admission webhook makes of a patch."""
    log: list[str] = field(default_factory=list)

    def put(self, kind: str, name: str, **content: Any) -> Manifest:
        self.objects[kind, name] = {"kind": kind, "metadata": {"name": name}, **content}
        return self.objects[kind, name]

    def version(self) -> str:
        return "v1.36.0"

    def serves(self, group: str) -> bool:
        return group in self.groups

    def read(self, kind: str, name: str) -> Manifest | None:
        return copy.deepcopy(self.objects.get((kind, name)))

    def list(self, kind: str, labels: Mapping[str, str] | None = None) -> Sequence[Manifest]:
        found = [one for (its, _), one in self.objects.items() if its == kind]
        return [one for one in found if (labels or {}).items() <= (one["metadata"].get("labels") or {}).items()]

    def apply(self, manifest: Manifest, *, force: bool = False) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self.log.append(f"apply {kind} {name}")
        self.objects[kind, name] = copy.deepcopy(manifest)
        if kind == "Job" and name in self.job_lines:
            self.objects[kind, name]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
            if mover_job.GO in str(manifest):
                self.standby.add(name)
            else:
                self._end(name)
            labels, at = {"job-name": name}, "2026-01-01T00:00:00Z"
            pod = {"name": f"{name}-pod", "labels": labels, "creationTimestamp": at}
            self.objects["Pod", f"{name}-pod"] = {"metadata": pod, "status": {"phase": "Running"}, "spec": {}}
        return manifest

    def dry_run(self, manifest: Manifest) -> Manifest:
        return manifest

    def patch(self, kind: str, name: str, patch: Manifest, *, dry_run: bool = False) -> Manifest:
        if dry_run and self.refuses:
            raise ConfigurationError(self.refuses)
        patched = _merged(self.objects[kind, name], patch)
        self.mutates(patched)
        if not dry_run:
            self.log.append(f"patch {kind} {name} {json.dumps(patch, sort_keys=True)}")
            self.objects[kind, name] = patched
        return copy.deepcopy(patched)

    def replace(self, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self.log.append(f"replace {kind} {name}")
        self.objects[kind, name] = copy.deepcopy(manifest)
        return copy.deepcopy(manifest)

    def scale(self, deployment: str, replicas: int) -> None:
        self.objects["Deployment", deployment]["spec"]["replicas"] = replicas

    def delete(self, kind: str, name: str) -> None:
        self.log.append(f"delete {kind} {name}")
        gone = self.objects.pop((kind, name), None)
        if kind == "PersistentVolumeClaim" and gone:
            volume = self.objects.get(("PersistentVolume", gone["spec"]["volumeName"]))
            if volume and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                del self.objects["PersistentVolume", gone["spec"]["volumeName"]]

    def logs(self, pod: str, container: str, *, tail_lines: int | None = None, since_seconds: int | None = None) -> str:
        name = pod.removesuffix("-pod")
        return json.dumps({"step": STEP} if name in self.standby else self.job_lines.get(name, {"step": "working"}))

    def execute(
        self, pod: str, container: str, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60
    ) -> Completed:
        if PING in command:
            return Completed(0, self.redis_says, "") if self.redis_says else Completed(1, "", "refused")
        assert (list(command), container) == (["touch", mover_job.GO], "mover")
        name = pod.removesuffix("-pod")
        self.log.append(f"release {name}")
        self.standby.discard(name)
        if name in self.job_lines:
            self._end(name)
        return Completed(0, "", "")

    def _end(self, job: str) -> None:
        ended = "Complete" if "result" in self.job_lines[job] else "Failed"
        conditions = [{"type": ended, "status": "True", "reason": "x"}]
        self.objects["Job", job]["status"] = {"conditions": conditions}

    def may(self, verb: str, resource: str, *, group: str = "", subresource: str = "", namespaced: bool = True) -> bool:
        return resource not in self.forbidden


@dataclass
class FakeClock:
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    while_asleep: Callable[[], None] = lambda: None
    """What the cluster does in the meantime."""

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.while_asleep()

    def pass_by(self, **duration: float) -> None:
        self.time += timedelta(**duration)


def ports_of(cluster: FakeCluster, clock: FakeClock, databases: Any = None) -> Ports:
    missing: Any = None
    return Ports(cluster, databases, missing, missing, clock)


def plan_for(cluster: FakeCluster) -> Plan:
    """The plan of a cut-over of the Deployment in this cluster."""
    facts = deployments.describe(cluster.objects["Deployment", "open-webui"], TARGET.disk_claim, [])
    assert facts is not None
    brief = Brief(RUN, MigrationRequest(TARGET), Survey(deployment=facts))
    return Plan(
        run=RUN,
        deployment="open-webui",
        facts=facts,
        address=ADDRESS,
        files_claim=TARGET.files_claim,
        volume="pv-disk",
        environment=({"name": "VECTOR_DB", "value": "pgvector"},),
        connections=10,
        index=mover_job.job_for(brief, facts, "build-indexes", ("build-indexes",)),
        catch_up=mover_job.job_for(brief, facts, "catch-up", ("catch-up",)),
        finish=mover_job.job_for(brief, facts, "finish", ("finish", "--wait-for", mover_job.GO)),
        carry_back=mover_job.way_back_for(brief, facts, "carry-back", ("carry-back",)),
    )


def _merged(document: Any, patch: Any) -> Any:
    """As much of a strategic merge as these tests need: maps by key, lists of named things by name, null deletes."""
    if isinstance(patch, dict):
        base = dict(document) if isinstance(document, dict) and patch.get("$patch") != "replace" else {}
        for key, value in patch.items():
            if not key.startswith("$"):
                base[key] = _merged(base.get(key), value)
        return {key: value for key, value in base.items() if value is not None}
    if isinstance(patch, list) and {"$patch": "replace"} in patch:
        return [copy.deepcopy(one) for one in patch if one != {"$patch": "replace"}]
    if isinstance(patch, list) and isinstance(document, list):
        by_name = {one["name"]: one for one in document}
        for one in patch:
            by_name[one["name"]] = _merged(by_name.get(one["name"]), one)
        return list(by_name.values())
    return copy.deepcopy(patch)
