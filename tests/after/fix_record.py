"""The record of a finished migration, put together by the code that does it in a run."""

from datetime import UTC, datetime, timedelta
from typing import Any

from phases.run.timeline import Timeline
from phases.validate import CRITERIA
from shared.model.migration import MigrationRequest, Mode, Options, PhaseState, RunState, Target
from shared.model.survey import DeploymentFacts, Problem, Severity, StorageFacts, Survey
from shared.report.handbook import Occasion
from shared.report.run_report import build_report
from shared.sizing.connection_budget import Demand, ServerLimits, plan_budget
from shared.wire import to_wire

STARTED = datetime(2026, 5, 4, 20, 0, tzinfo=UTC)
OCCASION = Occasion(
    "aks-ollama-open-webui-0001", STARTED, STARTED + timedelta(minutes=9), "https://app/api/migrations/aks-0001"
)
TARGET = Target("s", "rg", "aks", "https://v.vault.azure.net", "psql-main")
MEASURED = {
    "at": "2026-05-04T20:08:40+00:00",
    "unread": {},
    "pods": {
        "replicas": 3,
        "ready": 3,
        "image": "open-webui:0.12.4",
        "strategy": "RollingUpdate",
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        "connections_per_replica": 5,
        "nodes": ["node-1"],
    },
    "memory": {"open-webui-x1": [{"container": "open-webui", "cpu": "120400000n", "memory": "935936Ki"}]},
    "share": {"claim": "open-webui-files-pvc", "size": "1Ti", "total_bytes": 2**40, "used_bytes": 3 * 2**30},
    "server": {
        "name": "psql-main",
        "sku": "Standard_B1ms",
        "tier": "Burstable",
        "version": "17.2",
        "vector": "0.8.2",
        "max_connections": 50,
        "for_users": 35,
        "other_sessions": 0,
        "rows": 2619,
        "column": "vector(1536)",
    },
    "autoscaler": {},
}


def finished(*, measured: dict[str, Any] | None = MEASURED, sku: str = "Standard_B1ms", **options: Any) -> dict:
    """A migrated run; `measured`: what phase 9 read, None when it was not asked for."""
    limits = ServerLimits(50 if sku.endswith("B1ms") else 1718, 10, 5, sku)
    survey = Survey(
        deployment=DeploymentFacts(
            "open-webui", "open-webui:0.12.4", 1, "Recreate", "/data", "data", 8080, {}, (), "pod", "node", "digest"
        ),
        storage=StorageFacts("pvc-1", "Delete", "10Gi", "managed-csi-premium"),
        problems=(
            Problem("secret_key", Severity.WARNING, "WEBUI_SECRET_KEY is not set", "Sign in once more."),
            Problem("downtime", Severity.NOTE, "expected downtime: 40 to 90 s"),
        ),
        store={"chroma": {"version_hint": "1.5", "rows": 2619, "collection_count": 29}},
        budget=plan_budget(limits, Demand(replicas=3)),
    )
    plans = {"preflight": to_wire(survey)}
    plans["scale_out"] = {
        "changes": [{"action": "change", "kind": "Deployment", "name": "x", "detail": "1 → 3 | more"}]
    }
    results = {
        "back_up_source": {"path": "/files/backup/vector_db-ab.tar.gz", "bytes": 11_836_207, "sha256": "cf2b"},
        "copy_vectors": {"rows": 2619, "indexes": {"plan": {"reason": "exact search takes about 12 ms"}}},
        "copy_files": {"files_total": 24, "bytes_total": 880_638, "copied": 33},
        "cut_over": {"verification": {"rows": 2619, "collection_count": 29}},
        "validate": {
            "replicas_ready": 3,
            "criteria": [{"name": name, "met": True, "evidence": f"seen {i}"} for i, name in enumerate(CRITERIA)],
        },
        "write_handbook": measured or {"skipped": True},
    }
    timeline = Timeline(["preflight", "cut_over", "write_handbook"], STARTED, downtime_seconds=6.94)
    timeline.begin("cut_over", STARTED)
    timeline.end("cut_over", PhaseState.DONE, STARTED + timedelta(seconds=7.8))
    request = MigrationRequest(TARGET, Mode.MIGRATE, Options(handbook=measured is not None, **options))
    report = build_report(
        "open-webui-0001",
        request,
        RunState.MIGRATED,
        plans=plans,
        results=results,
        failure=None,
        timeline=timeline,
    )
    return {"plans": plans, "results": results, "report": report}
