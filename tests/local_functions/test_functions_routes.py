"""Route templates match as in ASP.NET Core."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions.web.routes import Route, RouteTable, parse_template
from shared.errors import ConfigurationError


def find(templates: list[str], path: str) -> tuple[str, dict[str, str]] | None:
    return RouteTable([Route(parse_template(text), frozenset(), text) for text in templates]).find("GET", path)


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("a/{b}", "/a/1", {"b": "1"}),
        ("a/{b}", "/a", None),
        ("a/{b?}", "/a", {}),
        ("a/{b=5}", "/a", {"b": "5"}),
        ("a/{b=5}", "/a/6", {"b": "6"}),
        ("a/{b}/c", "/A/1/C", {"b": "1"}),
        ("{*rest}", "/x/y/z", {"rest": "x/y/z"}),
        ("{*rest}", "/", {"rest": ""}),
        ("f/{name}.{ext}", "/f/a.b.c", {"name": "a.b", "ext": "c"}),
        ("f/{name}.{ext?}", "/f/a", {"name": "a"}),
        ("{n:int}", "/12", {"n": "12"}),
        ("{n:int}", "/x", None),
        ("{n:int}", "/99999999999", None),
        ("{n:long:min(5)}", "/4", None),
        ("{n:range(1,3)}", "/3", {"n": "3"}),
        ("{g:guid}", "/0af76519-16cd-43dd-8448-eb211c80319c", {"g": "0af76519-16cd-43dd-8448-eb211c80319c"}),
        ("{g:guid}", "/nope", None),
        ("{w:alpha:length(2,3)}", "/abc", {"w": "abc"}),
        ("{w:alpha:length(2,3)}", "/abcd", None),
        (r"{z:regex(^\d+$)}", "/12", {"z": "12"}),
        (r"{z:regex(^\d+$)}", "/1x", None),
    ],
)
def test_a_template_matches(template: str, path: str, values: dict[str, str] | None) -> None:
    found = find([template], path)
    assert (found[1] if found else None) == values


@given(st.permutations(["m/{*rest}", "m/{id}", "m/{id:int}", "m/latest", "m/{id}/stop", "m/latest/{verb}"]))
def test_the_most_specific_route_wins_whatever_the_order(templates: list[str]) -> None:
    won = {
        path: find(templates, path)[0]
        for path in ("/m/latest", "/m/7", "/m/x", "/m/x/y", "/m/x/stop", "/m/latest/stop")
    }
    assert won == {
        "/m/latest": "m/latest",
        "/m/7": "m/{id:int}",
        "/m/x": "m/{id}",
        "/m/x/y": "m/{*rest}",
        "/m/x/stop": "m/{id}/stop",
        "/m/latest/stop": "m/latest/{verb}",
    }


@pytest.mark.parametrize("template", ["a/{b", "a/b}", "a/{b:shiny}"])
def test_a_broken_template_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match="a/"):
        parse_template(template)
