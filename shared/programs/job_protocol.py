"""Run a program as a Job and read what it says: JSON lines in its log, the last of them a result or an error.

The program prints `{"step": …, "done": …, "total": …, "unit": …}` while it works, and at the end either
`{"result": {…}}` with exit code 0 or `{"error": {"message": …, "hint": …, "kind": …}}` with another. Nothing is kept
here: every call looks at the Job anew, so a crash of the caller at any point is harmless.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.errors import ConfigurationError, MigrationError, PermanentError, TransientError, VerificationFailed
from shared.kubernetes.manifests import labels
from shared.model.migration import Progress
from shared.model.ports import Cluster, Manifest

ERROR_KINDS: dict[str, type[MigrationError]] = {
    "transient": TransientError,
    "verification": VerificationFailed,
    "configuration": ConfigurationError,
}
KEPT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Program:
    """A Job by its name, and which of its containers speaks."""

    job: str
    container: str
    command: str
    """How a failure names it."""


def advance(cluster: Cluster, program: Program, manifest: Callable[[], Manifest], step: str) -> Progress:
    """Start the Job, or see how far it is; finished with the program's result. Fails as the program failed."""
    live = cluster.read("Job", program.job)
    if live is None:
        cluster.apply(manifest())
        return Progress(finished=False, step=step, check_again_in_seconds=0.5)
    conditions = {c["type"]: c for c in (live.get("status") or {}).get("conditions") or [] if c["status"] == "True"}
    last = _last_log_line(cluster, program)
    if "Complete" in conditions and last and "result" in last:
        return Progress(finished=True, step=step, result=last["result"])
    if "Complete" in conditions:
        cluster.delete("Job", program.job)  # its log is gone: the programs' commands may be run again
        raise TransientError(f"the log of Job {program.job} could not be read after it completed")
    if "Failed" in conditions:
        _raise_failed(cluster, program, conditions["Failed"], last)
    return _running(step, last or {})


def job(name: str, run: str, pod: Manifest, *, retries: int = 3, deadline_seconds: int | None = None) -> Manifest:
    """A Job around a pod's spec; it ends itself after the deadline and is removed a week after its end."""
    spec: Manifest = {
        "backoffLimit": retries,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {"metadata": {"labels": labels(run)}, "spec": {"restartPolicy": "Never", **pod}},
    }
    if deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = deadline_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels(run)},
        "spec": spec,
    }


def last_line(output: str) -> dict[str, Any] | None:
    """The newest JSON object that a program printed; None when there is none yet."""
    for line in reversed(output.strip().splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return None


def result_of(line: dict[str, Any], where: str) -> dict[str, Any]:
    """The result in a program's last line; its error as one of ours."""
    if "result" in line:
        return dict(line["result"])
    error = line.get("error") or {}
    kind = ERROR_KINDS.get(str(error.get("kind")), PermanentError)
    raise kind(f"{where}: {error.get('message', 'ended without a result')}", hint=str(error.get("hint") or ""))


def _running(step: str, last: dict[str, Any]) -> Progress:
    return Progress(
        finished=False,
        step=str(last.get("step") or step),
        done=int(last.get("done") or 0),
        total=int(last.get("total") or 0),
        unit=str(last.get("unit") or ""),
        check_again_in_seconds=1.0,
    )


def _raise_failed(cluster: Cluster, program: Program, condition: Manifest, last: dict[str, Any] | None) -> None:
    """Raise as the program did. A transient failure removes the Job first, so that the retry starts a new one."""
    kind = ((last or {}).get("error") or {}).get("kind")
    if kind == "transient":
        cluster.delete("Job", program.job)
    if last and "error" in last:
        result_of(last, f"{program.command} in Job {program.job}")
    raise PermanentError(
        f"Job {program.job} failed: {condition.get('reason')} {condition.get('message') or ''}".strip(),
        hint=f"kubectl logs -n {cluster.namespace} -l job-name={program.job} --tail=50",
    )


def _last_log_line(cluster: Cluster, program: Program) -> dict[str, Any] | None:
    """The newest JSON line of the Job's newest pod; None when there is none yet."""
    found = cluster.list("Pod", {"job-name": program.job})
    pods = sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    if not pods or (pods[-1].get("status") or {}).get("phase") == "Pending":
        return None
    try:
        return last_line(cluster.logs(pods[-1]["metadata"]["name"], program.container, tail_lines=5))
    except MigrationError:  # the container is just starting or just gone: the Job's conditions decide
        return None
