"""The interface's description, made from the same types that check the requests. Pure."""

import dataclasses
from typing import Any

import msgspec

from api.guard import LONGEST_PAUSE_MINUTES
from api.migrations import EVENTS
from api.permissions import LOAD_TEST_SECRET
from shared.model.migration import MigrationRequest, Target

STATUS = {
    "type": "object",
    "description": "Always of this shape.",
    "properties": {
        "phase": {"type": "string"},
        "step": {"type": "string"},
        "done": {"type": "integer"},
        "total": {"type": "integer"},
        "unit": {"type": "string"},
        "eta_seconds": {"type": ["number", "null"]},
        "downtime_seconds": {"type": "number"},
        "phases": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "state": {"type": "string"},
                    "seconds": {"type": "number"},
                },
            },
        },
    },
}

PAUSE_MINUTES = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_PAUSE_MINUTES}

FORMAT = {
    "name": "format",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["html", "markdown"], "default": "html"},
}

WHAT = {
    "approve": "Let a run that waits for approval stop Open WebUI and switch.",
    "pause": "Hold at the next safe point; never while Open WebUI is down.",
    "resume": "Go on after a pause.",
    "abort": "Stop before the switch and undo what was done.",
    "rollback": "Undo what was done, also days after the switch.",
}


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    [request], components = msgspec.json.schema_components(
        [MigrationRequest], ref_template="#/components/schemas/{name}"
    )
    _leave_to_the_settings(components["Target"])
    run = _path_parameter("id", "The run, as `POST /api/migrations` named it.")
    paths: dict[str, Any] = {
        "/api/migrations": {
            "post": _operation("Plan a migration, or do it.", {"202": "started", "400": "every mistake", "409": "busy"})
            | {"requestBody": {"required": True, "content": {"application/json": {"schema": request}}}},
            "get": _operation("List all runs, newest first.", {"200": "the runs"}),
        },
        "/api/migrations/{id}": {
            "parameters": [run],
            "get": _operation("One run: status, plan and report.", {"200": "the run", "404": "no such run"}),
        },
        "/api/migrations/{id}/handbook": {
            "parameters": [run, FORMAT],
            "get": _operation(
                "This installation's handbook, HTML or Markdown.",
                {
                    "200": "the handbook",
                    "400": "no such format",
                    "404": "no such run, or it wrote none",
                    "409": "not ended",
                },
            ),
        },
        "/api/permissions": {
            "get": _operation(
                "What the app's identity can and cannot do, and which role is missing. Changes nothing.",
                {"200": "the answers", "400": "every mistake"},
            )
            | {"parameters": _permission_parameters()},
        },
        **_guard_paths(),
        "/api/metrics": {"get": _operation("What the guard last saw.", {"200": "OpenMetrics 1.0 or 0.0.4's text"})},
        "/api/monitor": {"get": _free("A page that shows the runs.", "HTML")},
        "/api/openapi.json": {"get": _free("This document.", "OpenAPI 3.1")},
    }
    for action in EVENTS:
        codes = {"202": "heard", "404": "no such run", "409": "not at this point of the run"}
        paths[f"/api/migrations/{{id}}/{action}"] = {"parameters": [run], "post": _operation(WHAT[action], codes)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Scaleout for Open WebUI", "version": "1"},
        "security": [{"functionKey": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Status": STATUS},
            "securitySchemes": {"functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"}},
        },
    }


def _permission_parameters() -> list[dict[str, Any]]:
    """Any field of the target, the load test's secret, and the form of the answer."""
    form = {"name": "as", "in": "query", "required": False, "schema": {"type": "string", "enum": ["json", "text"]}}
    names = (*(f.name for f in dataclasses.fields(Target)), LOAD_TEST_SECRET)
    return [form] + [{"name": n, "in": "query", "required": False, "schema": {"type": "string"}} for n in names]


def _guard_paths() -> dict[str, Any]:
    """Show, pause and resume the health guard."""
    one = {"type": "string", "description": "Key or name of one guarded Deployment; left out: all."}
    query = {"name": "deployment", "in": "query", "required": False, "schema": {"type": "string"}}
    pause = {
        "type": "object",
        "required": ["minutes", "because"],
        "properties": {"minutes": PAUSE_MINUTES, "because": {"type": "string", "minLength": 1}, "deployment": one},
        "additionalProperties": False,
    }
    show = _operation(
        "The guard's last verdicts, its readings and its state.",
        {"200": "every guarded Deployment", "404": "none such"},
    )
    codes = {"202": "heard", "404": "no such Deployment is guarded"}
    stop = _operation("Let the guard stand still for some minutes.", codes | {"400": "every mistake"})
    go_on = _operation("End the guard's pause now.", codes)
    return {
        "/api/guard": {"get": show | {"parameters": [query]}},
        "/api/guard/pause": {"post": stop | {"requestBody": _json_body(pause, required=True)}},
        "/api/guard/resume": {
            "post": go_on | {"requestBody": _json_body({"type": "object", "properties": {"deployment": one}})}
        },
    }


def _json_body(schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _operation(summary: str, codes: dict[str, str]) -> dict[str, Any]:
    codes = codes | {"401": "no valid function key"}
    return {"summary": summary, "responses": {code: {"description": text} for code, text in sorted(codes.items())}}


def _free(summary: str, what: str) -> dict[str, Any]:
    """An operation that needs no key."""
    return {"summary": summary, "security": [], "responses": {"200": {"description": what}}}


def _path_parameter(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


def _leave_to_the_settings(target: dict[str, Any]) -> None:
    """What the app's settings already say need not be sent."""
    target.pop("required", None)
    target["description"] += " What the app's settings already say may be left out."
