"""The manifests in infra/kubernetes: valid for a current server, and the same as what the phases apply."""

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from local.kubernetes.model.kinds import find_kind
from local.kubernetes.registry.decoding import decode
from local.kubernetes.registry.validation.checks import find_causes
from phases.cut_over.switch_plan import decide_environment
from phases.scale_out import rolling_update
from shared.kubernetes import deployments, manifests
from shared.model.migration import MigrationRequest, Options, Target
from shared.model.survey import Survey
from shared.names import Names
from shared.sizing.connection_budget import Demand, ServerLimits, plan_budget

FOLDER = Path(__file__).parents[2] / "infra" / "kubernetes"
FILES = sorted(FOLDER.rglob("*.yaml"))
SNAPSHOTS = "snapshot.storage.k8s.io/v1"
TARGET = Target("s", "g", "c", "https://v.vault.azure.net", "p")
NAMES = Names(TARGET.deployment, "open-webui-0001")
B1MS = ServerLimits(50, 10, 5, "Standard_B1ms", "Burstable")


def read(name: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all((FOLDER / name).read_text()) if found]


def without_run(applied: dict[str, Any]) -> dict[str, Any]:
    """What a phase applies, in the target's namespace and without the label that names its run."""
    kept = copy.deepcopy(applied)
    del kept["metadata"]["labels"]["scaleout.dev/run"]
    return kept | {"metadata": kept["metadata"] | {"namespace": TARGET.namespace}}


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_every_manifest_is_valid(path: Path, version: str) -> None:
    for found in yaml.safe_load_all(path.read_text()):
        if found and found["apiVersion"] != SNAPSHOTS:  # not Kubernetes' own kinds: below
            kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize(
    "found",
    [*read("01-snapshot-class.yaml"), manifests.volume_snapshot("a", "r", TARGET.disk_claim, "csi-azuredisk-vsc")],
    ids=lambda found: found["kind"],
)
def test_snapshots_are_what_their_definitions_take(found: dict[str, Any]) -> None:
    resource = find_kind(found["apiVersion"], found["kind"])
    assert resource is not None
    assert decode(found, resource).unknown == ()
    assert find_causes(resource, found, None) == []
    assert [cause.field for cause in find_causes(resource, {"metadata": found["metadata"]}, None)] != []


def test_the_snapshot_class_is_for_the_disks_of_aks() -> None:
    [found] = read("01-snapshot-class.yaml")
    assert (found["driver"], found["deletionPolicy"]) == ("disk.csi.azure.com", "Delete")


def test_the_claim_is_the_one_that_phase_2_applies() -> None:
    options = Options()
    applied = manifests.files_claim(TARGET.files_claim, NAMES.run, options.storage_class, options.share_size)
    assert read("04-storage-webui-files.yaml") == [without_run(applied)]


def test_the_nfs_claim_uses_the_nfs_class() -> None:
    [claim], [storage_class] = read("04-storage-webui-files-nfs.yaml"), read("02-storage-premium-nfs.yaml")
    assert claim["spec"]["storageClassName"] == storage_class["metadata"]["name"]
    assert storage_class["parameters"]["protocol"] == "nfs"


@pytest.mark.parametrize("name", ["02-storage-premium.yaml", "02-storage-premium-nfs.yaml"])
def test_volumes_of_our_classes_survive_their_claims(name: str) -> None:
    [storage_class] = read(name)
    assert (storage_class["reclaimPolicy"], storage_class["provisioner"]) == ("Retain", "file.csi.azure.com")


def test_byte_range_locks_are_off_on_smb_only() -> None:
    [smb], [nfs] = read("02-storage-premium.yaml"), read("02-storage-premium-nfs.yaml")
    assert "nobrl" in smb["mountOptions"]
    assert not {"nobrl", "mfsymlinks", "file_mode=0777"} & set(nfs["mountOptions"])


def test_redis_is_the_one_that_phase_2_applies() -> None:
    applied = manifests.redis(NAMES.redis, NAMES.run, Options().redis_image, {})
    assert read("05-redis.yaml") == [without_run(one) for one in applied]


def test_the_disruption_budget_is_the_one_that_phase_4_applies() -> None:
    applied = manifests.disruption_budget(NAMES.disruption_budget, NAMES.run, {"app": "open-webui"})
    assert read("09-webui-disruption-budget.yaml") == [without_run(applied)]


def test_the_deployment_is_what_the_cut_over_and_the_scale_out_leave() -> None:
    [reference] = read("07-webui-deployment.yaml")
    facts = deployments.describe(reference, TARGET.files_claim, [])
    assert facts is not None
    budget = plan_budget(B1MS, Demand(replicas=3))
    environment = decide_environment(Survey(), budget, NAMES)
    patch = deployments.switch_patch(reference, facts, TARGET.files_claim, environment)
    [patched] = patch["spec"]["template"]["spec"]["containers"]
    [main] = reference["spec"]["template"]["spec"]["containers"]
    assert [entry for entry in main["env"] if entry["name"] != "DATABASE_URL"] == environment
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert {"$patch": "replace", **main[probe]} == patched[probe]
    assert reference["spec"]["template"]["spec"]["volumes"] == patch["spec"]["template"]["spec"]["volumes"]
    assert reference["spec"]["strategy"] == rolling_update(budget.max_surge)["spec"]["strategy"]
    assert reference["spec"]["replicas"] == budget.replicas == MigrationRequest(TARGET).options.replicas


def test_the_service_reaches_the_deployments_pods() -> None:
    [service], [deployment] = read("08-webui-service.yaml"), read("07-webui-deployment.yaml")
    assert service["metadata"]["name"] == TARGET.service
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_what_phases_apply_is_valid_too() -> None:
    applied = [
        manifests.code_map(NAMES.code, NAMES.run, b"zip"),
        manifests.opaque_secret(NAMES.record, NAMES.run, {"a": b"b"}),
    ]
    for one in applied:
        kubernetes_validate.validate(one, "1.37", strict=True)
