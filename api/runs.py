"""Runs as the HTTP interface sees them: their ids, which one is under way, what an operator may do now. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.model.migration import RunState
from shared.wire import JsonObject

RUN_ID = re.compile(r"(?P<key>.+)-(?P<number>\d{4})(?P<rollback>-rollback-\d+)?")
ACTIVE = frozenset({"RUNNING", "PENDING", "SUSPENDED", "CONTINUED_AS_NEW"})


@dataclass(frozen=True, slots=True)
class Run:
    """One orchestration: a migration, or the rollback of one."""

    id: str
    runtime_status: str
    created: str
    updated: str
    status: JsonObject
    """The custom status; empty before the first one."""
    output: JsonObject | None = None
    """Its report; None while it runs, and for one that did not end by itself."""
    reason: str = ""
    """What Durable Functions says of one that failed, was terminated or is suspended."""

    @property
    def active(self) -> bool:
        return self.runtime_status in ACTIVE

    @property
    def suspended(self) -> bool:
        """Held by the durable management API; it hears nothing until it is resumed there."""
        return self.runtime_status == "SUSPENDED"

    @property
    def key(self) -> str:
        """Of the Deployment that it is about."""
        return key_of(self.id)

    @property
    def is_rollback(self) -> bool:
        return "-rollback-" in self.id

    @property
    def state(self) -> str:
        """As a person would say it."""
        if self.suspended:
            return "suspended"
        if self.active:
            step = str(self.status.get("step") or "")
            return (
                "paused" if step == "paused" else step if step.startswith("waiting for approval") else RunState.RUNNING
            )
        return str((self.output or {}).get("state") or self.runtime_status.lower())

    def phase_state(self, name: str) -> str:
        """The state of one phase in the custom status."""
        return next((p["state"] for p in self.status.get("phases") or [] if p["name"] == name), "pending")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an action cannot be taken now (HTTP 409)."""

    message: str


def key_of(run: str) -> str:
    """The key of the Deployment that this run is about; empty when it is no run's id."""
    match = RUN_ID.fullmatch(run)
    return match["key"] if match else ""


def next_number(ids: Iterable[str], key: str) -> int:
    """The number after the largest one used for this Deployment."""
    matches = (RUN_ID.fullmatch(run) for run in ids)
    return 1 + max((int(m["number"]) for m in matches if m and m["key"] == key), default=0)


def run_id(key: str, number: int) -> str:
    return f"{key}-{number:04d}"


def rollback_id(run: str, ids: Iterable[str]) -> str:
    """Id for the next attempt to take this run back."""
    attempts = sum(1 for i in ids if i.startswith(f"{run}-rollback-"))
    return f"{run}-rollback-{attempts + 1}"


def under_way(runs: Iterable[Run], key: str) -> Run | None:
    """The run that holds this Deployment, if any."""
    for run in runs:
        match = RUN_ID.fullmatch(run.id)
        if run.active and match and match["key"] == key:
            return run
    return None


def refuse(action: str, run: Run) -> Refusal | None:
    """Whether the operator's wish must be refused as the run stands."""
    if action == "rollback":
        return _refuse_rollback(run)
    if not run.active:
        return Refusal(f"run {run.id} has ended ({run.state}); there is nothing to {action}")
    if run.suspended:
        because = f" ({run.reason})" if run.reason else ""
        return Refusal(f"run {run.id} is suspended{because}; resume it where that was done: docs/operate.md")
    place = run.status.get("phase") or "its start"
    reasons = {
        "approve": (run.state != "waiting for approval", f"does not wait for approval; it is at {place}"),
        "resume": (run.state != "paused", "is not paused"),
        "pause": (run.state == "paused", "is paused already"),
        "abort": (run.phase_state("cut_over") == "done", "has switched to the new stores; use rollback"),
    }
    refused, reason = reasons[action]
    return Refusal(f"run {run.id} {reason}") if refused else None


def _refuse_rollback(run: Run) -> Refusal | None:
    if run.active or run.state in {RunState.MIGRATED, RunState.APPLIED, RunState.HALTED, "failed", "terminated"}:
        return None
    return Refusal(f"run {run.id} is {run.state}: nothing of it is left to take back")


def describe(run: Run, record: JsonObject | None) -> JsonObject:
    """The body of `GET /api/migrations/{id}`."""
    kept = record or {}
    return summary(run) | {
        "status": run.status,
        "request": kept.get("request"),
        "plan": kept.get("plans"),
        "results": kept.get("results"),
        "report": run.output,
    }


def summary(run: Run) -> dict[str, Any]:
    """One line of `GET /api/migrations`."""
    return {
        "id": run.id,
        "state": str(run.state),
        "reason": run.reason,
        "phase": run.status.get("phase", ""),
        "downtime_seconds": run.status.get("downtime_seconds", 0.0),
        "created": run.created,
        "updated": run.updated,
    }
