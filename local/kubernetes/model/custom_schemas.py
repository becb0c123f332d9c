"""Schemas of the kinds that AKS brings as CustomResourceDefinitions: snapshots of volumes.

Only the parts in use; a status is taken as it comes.
Source: kubernetes-csi/external-snapshotter, client/config/crd, version v1.
"""

from typing import Any

GROUP, VERSION = "snapshot.storage.k8s.io", "v1"
_TEXT = {"type": "string"}
_ANYTHING = {"type": "object"}


def _kind(name: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    meta = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    return {
        "type": "object",
        "properties": {"apiVersion": _TEXT, "kind": _TEXT, "metadata": meta, **properties},
        "required": list(required),
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": name}],
    }


def _struct(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_REFERENCE = _struct(apiVersion=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, resourceVersion=_TEXT, uid=_TEXT)

DEFINITIONS: dict[str, Any] = {
    f"{GROUP}.{VERSION}.VolumeSnapshot": _kind(
        "VolumeSnapshot",
        {
            "spec": _struct(
                ("source",),
                source=_struct(persistentVolumeClaimName=_TEXT, volumeSnapshotContentName=_TEXT),
                volumeSnapshotClassName=_TEXT,
            ),
            "status": _ANYTHING,
        },
        "spec",
    ),
    f"{GROUP}.{VERSION}.VolumeSnapshotClass": _kind(
        "VolumeSnapshotClass",
        {
            "driver": _TEXT,
            "deletionPolicy": _TEXT,
            "parameters": {"type": "object", "additionalProperties": _TEXT},
        },
        "driver",
        "deletionPolicy",
    ),
    f"{GROUP}.{VERSION}.VolumeSnapshotContent": _kind(
        "VolumeSnapshotContent",
        {
            "spec": _struct(
                ("deletionPolicy", "driver", "source", "volumeSnapshotRef"),
                deletionPolicy=_TEXT,
                driver=_TEXT,
                source=_struct(volumeHandle=_TEXT, snapshotHandle=_TEXT),
                sourceVolumeMode=_TEXT,
                volumeSnapshotClassName=_TEXT,
                volumeSnapshotRef=_REFERENCE,
            ),
            "status": _ANYTHING,
        },
        "spec",
    ),
}
