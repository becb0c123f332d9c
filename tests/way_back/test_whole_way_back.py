"""Migrate, let users work, roll back by HTTP, migrate again: whole rehearsals on the local cluster, so slow."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chromadb
import httpx
import numpy as np
import psycopg
import pytest
from chromadb.config import Settings
from psycopg.types.json import Jsonb

from local.rehearsal.app_client import AppClient
from local.rehearsal.prober import Prober, Seen
from local.rehearsal.world import World
from tests.rehearsal.fix_world import app, world
from tests.way_back.fix_pod_watch import PodWatch, overlaps, store_of

__all__ = ["app", "world"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

type Row = tuple[tuple[float, ...], str | None, dict[str, Any] | None]
SIDECAR = {"name": "sidecar", "image": "busybox:1.37", "command": ["sh", "-c", "while true; do sleep 1; done"]}
TOLERATION = {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}


@dataclass
class Chain:
    """What was seen on the way there, back and there again."""

    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    switched: dict[str, dict[str, Any]] = field(default_factory=dict)
    after: dict[str, dict[str, Any]] = field(default_factory=dict)
    new_side: dict[str, dict[str, Row]] = field(default_factory=dict)
    old_side: dict[str, dict[str, Row]] = field(default_factory=dict)
    share: dict[str, bytes] = field(default_factory=dict)
    disk: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    """Upload → its content as Open WebUI gives it after the way back."""
    migration: dict[str, Any] = field(default_factory=dict)
    rollback: dict[str, Any] = field(default_factory=dict)
    again: dict[str, Any] = field(default_factory=dict)
    retired: dict[str, Any] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: Seen | None = None
    pod_events: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    """What was asked for and refused → status and body."""


@pytest.fixture(scope="module")
def chain(world: World, app: AppClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    made = Chain()
    give_users_fields(world)
    made.before = objects(world)
    pods = PodWatch(world.layout.run / "cluster" / "kubeconfig", "ollama", "app=open-webui")
    made.migration = run(app, app.start({"mode": "migrate"}))
    assert made.migration["state"] == "migrated", made.migration["report"]["failure"]
    made.switched = objects(world)
    work_as_users_do(world)
    made.new_side, made.share = rows_of_table(world), files_of(folder_of(world, "open-webui-files-pvc"))
    prober = Prober(world.service_url)
    prober.start()
    rollback = app.act(made.migration["id"], "rollback")["id"]
    made.refusals["while it runs"] = ask(app, f"{made.migration['id']}/rollback")
    made.refusals["a second run"] = ask(app, "", {"mode": "migrate"})
    made.rollback = run(app, rollback)
    made.refusals["migration"] = ask(app, f"{made.migration['id']}/rollback")
    made.seen = prober.stop()
    made.after = objects(world)
    disk = folder_of(world, "open-webui-disk-pvc")
    made.old_side, made.disk = rows_of_store(disk, tmp_path_factory.mktemp("store")), files_of(disk)
    made.answers = answers(world)
    made.again = run(app, app.start({"mode": "migrate"}))
    made.retired = retire(world, app, made.before["PersistentVolumeClaim/open-webui-disk-pvc"]["spec"]["volumeName"])
    made.last = objects(world)
    made.pod_events = pods.stop()
    for name, one in (("again", made.again), ("retired", made.retired)):
        made.refusals[name] = ask(app, f"{one['id']}/rollback")
    yield made


def test_the_first_migration_kept_everything_of_the_users(chain: Chain) -> None:
    assert chain.migration["state"] == "migrated", chain.migration["report"]["failure"]
    before, now = (
        found["Deployment/open-webui"]["spec"]["template"]["spec"] for found in (chain.before, chain.switched)
    )
    assert now["tolerations"] == before["tolerations"] == [TOLERATION]
    assert {c["name"]: c["image"] for c in now["containers"]} == {c["name"]: c["image"] for c in before["containers"]}
    main, was = now["containers"][0], before["containers"][0]
    kept = {"image", "ports", "resources", "volumeMounts", "name"}
    assert {key: main[key] for key in kept} == {key: was[key] for key in kept}
    assert now["containers"][1] == before["containers"][1]
    variables = {entry["name"]: entry for entry in main["env"]}
    assert [variables[entry["name"]] for entry in was["env"] if entry["name"] != "DATABASE_POOL_SIZE"] == [
        entry for entry in was["env"] if entry["name"] != "DATABASE_POOL_SIZE"
    ]
    assert variables["VECTOR_DB"]["value"] == "pgvector"
    assert main["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert "exec" not in main["readinessProbe"]
    owners = {entry["manager"] for entry in chain.switched["Deployment/open-webui"]["metadata"]["managedFields"]}
    assert {"operator", "scaleout"} <= owners


def test_what_users_did_is_on_the_old_side_row_by_row(chain: Chain) -> None:
    assert chain.rollback["state"] == "rolled_back", chain.rollback["report"]
    carried = chain.rollback["report"]["results"]["undo_cut_over"]["carried_back"]
    assert (carried["chunks_added"], carried["chunks_deleted"], carried["chunks_updated"]) == (25, 5, 1)
    assert (carried["files_added"], carried["files_changed"], carried["files_deleted"]) == (3, 1, 0)
    assert carried["verified"]
    assert chain.old_side.keys() == chain.new_side.keys()
    for name, rows in chain.new_side.items():
        assert chain.old_side[name].keys() == rows.keys()
        for one, (vector, text, metadata) in rows.items():
            assert chain.old_side[name][one][1:] == (text, metadata), one
            width = len(chain.old_side[name][one][0])
            assert np.allclose(chain.old_side[name][one][0], vector[:width], rtol=1e-5, atol=1e-5), one
            assert not any(vector[width:])


def test_files_are_on_the_disk_byte_by_byte_and_are_served(chain: Chain) -> None:
    assert chain.disk == chain.share
    assert chain.answers == {f"since {n}.txt": f"uploaded since the switch, {n}" for n in range(3)}


def test_deployment_claims_and_classes_are_the_recorded_ones(chain: Chain) -> None:
    for name, was in chain.before.items():
        assert comparable(chain.after[name]) == comparable(was), name
    added = {name for name in chain.after if name not in chain.before}
    assert {name for name in added if not name.startswith("PersistentVolume/")} == set()
    assert all(chain.after[name]["status"]["phase"] == "Released" for name in added)


def test_the_way_back_measures_its_own_downtime(chain: Chain) -> None:
    assert chain.seen is not None
    result, report = chain.rollback["report"]["results"]["undo_cut_over"], chain.rollback["report"]
    assert result["downtime_seconds"] == pytest.approx(report["downtime_seconds"], abs=2)
    assert chain.seen.longest_gap_seconds == pytest.approx(report["downtime_seconds"], abs=4)
    assert chain.seen.store_changes == 1


def test_at_no_moment_were_pods_of_two_stores_there(chain: Chain) -> None:
    """There, back and there again: neither could any request be answered by one while the other served."""
    stores = [store_of(one["object"]) for one in chain.pod_events]
    in_turn = [store for at, store in enumerate(stores) if at == 0 or stores[at - 1] != store]
    assert in_turn == ["chroma", "pgvector", "chroma", "pgvector"]
    assert overlaps(chain.pod_events) == []


def test_a_second_migration_ends_verified(chain: Chain) -> None:
    assert chain.again["state"] == "migrated", chain.again["report"]["failure"]
    report = chain.again["report"]
    rows = sum(map(len, chain.new_side.values()))
    assert (report["rows_verified"], report["replicas_ready"]) == (rows, 3)
    assert all(criterion["met"] for criterion in report["criteria"])
    assert report["results"]["cut_over"]["verification"]["equal"]


def test_the_old_disk_goes_after_an_approval_that_names_it(chain: Chain) -> None:
    assert chain.retired["state"] == "applied", chain.retired["report"]["failure"]
    volume = chain.before["PersistentVolumeClaim/open-webui-disk-pvc"]["spec"]["volumeName"]
    assert chain.retired["report"]["results"]["retire_source"]["disk_deleted"]
    assert chain.last.keys().isdisjoint({f"PersistentVolume/{volume}", "PersistentVolumeClaim/open-webui-disk-pvc"})
    assert chain.last["PersistentVolumeClaim/open-webui-files-pvc"]["status"]["phase"] == "Bound"


def test_after_that_a_rollback_is_refused_with_what_is_left(chain: Chain) -> None:
    volume = chain.before["PersistentVolumeClaim/open-webui-disk-pvc"]["spec"]["volumeName"]
    for name in ("again", "retired"):
        status, body = chain.refusals[name]
        assert status == 409
        assert (
            f"claim open-webui-disk-pvc and its disk {volume} were deleted by run {chain.retired['id']}"
            in body["error"]
        )
        assert "VolumeSnapshot open-webui-0002-disk-before" in body["hint"]


def test_a_rollback_is_not_started_twice(chain: Chain) -> None:
    assert chain.refusals["while it runs"][0] == chain.refusals["a second run"][0] == 409
    status, body = chain.refusals["migration"]
    assert (status, "was taken back already" in body["error"]) == (409, True)


def retire(world: World, app: AppClient, volume: str) -> dict[str, Any]:
    """Ask for phase 10 alone; an approval without the disk's name changes nothing, a kill halfway not much."""
    kill = {"activity": "retire_source", "kind": "kill", "when": "halfway", "times": 1}
    (world.layout.run / "functions" / "faults.json").write_text(json.dumps([kill]))
    one = app.start({"mode": "phases", "phases": ["retire_source"]})
    for body in ({}, {"disk": "another"}, {"disk": volume}):
        while app.read(one)["state"] != "waiting for approval":
            time.sleep(0.2)
        app._http.post(f"/api/migrations/{one}/approve", json=body).raise_for_status()
        time.sleep(1)
    return run(app, one)


def give_users_fields(world: World) -> None:
    """A sidecar, tolerations, a probe of another kind and a variable from a Secret that the switch must override."""
    operator = world.operator
    assert operator is not None
    deployment = operator._deployment(cpu_request="500m")
    spec = deployment["spec"]["template"]["spec"]
    spec["containers"].append(SIDECAR)
    spec["tolerations"] = [TOLERATION]
    main = spec["containers"][0]
    reference = {"secretKeyRef": {"name": operator.names.database_secret, "key": "url"}}
    main["env"] += [{"name": "DATABASE_POOL_SIZE", "valueFrom": reference | {}}, {"name": "MINE", "value": "kept"}]
    main["env"][-2]["valueFrom"] = {"secretKeyRef": reference["secretKeyRef"] | {"key": "pool", "optional": True}}
    operator.apply(deployment)
    probe = {"$patch": "replace", "exec": {"command": ["true"]}, "periodSeconds": 5}
    containers = [{"name": main["name"], "readinessProbe": probe}]
    operator._dynamic.resources.get(api_version="apps/v1", kind="Deployment").patch(
        body={"spec": {"template": {"spec": {"containers": containers}}}},
        name=operator.names.deployment,
        namespace=operator.names.namespace,
        content_type="application/strategic-merge-patch+json",
        field_manager="operator",
    )
    time.sleep(1)
    operator.wait_until_ready()


def work_as_users_do(world: World) -> None:
    """3 uploads and 22 more chunks, 5 chunks deleted, 1 changed, 1 upload changed."""
    for n in range(3):
        body = {"file": (f"since {n}.txt", f"uploaded since the switch, {n}".encode(), "text/plain")}
        httpx.post(f"{world.service_url}/api/v1/files/", files=body, timeout=30).raise_for_status()
    with psycopg.connect(world.app_url, autocommit=True) as connection:
        kept = connection.execute(
            "select id, collection_name, vector::text from document_chunk"
            " where collection_name ~ '^[0-9a-f]{8}-' order by id limit 28"
        ).fetchall()
        for n, (_, collection, vector) in enumerate(kept[:22]):
            connection.execute(
                "insert into document_chunk (id, collection_name, vector, text, vmetadata) values (%s, %s, %s, %s, %s)",
                (f"since-{n}", collection, vector, f"written since {n}", Jsonb({"n": n, "half": n / 2, "new": True})),
            )
        connection.execute("delete from document_chunk where id = any(%s)", ([one for one, _, _ in kept[22:27]],))
        changed = Jsonb({"changed": True})
        connection.execute(
            "update document_chunk set text = 'changed since', vmetadata = %s where id = %s", (changed, kept[27][0])
        )
    share = folder_of(world, "open-webui-files-pvc")
    path = next(path for path in sorted((share / "uploads").iterdir()) if "since" not in path.name)
    path.write_text("changed since the switch")


def ask(app: AppClient, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    answer = app._http.post(f"/api/migrations/{path}".rstrip("/"), json=body or {})
    return answer.status_code, answer.json()


def answers(world: World) -> dict[str, str]:
    url = f"{world.service_url}/api/v1/files/"
    listed = [one for one in httpx.get(url, timeout=30).json() if one["filename"].startswith("since ")]
    return {one["filename"]: httpx.get(f"{url}{one['id']}/content", timeout=30).text for one in listed}


def run(app: AppClient, one: str) -> dict[str, Any]:
    return app.follow(one, lambda state: None, patience_seconds=400)


def objects(world: World) -> dict[str, dict[str, Any]]:
    assert world.operator is not None
    kinds = {
        "Deployment",
        "PersistentVolumeClaim",
        "StorageClass",
        "PersistentVolume",
        "Service",
        "PodDisruptionBudget",
    }
    found = json.loads(json.dumps(world.operator.objects(), default=str))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found if one["kind"] in kinds}


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: found["metadata"].get(key) for key in ("name", "labels", "annotations")}
    kept = {key: value for key, value in found.items() if key not in {"metadata", "status"}}
    kept.get("spec", {}).get("claimRef", {}).pop("resourceVersion", None)
    metadata["annotations"] = {k: v for k, v in (metadata["annotations"] or {}).items() if "revision" not in k}
    return kept | {"metadata": metadata}


def folder_of(world: World, claim: str) -> Path:
    return world.layout.volumes / objects(world)[f"PersistentVolumeClaim/{claim}"]["spec"]["volumeName"]


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for root in ("uploads", "cache") for path in (folder / root).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def rows_of_table(world: World) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    with psycopg.connect(world.app_url) as connection:
        for one, name, vector, text, metadata in connection.execute(
            "select id, collection_name, vector::text, text, vmetadata from document_chunk"
        ):
            numbers = tuple(float(number) for number in vector.strip("[]").split(","))
            found.setdefault(name, {})[one] = (numbers, text, metadata)
    return found


def rows_of_store(disk: Path, folder: Path) -> dict[str, dict[str, Row]]:
    shutil.copytree(disk / "vector_db", folder / "vector_db")
    client = chromadb.PersistentClient(str(folder / "vector_db"), settings=Settings(anonymized_telemetry=False))
    found = {}
    for collection in client.list_collections():
        got = collection.get(include=["embeddings", "documents", "metadatas"])
        columns = zip(got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True)
        found[collection.name] = {
            one: (tuple(map(float, vector)), text, dict(metadata) if metadata else None)
            for one, vector, text, metadata in columns
        }
    return {name: rows for name, rows in found.items() if rows}
