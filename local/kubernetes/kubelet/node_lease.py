"""The node's lease: renewed while the kubelet lives, and who holds it, so that no two kubelets serve one node.

Source: k8s.io/api coordination/v1; a kubelet renews `kube-node-lease/<node>` every ten seconds, and the node counts as
lost after forty.
"""

import os
from datetime import UTC, datetime, timedelta

from local.kubernetes.kubelet.api import Api, ApiError, Object
from local.kubernetes.kubelet.background import now_micro
from local.kubernetes.kubelet.process.processes import start_time

PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
SECONDS = 40
_HOLDER = "scaleout.dev/kubelet"
"""Annotation: the process and when it started, with the boot that counts from."""


class NodeTaken(Exception):
    """Another kubelet serves a node of this name."""


def lease(name: str) -> Object:
    """The lease as this process holds it, from now."""
    holder = {_HOLDER: f"{os.getpid()} {start_time(os.getpid())}"}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease", "annotations": holder},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": SECONDS, "renewTime": now_micro()},
    }


async def require_free(api: Api, name: str) -> None:
    """Raise NodeTaken where a kubelet that lives holds the node: the two would take each other's pods."""
    try:
        found = await api.get(f"{PATH}/{name}")
    except ApiError:
        return
    if is_held(found, datetime.now(UTC)):
        raise NodeTaken(
            f"another kubelet serves node {name} of this cluster, that of another rehearsal perhaps; "
            f"where it was killed, its node is free {SECONDS} s later"
        )


def is_held(found: Object, at: datetime) -> bool:
    """Whether the holder lives: by its process, where that ran on this machine since its last start, else by time."""
    holder = str((found["metadata"].get("annotations") or {}).get(_HOLDER) or "")
    process, _, started = holder.partition(" ")
    here = str(start_time(os.getpid())).partition(" ")[0]
    if started.startswith(f"{here} "):
        return int(process) != os.getpid() and start_time(int(process)) == started
    renewed = datetime.fromisoformat(found["spec"]["renewTime"])
    return at - renewed < timedelta(seconds=SECONDS)
