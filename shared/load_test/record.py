"""What a load test remembers between two calls of its phase: settings before, trials, why it ended.

It stands in a ConfigMap beside the program that the Jobs run, because a phase's `apply` keeps nothing itself. Without
secrets: those are in a Secret of their own, which is gone when the test is over.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from shared.kubernetes import manifests
from shared.load_test import generator
from shared.load_test.stepping import Outcome, Setting
from shared.load_test.thresholds import Check
from shared.model.ports import Manifest
from shared.programs.zipapp import pack
from shared.wire import JsonObject, from_store, to_wire

PROGRAM, RECORD = "load_test.pyz", "record.json"


@dataclass(frozen=True, slots=True)
class Before:
    """What stands before the first trial, to be put back after the last."""

    replicas: int
    connections: int
    """The most that one replica may open."""
    surge: int
    """Pods above the replica count in a rolling update."""
    variables: tuple[Manifest, ...]
    """The container's `env` entries of the pools, as the user wrote them."""
    autoscaler: str = ""
    minimum: int = 0
    maximum: int = 0
    """The autoscaler's bounds: it is held at the trial's replica count meanwhile."""

    @property
    def setting(self) -> Setting:
        return Setting(self.replicas, self.connections)


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting, what was measured with it, and the verdict."""

    setting: Setting
    because: str
    checks: tuple[Check, ...]
    served: dict[str, int]
    measured: JsonObject
    """The program's result: rows, course, errors; empty when its pods did not become ready."""

    def outcome(self, p95_limit_ms: float) -> Outcome:
        rows = self.measured.get("rows") or [{"p95_ms": 0.0}]
        slowest = max(float(row["p95_ms"]) for row in rows)
        failed = tuple(check.name for check in self.checks if check.met is False)
        return Outcome(self.setting, slowest, p95_limit_ms, failed)


@dataclass(frozen=True, slots=True)
class Record:
    """All of it."""

    before: Before
    trials: tuple[Trial, ...] = ()
    asked_at: str = ""
    """ISO time at which the next trial's setting was asked for."""
    back_at: str = ""
    """ISO time at which what stood before was asked for again."""
    broken: str = ""
    """Why nothing more could be measured."""
    result: JsonObject | None = None
    """Set at the very end: the phase's result."""


def to_manifest(name: str, run: str, record: Record) -> Manifest:
    """The ConfigMap with the record and the program."""
    program = base64.b64encode(pack(Path(generator.__file__).parent, "main")).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": manifests.labels(run)},
        "data": {RECORD: json.dumps(to_wire(record))},
        "binaryData": {PROGRAM: program},
    }


def from_manifest(found: Manifest | None) -> Record | None:
    return from_store(json.loads(found["data"][RECORD]), Record) if found else None
