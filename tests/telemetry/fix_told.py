"""Three runs in one world, and everything that the worker sent about them."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fix_ingestion import Ingestion

from local.rehearsal.app_client import AppClient
from local.rehearsal.world import Layout, World
from local.sample import generate


@dataclass(frozen=True)
class Told:
    """`migrated` went well, `refused` had too few connections, the undo of `halted` failed."""

    ingestion: Ingestion
    world: World
    refused: str
    migrated: str
    halted: str


@pytest.fixture(scope="session")
def told() -> Iterator[Told]:
    folder = Path(tempfile.mkdtemp(prefix="scaleout-telemetry-"))
    folder.chmod(0o711)  # the database server's account is not ours when we are root
    store = generate(folder / "store", chunks=300, files=4)
    layout = Layout(folder / "rehearsal")
    ingestion = Ingestion(layout.run / "azure")
    settings = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string,
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "SCALEOUT_GUARD_SCHEDULE": "*/5 * * * * *",
    }
    world = World(layout, say=lambda what: None, guard=settings)
    try:
        try:
            world.open(store.data, store.app_sql)
            told = _tell(ingestion, world)
        finally:
            world.close()  # before the tests: what was sent is all that they need
        yield told
    finally:
        ingestion.close()
        shutil.rmtree(folder, ignore_errors=True)


def _tell(ingestion: Ingestion, world: World) -> Told:
    app = AppClient(world.url, world.key)

    def run(**body: object) -> str:
        return app.follow(app.start(body), lambda state: None, patience_seconds=600)["id"]

    refused = run(mode="plan", options={"replicas": 20})
    migrated = run(mode="migrate")
    fault = {"activity": "undo_enable_pgvector", "kind": "permanent", "when": "before", "times": 1}
    (world.layout.run / "functions" / "faults.json").write_text(json.dumps([fault]))
    halted = app.act(migrated, "rollback")["id"]
    app.follow(halted, lambda state: None, patience_seconds=600)
    ingestion.wait(lambda: ingestion.events("operator_needed") and ingestion.events("guard_verdict"))
    ingestion.wait(lambda: "scaleout.connections_used" in ingestion.metrics())
    return Told(ingestion, world, refused, migrated, halted)
