"""Every phase, every kind of fault, before and halfway: the world afterwards is the one before, or a migrated one.

What only adds to a migrated Open WebUI never undoes the migration: it fails alone.

One world serves all cases: each must leave it so that the next one starts from the same place.
"""

import json
from pathlib import Path

import httpx
import pytest

from local.rehearsal import fingerprint
from local.rehearsal.app_client import ENDED
from local.rehearsal.trials import restore
from phases.run.catalogue import PHASES
from phases.run.orchestrator import RETRY
from shared.errors import VerificationFailed
from shared.model.migration import LATER_PHASES

PATIENCE_SECONDS = 400
"""A run takes half a minute; this is for a busy machine."""
APPLIED = [phase.name for phase in PHASES if phase.applies and phase.reversible]
"""What gives the disk up is tried in tests/way_back."""
ADDITIONS = [phase.name for phase in PHASES if phase.addition]
CORE = [name for name in APPLIED if name not in ADDITIONS]
UNDONE = [phase.name for phase in PHASES if phase.undoes and phase.reversible]


@pytest.fixture(autouse=True)
def _leave_nothing_running(world, app):
    """A case that failed must not fail the next ones: what still runs is stopped, what stands is taken back."""
    yield
    inject(world)
    runs = app._http.get("/api/migrations", timeout=60).json()["migrations"]
    for one in runs:
        if one["state"] not in ENDED:
            app.act(one["id"], "abort" if "-rollback-" not in one["id"] else "rollback")
            app.follow(one["id"], lambda state: None, patience_seconds=PATIENCE_SECONDS)
    if serving_store(world) != "chroma":
        roll_back(app, app.read(max(one["id"] for one in runs if "-rollback-" not in one["id"])))


def state_of(world):
    """Database and cluster as a user would compare them: what a controller counts is left out."""
    taken = fingerprint.take(world.app_url, world.layout.run / "nothing", [])
    kept = {}
    for found in world.operator.objects():
        kind, metadata = found["kind"], found["metadata"]
        if kind in {"ReplicaSet"} or metadata["name"].endswith("-before"):
            continue
        if kind == "PersistentVolume":
            claim = found["spec"].get("claimRef", {}).get("name")
            if claim != "open-webui-disk-pvc":
                continue
        annotations = {k: v for k, v in metadata.get("annotations", {}).items() if "revision" not in k}
        kept[f"{kind}/{metadata['name']}"] = (found.get("spec"), found.get("data"), metadata.get("labels"), annotations)
    return taken.database, kept


def run(app, **options):
    id_ = app.start({"mode": "migrate", "options": options})
    return app.follow(id_, lambda state: None, patience_seconds=PATIENCE_SECONDS)


def wanting(phase):
    """Options that make this addition do something, and not for long."""
    quick = {"load_test_users": 10, "load_test_seconds": 5, "load_test_trials": 1} if phase == "load_test" else {}
    return {LATER_PHASES[phase]: True} | quick


def roll_back(app, ended):
    links = app.act(ended["id"], "rollback")
    return app.follow(links["id"], lambda state: None, patience_seconds=PATIENCE_SECONDS)


def inject(world, *faults):
    (world.layout.run / "functions" / "faults.json").write_text(json.dumps(faults))


def serving_store(world):
    answer = httpx.get(f"{world.service_url}/ready", timeout=60)
    assert answer.status_code == 200
    return answer.headers["x-store"]


def assert_taken_back(world, ended, before):
    """`before`: `state_of` the world when the case began."""
    assert ended["state"] == "rolled_back", (ended["report"]["failure"], ended["report"]["undo_failure"])
    assert serving_store(world) == "chroma"
    assert_same(before, state_of(world))


def assert_same(before, after):
    assert before[1].keys() == after[1].keys()
    for name in before[1]:
        assert before[1][name] == after[1][name], name
    assert before[0] == after[0]


def test_migrated_and_taken_back_the_world_is_as_before(world, app):
    before = state_of(world)
    ended = run(app)
    assert ended["state"] == "migrated", ended["report"]["failure"]
    assert serving_store(world) == "pgvector"
    report = ended["report"]
    assert report["rows_moved"] == report["rows_verified"] == report["store"]["chroma"]["rows"]
    assert len(report["criteria"]) == 9
    assert all(c["met"] for c in report["criteria"])
    assert_backup_can_be_restored(world, report)
    assert_taken_back(world, roll_back(app, ended), before)


def assert_backup_can_be_restored(world, report):
    """By the Job that operators are given; a damaged archive is refused before the disk is touched."""
    restored = restore.check(world)
    assert (restored["rows"], restored["equal"]) == (report["store"]["chroma"]["rows"], True)
    assert restored["collections"] == report["store"]["chroma"]["collection_count"]
    share = world.layout.volumes / world.operator.volume_of("open-webui-files-pvc")
    archive = share / "backup" / Path(report["results"]["back_up_source"]["path"]).name
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + b"x")
    with pytest.raises(VerificationFailed, match="WARNING: 1 computed checksum did NOT match"):
        restore.check(world)
    archive.write_bytes(whole)
    members = archive.with_name(f"{archive.name}.members.sha256")
    listed = members.read_text()
    members.write_text(listed.replace(listed[0], "f" if listed[0] == "e" else "e", 1))
    with pytest.raises(VerificationFailed, match="WARNING: 1 computed checksum did NOT match"):
        restore.check(world)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "halfway"])
@pytest.mark.parametrize("kind", ["permanent", "transient", "bug", "kill"])
@pytest.mark.parametrize("phase", CORE)
def test_a_fault_in(world, app, phase, kind, when):
    before = state_of(world)
    inject(world, {"activity": phase, "kind": kind, "when": when, "times": 1})
    ended = run(app)
    inject(world)
    if kind in {"permanent", "bug"}:
        assert ended["report"]["failure"]["phase"] == phase, ended["report"]["failure"]
    else:
        assert ended["state"] == "migrated", ended["report"]["failure"]
        ended = roll_back(app, ended)
    assert_taken_back(world, ended, before)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "halfway"])
@pytest.mark.parametrize("kind", ["permanent", "transient", "exhausted", "bug", "kill"])
@pytest.mark.parametrize("phase", ADDITIONS)
def test_a_fault_in_an_addition_leaves_the_migration(world, app, phase, kind, when):
    """Three replicas on PGVector, whatever happens; and the way back is as it was."""
    before = state_of(world)
    times = RETRY.max_number_of_attempts if kind == "exhausted" else 1
    name = "transient" if kind == "exhausted" else kind
    inject(world, {"activity": phase, "kind": name, "when": when, "times": times})
    ended = run(app, **wanting(phase))
    inject(world)
    assert ended["state"] == "migrated", ended["report"]["failure"]
    assert serving_store(world) == "pgvector"
    [deployment] = (one for one in world.operator.objects() if one["kind"] == "Deployment" and is_open_webui(one))
    assert deployment["spec"]["replicas"] == deployment["status"]["readyReplicas"] == 3
    assert_set_aside(world, ended, phase if kind in {"permanent", "exhausted", "bug"} else None)
    assert_taken_back(world, roll_back(app, ended), before)


def is_open_webui(found):
    return found["metadata"]["name"] == "open-webui"


def assert_set_aside(world, ended, phase):
    """The phase is told as failed, with the next step, and has left nothing; None: it went well in the end."""
    setbacks = ended["report"]["setbacks"]
    assert [one["phase"] for one in setbacks] == ([phase] if phase else [])
    states = {one["name"]: one["state"] for one in ended["status"]["phases"]}
    assert [name for name, state in states.items() if state == "failed"] == [one["phase"] for one in setbacks]
    if phase:
        assert f'"phases": ["{phase}"]' in setbacks[0]["hint"]
        left = {f"{one['kind']}/{one['metadata']['name']}" for one in world.operator.objects()}
        assert not {name for name in left if "-load" in name or "alert-rules" in name or "Autoscaler" in name}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transient", "kill"])
@pytest.mark.parametrize("phase", UNDONE)
def test_a_fault_in_the_undo_of(world, app, phase, kind):
    before = state_of(world)
    fault = {"activity": f"undo_{phase}", "kind": kind, "when": "halfway", "times": 1}
    if phase in ADDITIONS:
        ended = run(app, **wanting(phase))
        inject(world, fault)
        ended = roll_back(app, ended)
    else:
        inject(world, {"activity": "validate", "kind": "permanent", "when": "before", "times": 1}, fault)
        ended = run(app)
    inject(world)
    assert_taken_back(world, ended, before)
