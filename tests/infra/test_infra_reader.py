"""The reader of Bicep: it makes the right values of everything that Bicep can say, or refuses what it does not know."""

import pytest
from bicep_checks import names_are_declared_and_used
from bicep_files import BicepFile, Computed, NotUnderstood
from project import Project

TRICKY = """
metadata owner = 'x'
targetScope = 'resourceGroup'

@description('a // no comment, and no param x string')
@allowed([
  'one' // the first
  'two'
])
param choice string = 'one'
param count int
@secure()
param hidden string?
param literal 'a' | 'b' = 'a'
type Shape = {
  size: int
}
param shape Shape
/* resource ghost 'A.B/c@2024-01-01' = {
} */
var text = '''
it's ${plain} resource ghost 'x'
'''
var quoted = 'it\\'s \\${plain} \\u{41}'
var nested = '${choice}-${empty('${count}') ? 'a' : 'b}'}'
var list = [ 'a', 'b' ]
var numbers = [
  1
  -2
]
var pick = count > 1 && choice != 'two' ? list : []
var groups = [
  resourceGroup().id
  subscription().id
]
resource shared 'A.B/c@2024-01-01' existing = {
  name: 'shared'
  scope: resourceGroup('other')
}
#disable-next-line BCP081
resource many 'A.B/c@2024-01-01' = [for (item, i) in list: if (i > 0) {
  parent: shared
  name: '${item}-${i}'
  'quoted-key': true
  '${choice}': null
  properties: union({
    a: 1
  }, choice == 'one' ? {} : {
    b: [for n in numbers: {
      n: n
    }]
  })
  resource child 'd@2024-02-02' = {
    name: 'default'
    resource grandchild 'e' = {
      name: 'deep'
    }
  }
}]
module inner 'modules/x.bicep' = [for item in list: if (count > 0) {
  name: 'inner-${item}'
  params: {
    hidden: hidden
    shape: shape
    literal: literal
  }
}]
output first string = inner[0].outputs.name
output maybe string = many[0].?properties.?a ?? text
"""


def read(text: str) -> BicepFile:
    return BicepFile("x.bicep", text)


@pytest.fixture(scope="module")
def tricky() -> BicepFile:
    return read(TRICKY)


def test_every_declaration_is_found_and_no_other(tricky: BicepFile) -> None:
    assert list(tricky.of("parameters")) == ["choice", "count", "hidden", "literal", "shape"]
    assert list(tricky.of("variables")) == ["text", "quoted", "nested", "list", "numbers", "pick", "groups"]
    assert list(tricky.of("resources")) == ["shared", "many", "child", "grandchild"]
    assert list(tricky.of("modules")) == ["inner"]
    assert list(tricky.of("outputs")) == ["first", "maybe"]
    assert list(tricky.of("types")) == ["Shape"]


def test_parameters_have_their_type_default_and_decorators(tricky: BicepFile) -> None:
    parameters = tricky.of("parameters")
    assert (parameters["choice"].type_text, parameters["choice"].body) == ("string", "one")
    assert "'two'" in parameters["choice"].decorators[1]
    assert not parameters["count"].valued
    assert parameters["hidden"].decorators == ("secure()",)
    assert (parameters["literal"].type_text, parameters["literal"].body) == ("'a' | 'b'", "a")


def test_strings_are_what_they_say(tricky: BicepFile) -> None:
    variables = tricky.of("variables")
    assert variables["text"].body == "it's ${plain} resource ghost 'x'\n"
    assert variables["quoted"].body == "it's ${plain} A"
    assert isinstance(variables["nested"].body, Computed)


def test_lists_are_read_with_and_without_commas(tricky: BicepFile) -> None:
    variables = tricky.of("variables")
    assert variables["list"].body == ["a", "b"]
    assert variables["numbers"].body == [1, -2]
    assert [item.text for item in variables["groups"].body] == ["resourceGroup().id", "subscription().id"]


def test_a_choice_has_both_its_branches(tricky: BicepFile) -> None:
    assert [type(b) for b in tricky.of("variables")["pick"].body.branches] == [Computed, list]
    [first, second] = tricky.of("resources")["many"].body["properties"].branches
    assert first == {"a": 1}
    assert second.branches[0] == {}
    assert [set(item) for item in second.branches[1]["b"]] == [{"n"}]


def test_resources_have_their_whole_type_inside_loops_and_conditions(tricky: BicepFile) -> None:
    resources = tricky.of("resources")
    assert (resources["many"].target, resources["many"].api_version) == ("A.B/c", "2024-01-01")
    assert (resources["child"].target, resources["child"].api_version) == ("A.B/c/d", "2024-02-02")
    assert resources["grandchild"].target == "A.B/c/d/e"
    assert list(tricky.created) == ["many", "child", "grandchild"]
    assert set(resources["many"].body) == {"parent", "name", "quoted-key", "'${choice}'", "properties"}


def test_names_are_resolved_where_they_are_in_scope(tricky: BicepFile) -> None:
    problems = names_are_declared_and_used(Project({"x.bicep": tricky.text}))
    assert problems == ["x.bicep: groups is not used", "x.bicep: nested is not used", "x.bicep: pick is not used",
                        "x.bicep: quoted is not used"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("var a = [for x in y: x]", "y"),
        ("var l = []\nvar a = [for x in l: x]\nvar b = x", "x"),
        ("var a = '${b}'", "b"),
        ("var a = '${toLower('${b}')}'", "b"),
        ("param a Colour", "Colour"),
        ("output a string = b.properties.c", "b"),
        ("var a = b[0]", "b"),
        ("var a = true ? b : 1", "b"),
        ("var a = {\n  k: b\n}", "b"),
        ("resource r 'A.B/c@2024-01-01' = if (b) {\n  name: 'x'\n}", "b"),
        ("@minLength(b)\nparam a string", "b"),
    ],
)
def test_a_name_out_of_scope_is_found(text: str, unknown: str) -> None:
    assert f"x.bicep: {unknown} is not declared" in names_are_declared_and_used(Project({"x.bicep": text}))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("resource r 'A.B/c@2024-01-01' = {\n  name: 'x'\n", 1),  # never closed
        ("param a string\nparam b\n", 2),
        ("var a = 'one\nvar b = 'two'\n", 2),
        ("var a = 'one\ntwo'\n", 1),
        ("var a = {\n  ...b\n}", 2),
        ("var a = [ 1 2 ]", 1),
        ("var a = map(b, x => x.name)", 1),
        ("func f(a string) string => a", 1),
        ("import { x } from 'y.bicep'", 1),
        ("extension microsoftGraphV1", 1),
        ("assert a = true", 1),
        ("using './main.bicep'", 1),
        ("resource r 'A.B/c@2024-01-01' = other", 1),
        ("var a = 1 +", 1),
    ],
)
def test_what_it_does_not_know_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(NotUnderstood, match=rf"x\.bicep:{line}: not understood"):
        names_are_declared_and_used(Project({"x.bicep": text}))
