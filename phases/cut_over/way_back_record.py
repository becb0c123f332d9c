"""The Deployment as it was and the patch that switches it, kept in a Secret: what makes the way back certain."""

import base64
import json
from typing import Any

from phases.cut_over.switch_plan import Plan
from shared.kubernetes import manifests
from shared.model.ports import Manifest
from shared.names import Names

DEPLOYMENT, SWITCH, DOWN_SINCE = "deployment.json", "switch.json", "down-since"
"""Keys of the record: the Deployment as it was, the patch that switches it, when a way back stopped it."""


def record(plan: Plan, live: Manifest, patch: Manifest) -> Manifest:
    """The Secret that makes the way back certain. A Secret, because a Deployment may hold literal passwords."""
    kept = {key: value for key, value in live.items() if key != "status"}
    metadata = live["metadata"]
    kept["metadata"] = {k: metadata[k] for k in ("name", "namespace", "labels", "annotations") if k in metadata}
    values = {DEPLOYMENT: json.dumps(kept).encode(), SWITCH: json.dumps(patch).encode()}
    return manifests.opaque_secret(Names(plan.deployment, plan.run).record, plan.run, values)


def recorded(secret: Manifest, key: str) -> Any:
    """What the record holds under this key, None when it does not."""
    held = (secret.get("data") or {}).get(key)
    return json.loads(base64.b64decode(held)) if held else None
