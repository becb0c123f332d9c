"""Where Open WebUI's data directory lies on its claim, and who else uses the claim. Pure: manifests in, findings out.

One mount that holds the data directory is what a migration can move: the pod's volume is pointed at the share and the
mount stays as it is, `subPath` included, so everything is copied to the same place on the share. What would come out
different is a warning, what cannot be done so a blocking problem.
"""

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.kubernetes.pods import has_ended
from shared.model.ports import Manifest
from shared.model.survey import Problem, Severity

DEFAULT_DATA_DIR = "/app/backend/data"
"""Source: Open WebUI 0.12, env.py: DATA_DIR, else `data` in the image's /app/backend."""

CHANGES_OWNER = re.compile(r"\b(chown|chmod|chgrp)\b")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the data directory is."""

    volume: str
    """The pod volume."""
    data_dir: str
    """In the container."""
    sub_path: str
    """On the volume; empty: its root."""
    mounted_at: str
    """An ancestor of the data directory where more than it is mounted."""


def volumes_of_claim(deployment: Manifest, claim: str) -> list[str]:
    """Names of the pod volumes that are this claim."""
    volumes = _pod(deployment).get("volumes") or []
    return [str(one["name"]) for one in volumes if _claim_of(one) == claim]


def containers_with(deployment: Manifest, claim: str, kind: str = "containers") -> list[Manifest]:
    """The containers (or `initContainers`) that mount the claim."""
    names = volumes_of_claim(deployment, claim)
    return [one for one in _pod(deployment).get(kind) or [] if any(m["name"] in names for m in _mounts(one))]


def main_container(deployment: Manifest, claim: str) -> Manifest | None:
    """Open WebUI's container: the only one that mounts the claim, or the only one of these with its image."""
    found = containers_with(deployment, claim)
    if len(found) > 1:
        found = [one for one in found if "open-webui" in str(one.get("image"))] or found
    return found[0] if len(found) == 1 else None


def locate(deployment: Manifest, claim: str, main: Manifest, data_dir: str) -> Place | None:
    """Where this container's data directory is on the claim; None when the claim does not hold it."""
    data_dir = posixpath.normpath(data_dir)
    covering = [one for one in _mounts(main) if _covers(one["mountPath"], data_dir)]
    deepest = max(covering, key=lambda one: len(posixpath.normpath(one["mountPath"])), default=None)
    if deepest is None or deepest["name"] not in volumes_of_claim(deployment, claim):
        return None
    at = posixpath.normpath(deepest["mountPath"])
    below = posixpath.normpath(posixpath.join(deepest.get("subPath") or "", posixpath.relpath(data_dir, at)))
    return Place(str(deepest["name"]), data_dir, "" if below == "." else below, at)


def mount_problems(
    deployment: Manifest, claim: str, main: Manifest, place: Place, *, keeps_owner: bool
) -> list[Problem]:
    """What in the mounts stands in the way or will come out different.

    `keeps_owner`: whether chown and chmod hold on the share (NFS), or fail there (SMB; source: facts §5).
    """
    return [
        *_unusual(deployment, claim, main, place),
        *_sidecars(deployment, claim, main),
        *_init_containers(deployment, claim, keeps_owner=keeps_owner),
    ]


def claims_of_replicas(deployment: Manifest, claim: str) -> list[str]:
    """Other claims that every replica would mount too."""
    names = {_claim_of(one) for one in _pod(deployment).get("volumes") or []}
    return sorted(name for name in names if name and name != claim)


def shared_claim_problems(claims: Iterable[Manifest], replicas: int) -> list[Problem]:
    """Claims that only one node can mount hold up the second replica for ever."""
    alone = [
        str(one["metadata"]["name"])
        for one in claims
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(one["spec"].get("accessModes") or [])
    ]
    if not alone or replicas < 2:
        return []
    message = f"the Deployment also mounts {', '.join(alone)}, which several replicas cannot (ReadWriteOnce)"
    hint = "Move what is on it to a claim with ReadWriteMany, or ask for one replica (options.replicas)."
    return [Problem("claim_of_one", Severity.BLOCKING, message, hint)]


def other_users(pods: Sequence[Manifest], claim: str, labels: dict[str, str]) -> list[str]:
    """Pods that mount the claim and do not belong to the Deployment."""
    running = [one for one in pods if not has_ended(one)]
    return sorted(
        str(one["metadata"]["name"])
        for one in running
        if not labels.items() <= (one["metadata"].get("labels") or {}).items()
        and any(_claim_of(volume) == claim for volume in one["spec"].get("volumes") or [])
    )


def _unusual(deployment: Manifest, claim: str, main: Manifest, place: Place) -> list[Problem]:
    volumes, problems = volumes_of_claim(deployment, claim), []
    mine = [one for one in _mounts(main) if one["name"] in volumes]
    at = ", ".join(_described(one) for one in mine)
    if any(one.get("subPathExpr") for one in mine):
        message = f"container {main['name']} mounts the disk with subPathExpr ({at}): replicas would not share it"
        hint = "Mount it with a plain subPath, or none."
        problems.append(Problem("sub_path_expr", Severity.BLOCKING, message, hint))
    if len(mine) > 1 or len(volumes) > 1:
        message = f"container {main['name']} mounts the disk in several places: {at}"
        hint = f"Mount the claim once, so that {place.data_dir} lies on it, and move the other folders below that."
        problems.append(Problem("several_mounts", Severity.BLOCKING, message, hint))
    elif place.mounted_at != place.data_dir:
        message = (
            f"the disk is mounted at {place.mounted_at}, above the data directory {place.data_dir}: what else lies on"
            " it is not copied, and the new pods do not have it"
        )
        hint = f"ls {place.mounted_at} in the pod shows what that is; image and cache folders are made anew."
        problems.append(Problem("outside_data_dir", Severity.WARNING, message, hint))
    return problems


def _sidecars(deployment: Manifest, claim: str, main: Manifest) -> list[Problem]:
    others = [str(one["name"]) for one in containers_with(deployment, claim) if one["name"] != main["name"]]
    if not others:
        return []
    message = (
        f"{', '.join(others)} mount the disk too: after the switch they see the share, with uploads and cache but"
        " without vector_db, once in every replica"
    )
    hint = "If one of them backs up or reads vector_db, replace it by a backup of the database before you migrate."
    return [Problem("sidecar_mounts", Severity.WARNING, message, hint)]


def _init_containers(deployment: Manifest, claim: str, *, keeps_owner: bool) -> list[Problem]:
    found = containers_with(deployment, claim, "initContainers")
    changing = [str(one["name"]) for one in found if CHANGES_OWNER.search(_command(one))]
    names = [str(one["name"]) for one in found if str(one["name"]) not in changing]
    problems = []
    if names:
        message = f"init containers {', '.join(names)} mount the disk: they will run on the share, before every replica"
        problems.append(Problem("init_mounts", Severity.WARNING, message, "Rehearse them with several replicas."))
    if changing:
        message = f"init containers {', '.join(changing)} set owners or modes on the disk"
        if keeps_owner:
            problems.append(Problem("init_mounts", Severity.WARNING, f"{message}; on the share before every replica"))
        else:
            hint = "Take them out, or use an NFS class (infra/kubernetes/02-storage-premium-nfs.yaml)."
            message += ", which fails on an SMB share: no new pod would start"
            problems.append(Problem("init_owner", Severity.BLOCKING, message, hint))
    return problems


def _command(container: Manifest) -> str:
    return " ".join(str(word) for key in ("command", "args") for word in container.get(key) or [])


def _described(mount: Manifest) -> str:
    below = mount.get("subPath") or mount.get("subPathExpr")
    return f"{mount['mountPath']} ({below})" if below else str(mount["mountPath"])


def _covers(mount_path: str, path: str) -> bool:
    mount_path = posixpath.normpath(mount_path)
    return path == mount_path or path.startswith(mount_path.rstrip("/") + "/")


def _claim_of(volume: Manifest) -> str:
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")


def _mounts(container: Manifest) -> list[Manifest]:
    return list(container.get("volumeMounts") or [])


def _pod(deployment: Manifest) -> Manifest:
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec
