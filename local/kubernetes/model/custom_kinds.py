"""Kinds that somebody brings along: what a CustomResourceDefinition says becomes part of the API, and goes with it.

Served are its versions with their schemas, as far as `local.kubernetes.model.schema` reads one: fields, types, what is
required and how lists merge. Not implemented: conversion between versions, patterns and rules of a schema, printer
columns. Source: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions"; apiextensions.k8s.io/v1.
"""

from typing import Any

from local.kubernetes.model import kinds, schema
from local.kubernetes.model.kinds import Resource

type Object = dict[str, Any]


def install(definition: Object) -> None:
    """Serve the kinds of a definition."""
    spec = definition["spec"]
    versions = [version for version in spec["versions"] if version.get("served")]
    resources = tuple(_resource(spec, version) for version in versions)
    for version, resource in zip(versions, resources, strict=True):
        schema.define(resource, (version.get("schema") or {}).get("openAPIV3Schema") or {})
    kinds.bring(definition["metadata"]["name"], resources)


def uninstall(definition: str) -> tuple[Resource, ...]:
    """Serve them no longer; returns what they were."""
    return kinds.take_away(definition)


def _resource(spec: Object, version: Object) -> Resource:
    names, below = spec["names"], version.get("subresources") or {}
    return Resource(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        subresources=("status",) if "status" in below else (),
        short_names=tuple(names.get("shortNames") or ()),
        counts_generations=True,
        returns_deleted_object=False,
        custom=True,
    )
