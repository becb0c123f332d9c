"""A disk that is mounted by subPath above the data directory, with a sidecar first: migrated, served and taken back."""

import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.rehearsal.app_client import AppClient
from local.rehearsal.trials.restore import read_store
from local.rehearsal.world import World
from tests.rehearsal.fix_world import app, world

__all__ = ["app", "world"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BELOW, MOUNTED, DATA_DIR = "tenant-a", "/srv/state", "/srv/state/webui"
SIDECAR = {
    "name": "sidecar",
    "image": "busybox:1.37",
    "command": ["sh", "-c", "while true; do sleep 1; done"],
    "volumeMounts": [{"name": "data", "mountPath": "/disk", "readOnly": True}],
}


@pytest.fixture(scope="module")
def disk(world: World) -> Path:
    """Rebuild the Deployment; returns where the data directory now is on the disk."""
    operator = world.operator
    assert operator is not None
    operator.scale(operator.names.deployment, 0)
    time.sleep(2)
    root = world.layout.volumes / operator.volume_of(operator.names.disk_claim)
    moved = root / BELOW / "webui"
    entries = list(root.iterdir())
    moved.mkdir(parents=True)
    for entry in entries:
        shutil.move(entry, moved / entry.name)
    (root / BELOW / "beside").write_text("not Open WebUI's")
    data: dict[str, Any] = {"DATA_DIR": DATA_DIR, "WEBUI_SECRET_KEY": "the user's own"}
    operator.apply(operator._object("v1", "ConfigMap", "settings") | {"data": data})
    found = operator._deployment()
    spec = found["spec"]["template"]["spec"]
    main = spec["containers"][0]
    main["env"] = [one for one in main["env"] if one["name"] != "DATA_DIR"]
    main["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    main["volumeMounts"] = [{"name": "data", "mountPath": MOUNTED, "subPath": BELOW}]
    spec["containers"] = [SIDECAR, main]
    operator.apply(found)
    operator.wait_until_ready()
    return moved


def test_it_is_migrated_and_taken_back(world: World, app: AppClient, disk: Path) -> None:
    operator = world.operator
    assert operator is not None
    before, store = operator.deployment().spec.to_dict(), read_store(disk / "vector_db")
    migrated = app.follow(app.start({"mode": "migrate"}), lambda state: None, patience_seconds=200)
    report = migrated["report"]
    assert migrated["state"] == "migrated", report["failure"]
    codes = {one["code"] for one in report["problems"]}
    assert {"outside_data_dir", "sidecar_mounts"} <= codes
    assert all(one["met"] for one in report["criteria"])
    share = world.layout.volumes / operator.volume_of("open-webui-files-pvc")
    assert _files(share / BELOW / "webui") == _files(disk)
    assert sorted(path.name for path in share.iterdir()) == [BELOW]
    assert (share / BELOW / "webui" / "backup").is_dir()
    served = {one.name: one for one in operator.deployment().spec.template.spec.containers}
    assert served.keys() == {"sidecar", "open-webui"}
    assert served["open-webui"].volume_mounts[0].sub_path == BELOW
    assert "WEBUI_SECRET_KEY" not in {one.name for one in served["open-webui"].env}
    body = {"file": ("since.txt", b"uploaded since", "text/plain")}
    httpx.post(f"{world.service_url}/api/v1/files/", files=body, timeout=30).raise_for_status()
    back = app.follow(app.act(migrated["id"], "rollback")["id"], lambda state: None, patience_seconds=200)
    assert back["state"] == "rolled_back", back["report"]["undo_failure"]
    assert operator.deployment().spec.to_dict() == before
    after = read_store(disk / "vector_db")
    assert {name: after[name] for name in store} == store
    assert len(after) == len(store) + 1
    assert any(content == b"uploaded since" for content in _files(disk).values())
    assert (disk.parent / "beside").read_text() == "not Open WebUI's"


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for root in ("uploads", "cache") for path in (folder / root).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
