"""The backup, restored: with the Job that operators are given, to a disk of its own, and opened by chromadb itself.

What the restored store holds must be what the source holds: every collection with its count, and every id, vector, text
and metadata, of very large collections the first ones; every file was compared by its checksum before that.
"""

import hashlib
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from local.rehearsal.current_state import Operator
from local.rehearsal.processes import ROOT
from local.rehearsal.world import World
from shared.errors import ConfigurationError, VerificationFailed

MANIFEST = ROOT / "infra" / "kubernetes" / "restore-backup.yaml"
CLAIM = "restored-by-the-rehearsal"
_BATCH = 5000
_MOST_ROWS = 50_000
"""Of one collection that are read: chromadb gives some thousands a second."""


def check(world: World) -> dict[str, Any]:
    """Restore and compare; what was compared. VerificationFailed names the collections that differ."""
    if world.operator is None:
        raise ConfigurationError("the world is not open")
    began = time.monotonic()
    try:
        said = _restore(world.operator)
        volumes = world.layout.volumes
        restored = volumes / world.operator.volume_of(CLAIM) / "vector_db"
        source = volumes / world.operator.volume_of(world.operator.names.disk_claim) / "vector_db"
        found, expected = read_store(restored), read_store(source)
    finally:
        world.operator.delete_job("restore-backup")
        world.operator.delete_claim(CLAIM)
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise VerificationFailed(f"restored from the backup, {len(wrong)} collections differ: {', '.join(wrong[:5])}")
    rows = sum(count for count, _ in found.values())
    seconds = round(time.monotonic() - began, 1)
    return {"log": said, "collections": len(found), "rows": rows, "equal": True, "seconds": seconds}


def read_store(store: Path) -> dict[str, tuple[int, str]]:
    """Collection → rows and a digest of them all, as the official client reads a copy of the store."""
    import chromadb
    from chromadb.config import Settings

    with tempfile.TemporaryDirectory(prefix="scaleout-restored-") as folder:
        shutil.copytree(store, Path(folder, "vector_db"))
        client = chromadb.PersistentClient(
            str(Path(folder, "vector_db")), settings=Settings(anonymized_telemetry=False, allow_reset=True)
        )
        found = {one.name: _digest_of(one) for one in client.list_collections()}
        client.clear_system_cache()  # lets go of the files before they are deleted
    return found


def _digest_of(collection: Any) -> tuple[int, str]:
    count, total = collection.count(), 0
    for at in range(0, min(count, _MOST_ROWS), _BATCH):
        got = collection.get(limit=_BATCH, offset=at, include=["embeddings", "documents", "metadatas"])
        rows = zip(got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True)
        for one, vector, text, metadata in rows:
            row = json.dumps([one, text, metadata], sort_keys=True).encode() + vector.tobytes()
            total += int.from_bytes(hashlib.sha256(row).digest()[:16])
    return count, f"{total % (1 << 128):032x}"


def _restore(operator: Operator) -> str:
    """Run the shipped Job on a fresh disk; its log."""
    job = yaml.safe_load(MANIFEST.read_text())
    pod = job["spec"]["template"]["spec"]
    pod["nodeSelector"] = operator.node_label
    next(one for one in pod["volumes"] if one["name"] == "disk")["persistentVolumeClaim"]["claimName"] = CLAIM
    operator.create_disk(CLAIM)
    return operator.run_job(job)
