"""The Azure resources, checked without Azure: and each kind of mistake that the checks are for is made and caught."""

import json
import re

import bicep_checks as b
import grant_checks as g
import pytest
import setting_checks as s
import yaml
from bicep_files import Declaration, walk
from project import MAIN, ROOT, Project, read_project
from seeded_mistakes import MISTAKES, Check
from tree_sitter import Node

CHECKS = (*b.CHECKS, *g.CHECKS, *s.CHECKS)


@pytest.fixture(scope="module")
def project() -> Project:
    return read_project()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_resources_pass(project: Project, check: Check) -> None:
    assert check(project) == []


@pytest.mark.parametrize(("check", "path", "right", "wrong", "said"), MISTAKES, ids=lambda v: str(v)[:30])
def test_a_mistake_is_caught(project: Project, check: Check, path: str, right: str, wrong: str, said: str) -> None:
    assert said in "\n".join(check(project.changed(path, right, wrong)))


def test_every_check_is_tried_with_a_mistake() -> None:
    assert set(CHECKS) == {mistake[0] for mistake in MISTAKES}


def test_whatever_property_is_misspelt_a_check_says_so(project: Project) -> None:
    """Every key of every resource's body, but for those that anybody may choose: tags and the names of settings."""
    missed, tried = [], 0
    for path, file in project.bicep.items():
        for resource in file.created.values():
            for key in _keys(resource):
                tried += 1
                text = file.text.encode()
                wrong = (text[: key.end_byte] + b"x" + text[key.end_byte :]).decode()
                broken = Project({**project.texts, path: wrong})
                if not any(check(broken) for check in (b.bodies_fit_their_models, *g.CHECKS, s.hardening_holds)):
                    missed.append(f"{path}:{key.start_point.row + 1} {key.text.decode()}")
    assert missed == []
    assert tried > 150


def test_whatever_action_is_taken_from_a_role_a_check_says_so(project: Project) -> None:
    actions = re.findall(r" +'Microsoft\.(?:ContainerService|DBforPostgreSQL)/[^']+/(?:read|write|delete|action)'\n",
                         project.texts[g.CLUSTER] + project.texts[g.DATABASE])  # fmt: skip
    assert len(actions) > 30
    for action in actions:
        path = g.CLUSTER if "ContainerService" in action else g.DATABASE
        broken = project.changed(path, action, "")
        assert [*g.roles_hold_what_the_app_asks_for(broken), *g.both_ways_grant_the_same(broken)], action


def test_whatever_grant_is_left_out_a_check_says_so(project: Project) -> None:
    for path, file in project.bicep.items():
        for name, resource in file.created.items():
            if resource.target == "Microsoft.Authorization/roleAssignments":
                broken = project.changed(path, resource.node.text.decode(), "")
                assert "nobody is granted" in "\n".join(g.roles_are_granted(broken)), (path, name)


def test_whatever_setting_is_left_out_a_check_says_so(project: Project) -> None:
    for name in s.read_settings(project).keys() - s.PLATFORM:
        [line] = re.findall(rf"^ +{name}: .*\n", project.texts[s.APP], re.MULTILINE)
        assert f"{name}, which" in "\n".join(s.what_is_read_is_set_and_described(project.changed(s.APP, line, "")))


def test_the_guards_modes_and_logins_are_those_of_the_app(project: Project) -> None:
    from shared.model.settings import GUARD_MODES, POSTGRES_AUTHS

    parameters = project.bicep[MAIN].of("parameters")
    assert b.allowed_values(parameters["guardMode"]) == list(GUARD_MODES)
    assert b.allowed_values(parameters["postgresAuth"]) == list(POSTGRES_AUTHS)


def test_azd_finds_the_app_and_the_template(project: Project) -> None:
    content = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / content["infra"]["path"] / f"{content['infra']['module']}.bicep").exists()
    [(service, described)] = content["services"].items()
    assert described["host"] == "function"
    assert (ROOT / described["project"] / "host.json").exists()
    assert f"'azd-service-name': '{service}'" in project.texts[s.APP]


def test_the_workbook_is_one() -> None:
    workbook = json.loads((ROOT / "infra/monitoring/workbook.json").read_text())
    assert workbook["version"] == "Notebook/1.0"
    text, *queries = workbook["items"]
    assert text["type"] == 1
    assert {item["type"] for item in queries} == {3}


def _keys(resource: Declaration) -> list[Node]:
    """The keys of a body, but for Bicep's own and for those in maps."""
    if resource.name == "settings":
        return []
    keys = [
        node.named_children[0]
        for node in walk(resource.node)
        if node.type == "object_property" and not {"tags", "userAssignedIdentities"} & set(_above(node, resource.node))
    ]
    return [k for k in keys if k.type == "identifier" and k.text.decode() not in {"name", "scope", "parent"}]


def _above(node: Node, top: Node) -> list[str]:
    """The keys around a property."""
    found = []
    while node.parent is not None and node != top:
        node = node.parent
        if node.type == "object_property":
            found.append(node.named_children[0].text.decode())
    return found
