"""Mounts as people write them: kept where they can be, told where something changes, refused where it cannot be."""

import copy
from typing import Any

import pytest

from phases import preflight
from phases.cut_over.switch_plan import decide_environment
from shared.errors import ConfigurationError, MigrationError, UnsupportedDeployment
from shared.kubernetes import data_directory, deployments
from shared.model.migration import Brief, MigrationRequest
from shared.model.ports import Manifest
from shared.model.survey import Problem, Severity, Survey
from shared.programs import mover_job
from shared.sizing.connection_budget import Demand, ServerLimits, plan_budget
from tests.way_back.fix_cluster import NAMES, RUN, TARGET, FakeClock, FakeCluster, deployment, ports_of

DATA = "/app/backend/data"
OPEN_WEBUI = "ghcr.io/open-webui/open-webui:0.12.4"


def made(*mounts: Manifest, data_dir: str = "", volumes: tuple[str, ...] = ("data",), **spec: Any) -> Manifest:
    """A Deployment whose one container has these mounts; `spec` is merged into its pod's."""
    found = deployment()
    pod = found["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMounts"] = list(mounts) or [mount(DATA)]
    if data_dir:
        pod["containers"][0]["env"].append({"name": "DATA_DIR", "value": data_dir})
    source = {"claimName": TARGET.disk_claim}
    pod["volumes"] = [{"name": name, "persistentVolumeClaim": source} for name in volumes] + spec.pop("more", [])
    pod["containers"] += spec.pop("sidecars", [])
    pod.update(spec)
    return found


def mount(path: str, volume: str = "data", **more: Any) -> Manifest:
    return {"name": volume, "mountPath": path, **more}


def container(name: str, *mounts: Manifest, image: str = "busybox", **more: Any) -> Manifest:
    return {"name": name, "image": image, "volumeMounts": list(mounts), **more}


def cluster_of(found: Manifest, protocol: str = "smb") -> FakeCluster:
    cluster = FakeCluster()
    cluster.objects["Deployment", "open-webui"] = found
    cluster.put("StorageClass", "azurefile-csi-premium", parameters={"protocol": protocol})
    return cluster


def survey(cluster: FakeCluster) -> tuple[Any, list[Problem]]:
    """What the preflight makes of the Deployment."""
    found = cluster.objects["Deployment", "open-webui"]
    facts = preflight._describe(cluster, found, TARGET, TARGET.disk_claim)
    brief = Brief(RUN, MigrationRequest(TARGET), Survey())
    return facts, preflight._mount_problems(ports_of(cluster, FakeClock()), found, facts, brief)


@pytest.mark.parametrize(
    ("mounts", "data_dir", "place"),
    [
        ([mount(DATA)], "", (DATA, "")),
        ([mount(DATA + "/")], "", (DATA, "")),
        ([mount(DATA, subPath="open-webui")], "", (DATA, "open-webui")),
        ([mount(DATA, subPath="a/b/")], "", (DATA, "a/b")),
        ([mount("/data")], "/data", ("/data", "")),
        ([mount("/srv")], "/srv/webui/data", ("/srv/webui/data", "webui/data")),
        ([mount("/srv", subPath="x")], "/srv/webui/", ("/srv/webui", "x/webui")),
        ([mount("/")], "/data", ("/data", "data")),
    ],
)
def test_where_the_data_directory_is_on_the_disk(mounts: list[Manifest], data_dir: str, place: tuple[str, str]) -> None:
    facts, problems = survey(cluster_of(made(*mounts, data_dir=data_dir)))
    assert (facts.mount_path, facts.sub_path) == place
    assert not [one for one in problems if one.severity is Severity.BLOCKING]
    job = mover_job.job_manifest(
        mover_job.job_for(Brief(RUN, MigrationRequest(TARGET), Survey()), facts, "x", ("x",)),
        made(*mounts, data_dir=data_dir),
    )
    mounted = {
        one["name"]: one.get("subPath", "") for one in job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert (mounted["disk"], mounted["files"]) == (place[1], place[1])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (made(data_dir="/data"), "data directory /data does not lie on the claim"),
        (made(mount("/app/backend/database")), "does not lie on the claim"),
        (
            made(mount("/app"), mount(DATA, "other"), more=[{"name": "other", "emptyDir": {}}]),
            "does not lie on the claim",
        ),
        (made(sidecars=[container("b", mount("/d"), image=OPEN_WEBUI)]), "web, b mount the claim"),
        (made(volumes=()), "no container of Deployment open-webui mounts the claim"),
    ],
)
def test_a_store_that_is_not_on_the_disk_is_refused(found: Manifest, words: str) -> None:
    with pytest.raises(MigrationError, match=words) as caught:
        survey(cluster_of(found))
    assert isinstance(caught.value, ConfigurationError | UnsupportedDeployment)
    assert caught.value.hint


SIDECAR = container("backup", mount("/d", readOnly=True))
INIT = container("prepares", mount("/d"), command=["sh", "-c", "mkdir -p /d/x"])
CHOWNS = container("owner", mount("/d"), command=["chown", "-R", "1000", "/d"])


@pytest.mark.parametrize(
    ("found", "code", "severity", "words"),
    [
        (made(mount(DATA, subPathExpr="$(POD)")), "sub_path_expr", "blocking", "subPathExpr"),
        (
            made(mount(DATA), mount("/cache", subPath="hf")),
            "several_mounts",
            "blocking",
            "/app/backend/data, /cache (hf)",
        ),
        (made(mount(DATA), volumes=("data", "again")), "several_mounts", "blocking", "several places"),
        (made(mount("/app/backend")), "outside_data_dir", "warning", "mounted at /app/backend, above"),
        (made(sidecars=[SIDECAR]), "sidecar_mounts", "warning", "backup mount the disk too"),
        (made(initContainers=[INIT]), "init_mounts", "warning", "prepares mount the disk"),
        (made(initContainers=[CHOWNS]), "init_owner", "blocking", "owner set owners or modes"),
    ],
)
def test_what_comes_out_different_is_told_and_what_cannot_be_is_refused(
    found: Manifest, code: str, severity: str, words: str
) -> None:
    _, problems = survey(cluster_of(found))
    [problem] = problems
    assert (problem.code, problem.severity.value) == (code, severity)
    assert words in problem.message
    assert problem.hint


def test_owners_hold_on_nfs() -> None:
    _, [problem] = survey(cluster_of(made(initContainers=[CHOWNS]), protocol="nfs"))
    assert (problem.code, problem.severity) == ("init_mounts", Severity.WARNING)


def test_a_sidecar_that_stands_first_is_not_taken_for_open_webui() -> None:
    found = made(sidecars=[])
    containers = found["spec"]["template"]["spec"]["containers"]
    containers.insert(0, SIDECAR)
    facts, _ = survey(cluster_of(found))
    assert (facts.container, facts.image) == ("web", OPEN_WEBUI)
    patch = deployments.switch_patch(found, facts, TARGET.files_claim, [])
    assert [one["name"] for one in patch["spec"]["template"]["spec"]["containers"]] == ["web"]


def test_another_disk_of_one_node_stands_in_the_way_of_replicas() -> None:
    extra = [{"name": "x", "persistentVolumeClaim": {"claimName": "models"}}]
    cluster = cluster_of(made(more=extra))
    cluster.put("PersistentVolumeClaim", "models", spec={"accessModes": ["ReadWriteOnce"]})
    _, [problem] = survey(cluster)
    assert (problem.code, problem.severity) == ("claim_of_one", Severity.BLOCKING)
    assert "models" in problem.message
    cluster.put("PersistentVolumeClaim", "models", spec={"accessModes": ["ReadWriteOnce", "ReadWriteMany"]})
    assert survey(cluster)[1] == []
    assert data_directory.shared_claim_problems([{"metadata": {"name": "m"}, "spec": {}}], 1) == []


def test_other_pods_on_the_disk_are_named() -> None:
    cluster = cluster_of(made())
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": TARGET.disk_claim}}]
    for name, labels, phase in (
        ("reporter", {}, "Running"),
        ("ours", {"app": "open-webui"}, "Running"),
        ("ended", {}, "Succeeded"),
    ):
        cluster.put("Pod", name, spec={"volumes": volumes}, status={"phase": phase})["metadata"]["labels"] = labels
    _, [problem] = survey(cluster)
    assert (problem.code, problem.severity) == ("other_users", Severity.WARNING)
    assert "reporter;" in problem.message


def with_sources(*sources: Manifest) -> Manifest:
    found = made()
    found["spec"]["template"]["spec"]["containers"][0]["envFrom"] = list(sources)
    return found


def test_variables_that_come_from_a_config_map_or_a_secret_are_seen() -> None:
    found = with_sources({"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}, "prefix": "WEBUI_"})
    cluster = cluster_of(found)
    found["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [mount("/srv")]
    cluster.put("ConfigMap", "c", data={"DATA_DIR": "/srv/data", "REDIS_URL": "redis://mine"})
    cluster.put("Secret", "s", data={"SECRET_KEY": "aw=="})
    facts, _ = survey(cluster)
    assert (facts.mount_path, facts.sub_path) == ("/srv/data", "data")
    assert {"REDIS_URL", "WEBUI_SECRET_KEY", "DATABASE_URL"} <= set(facts.environment)
    budget = plan_budget(ServerLimits(50, 10, 5, "Standard_B1ms", "Burstable"), Demand(replicas=3))
    names = {one["name"]: one for one in decide_environment(Survey(deployment=facts), budget, NAMES)}
    assert not {"REDIS_URL", "WEBUI_SECRET_KEY"} & names.keys()
    assert names["WEBSOCKET_MANAGER"]["value"] == "redis"


def test_a_data_dir_out_of_a_config_map_entry_is_read() -> None:
    found = made(mount("/srv"))
    reference = {"configMapKeyRef": {"name": "c", "key": "dir"}}
    found["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "DATA_DIR", "valueFrom": reference})
    cluster = cluster_of(found)
    cluster.put("ConfigMap", "c", data={"dir": "/srv/webui"})
    assert survey(cluster)[0].sub_path == "webui"


def test_a_chroma_server_is_refused() -> None:
    cluster = cluster_of(with_sources({"configMapRef": {"name": "c"}}))
    cluster.put("ConfigMap", "c", data={"CHROMA_HTTP_HOST": "chroma"})
    facts, _ = survey(cluster)
    problems = preflight.deployment_problems(facts, "chroma")
    assert "chroma_server" in {one.code for one in problems if one.severity is Severity.BLOCKING}


def test_a_vector_database_that_is_named_in_a_config_map_is_not_taken_for_chroma() -> None:
    cluster = cluster_of(with_sources({"configMapRef": {"name": "c"}}))
    cluster.put("ConfigMap", "c", data={"VECTOR_DB": "qdrant"})
    facts, _ = survey(cluster)
    found = preflight._vector_db(cluster, cluster.objects["Deployment", "open-webui"], facts)
    assert next(one.code for one in preflight.deployment_problems(facts, found)) == "not_chroma"


def test_an_init_container_that_crashes_is_a_failed_start() -> None:
    waiting = {"name": "owner", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "m"}}}
    pod = {"metadata": {"name": "p"}, "status": {"initContainerStatuses": [waiting]}}
    assert deployments.startup_failure([copy.deepcopy(pod)]) == "p/owner: CrashLoopBackOff m"
