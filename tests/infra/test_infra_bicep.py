"""The Azure resources, checked without Azure: and each mistake that the checks are for is made once and caught."""

import json
import re
from collections.abc import Callable
from dataclasses import fields

import pytest
import yaml
from bicep_checks import (
    CHECKS,
    Files,
    api_versions_are_released,
    app_settings,
    bodies_fit_their_models,
    grants_are_narrow,
    hardening_holds,
    modules_get_what_they_take,
    names_are_declared_and_used,
    nothing_secret_gets_out,
    role_ids_are_right,
)
from bicep_files import MAIN, ROOT, BicepFile, read_files

from shared.settings import Settings

APP = "infra/modules/functionApp.bicep"
CLUSTER = "infra/modules/clusterAccess.bicep"
DATABASE = "infra/modules/databaseAccess.bicep"
MONITORING = "infra/modules/monitoring.bicep"
NETWORK = "infra/modules/network.bicep"
STORAGE = "infra/modules/storage.bicep"
VAULT = "infra/modules/vaultAccess.bicep"

type Check = Callable[[Files], list[str]]
MISTAKES: list[tuple[Check, str, str, str, str]] = [
    (bodies_fit_their_models, STORAGE, "minimumTlsVersion:", "minimalTlsVersion:", "minimalTlsVersion: not in"),
    (bodies_fit_their_models, STORAGE, "'Standard_LRS'", "'Standard_LSR'", "'Standard_LSR' is not one of"),
    (bodies_fit_their_models, APP, "instanceMemoryMB:", "instanceMemoryMb:", "instanceMemoryMb: not in"),
    (bodies_fit_their_models, APP, "serverFarmId: plan.id", "serverFarm: plan.id", "serverFarm: not in SiteProperties"),
    (bodies_fit_their_models, APP, "type: 'blobContainer'", "type: 'blob'", "'blob' is not one of"),
    (bodies_fit_their_models, NETWORK, "serviceName:", "service:", "service: not in"),
    (bodies_fit_their_models, MONITORING, "DisableLocalAuth:", "DisableLocalAuthentication:", "not in Application"),
    (bodies_fit_their_models, MONITORING, "timeAggregation:", "timeAggregate:", "timeAggregate: not in Condition"),
    (bodies_fit_their_models, CLUSTER, "principalType: 'Serv", "principalKind: 'Serv", "principalKind: not in"),
    (bodies_fit_their_models, DATABASE, "assignableScopes: [", "scopes: [", "scopes: not in RoleDefinition"),
    (api_versions_are_released, STORAGE, "@2024-01-01' = {", "@2024-01-01-preview' = {", "2024-01-01-preview"),
    (names_are_declared_and_used, APP, "ResourceId: identityId", "ResourceId: identityld", "identityld is not"),
    (names_are_declared_and_used, APP, "${keyVaultName}", "${vaultName}", "keyVaultName is not used"),
    (names_are_declared_and_used, VAULT, "for secret in secretNames", "for secret in names", "names is not declared"),
    (modules_get_what_they_take, MAIN, "    guardMode: guardMode\n", "", "functionApp needs guardMode"),
    (modules_get_what_they_take, MAIN, "    serverName: postgres", "    server: postgres", "does not take server"),
    (modules_get_what_they_take, MAIN, "outputs.insightsName", "outputs.name", "monitoring has no output name"),
    (modules_get_what_they_take, MAIN, "modules/storage.bicep", "modules/store.bicep", "which is not there"),
    (role_ids_are_right, VAULT, "4633458b-17de", "4633458c-17de", "secretsUser is not role 4633458c"),
    (role_ids_are_right, STORAGE, "var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'",
     "var blobDataOwner = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'", "blobDataOwner is not role 974c5e8b"),
    (grants_are_narrow, STORAGE, "  scope: account\n", "", "grants on the whole resource group"),
    (grants_are_narrow, DATABASE, "flexibleServers/read'", "flexibleServers/*'", "wildcard"),
    (nothing_secret_gets_out, APP, "name: 'scm'", "name: account.listKeys().keys[0].value", "listKeys is called"),
    (nothing_secret_gets_out, MAIN, "output FUNCTION_APP_NAME string = functionApp.outputs.name",
     "output FUNCTION_APP_NAME string = functionApp.outputs.password", "looks like a secret"),
    (nothing_secret_gets_out, APP, "AzureWebJobsStorage__credential: 'managedidentity'",
     "AzureWebJobsStorage: storageName", "is a connection string"),
    (nothing_secret_gets_out, APP, "    SCALEOUT_CLUSTER:", "    SCALEOUT_ADMIN_PASSWORD:", "SCALEOUT_ADMIN_PASSWORD"),
    (hardening_holds, STORAGE, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "KeyAccess is True"),
    (hardening_holds, STORAGE, "'TLS1_2'", "'TLS1_0'", "minimumTlsVersion"),
    (hardening_holds, APP, "version: '3.13'", "version: '3.11'", "'3.11', not '3.13'"),
    (hardening_holds, APP, "httpsOnly: true", "httpsOnly: false", "httpsOnly is False"),
    (hardening_holds, MONITORING, "    DisableLocalAuth: true\n", "", "DisableLocalAuth is {}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def files() -> dict[str, BicepFile]:
    return read_files()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_resources_pass(files: Files, check: Check) -> None:
    assert check(files) == []


@pytest.mark.parametrize(("check", "path", "right", "wrong", "said"), MISTAKES, ids=lambda v: str(v)[:30])
def test_a_mistake_is_caught(files: Files, check: Check, path: str, right: str, wrong: str, said: str) -> None:
    text = files[path].text
    assert right in text
    broken = {**files, path: BicepFile(path, text.replace(right, wrong, 1))}
    assert said in "\n".join(check(broken))


def test_every_setting_that_the_app_reads_is_set_and_described(files: Files) -> None:
    read = {f.metadata["env"] for f in fields(Settings)}
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert read - set(app_settings(files)) == set()
    assert read - set(sample) == set()
    own = {name for name in app_settings(files) if name.startswith("SCALEOUT_")}
    assert own - read == set()  # none is set that nobody reads


def test_the_guards_modes_are_those_of_the_app(files: Files) -> None:
    from shared.settings import GUARD_MODES

    allowed = re.search(r"@allowed\(\[\n((?:  '\w+'\n)+)\]\)\nparam guardMode", files[MAIN].text)
    assert allowed is not None
    assert re.findall(r"'(\w+)'", allowed[1]) == list(GUARD_MODES)


def test_azd_gives_the_parameters_that_main_takes(files: Files) -> None:
    given = json.loads((ROOT / "infra/main.parameters.json").read_text())["parameters"]
    taken = files[MAIN].names("parameters")
    assert set(given) - set(taken) == set()
    assert {name for name, p in taken.items() if p.get("default") is None} - set(given) == set()


def test_azd_finds_the_app_and_the_template() -> None:
    content = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / content["infra"]["path"] / f"{content['infra']['module']}.bicep").exists()
    [(service, described)] = content["services"].items()
    assert described["host"] == "function"
    assert (ROOT / described["project"] / "host.json").exists()
    assert f"'azd-service-name': '{service}'" in read_files()[APP].text


def test_the_workbook_is_one() -> None:
    workbook = json.loads((ROOT / "infra/monitoring/workbook.json").read_text())
    assert workbook["version"] == "Notebook/1.0"
    text, *queries = workbook["items"]
    assert text["type"] == 1
    assert {item["type"] for item in queries} == {3}
