import pytest

from shared.model.migration import Mode
from shared.model.request_parsing import InvalidRequest, parse_request

TARGET = {
    "subscription_id": "s",
    "resource_group": "g",
    "cluster": "c",
    "key_vault": "https://v.vault.azure.net",
    "postgres_server": "p",
}


def problems(body, defaults=TARGET):
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body, defaults)
    return caught.value.problems


def test_an_empty_body_plans_with_the_runbooks_names():
    request = parse_request({}, TARGET)
    assert request.mode is Mode.PLAN
    assert (request.target.namespace, request.target.deployment, request.target.service) == (
        "ollama",
        "open-webui",
        "open-webui",
    )
    assert (request.target.disk_claim, request.target.files_claim) == ("open-webui-disk-pvc", "open-webui-files-pvc")
    assert (request.target.database, request.target.admin_password_secret) == ("openwebui", "postgres-admin-password")
    assert request.options.replicas == 3


def test_the_request_overrides_the_settings():
    request = parse_request({"target": {"cluster": "other"}, "mode": "migrate"}, TARGET)
    assert request.target.cluster == "other"
    assert request.target.resource_group == "g"
    assert request.mode is Mode.MIGRATE


def test_three_mistakes_are_all_listed():
    found = problems({"mode": "go", "target": {"namespace": "Bad_Name"}, "options": {"replicas": "three"}})
    assert len(found) == 3
    assert any("mode" in p for p in found)
    assert any("namespace" in p for p in found)
    assert any("replicas" in p for p in found)


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_refused(body):
    assert problems(body) == ["the body must be a JSON object"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"modus": "plan"}, "modus"),
        ({"target": {"namespaces": "x"}}, "target.namespaces"),
        ({"target": []}, "target"),
        ({"options": {"replicas": 0}}, "replicas"),
        ({"options": {"replicas": 21}}, "replicas"),
        ({"options": {"approval": "yes"}}, "approval"),
        ({"options": {"share_size": "big"}}, "share_size"),
        ({"target": {"key_vault": "vault"}}, "key_vault"),
        ({"target": {"files_claim": "a", "disk_claim": "a"}}, "files_claim"),
        ({"target": {"namespace": None}}, "namespace"),
    ],
)
def test_each_mistake_is_named(body, word):
    [only] = problems(body)
    assert word in only


def test_what_neither_body_nor_settings_say_is_missing():
    assert len(problems({}, {})) == 5
