"""Faults a rehearsal injects into activities. The app knows nothing of them.

The file is a JSON list; each entry says which activity, what goes wrong and when:

    [{"activity": "copy_vectors", "kind": "permanent", "when": "before", "times": 1}]

    kind    permanent   the activity answers as the app's boundary answers a permanent failure
            bug         the same, with the words of a bug
            transient   the activity fails with the error type the app retries
            kill        this host is killed with SIGKILL; whoever supervises it starts it again
    when    before      the activity does not run
            halfway     it runs, and then its answer is lost
    input   optional: an object that must be part of the activity's input, such as {"phase": "copy_vectors"}
    phase   optional: the name in the answer; by default the input's `phase`, or else the activity's name

How often a fault was used is written back *before* it happens, so that it happens `times` times however often the host
is killed. The file is read for every activity, so a rehearsal may change it while it runs.
"""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.functions.files import replace_file
from shared.errors import ConfigurationError

KINDS = ("permanent", "bug", "transient", "kill")
MOMENTS = ("before", "halfway")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an activity ended: a JSON result (or, with `is_text`, a bare string), or an error type and a message."""

    result: str | None = None
    error_type: str = ""
    message: str = ""
    stack_trace: str = ""
    is_text: bool = False

    @property
    def failed(self) -> bool:
        """Whether it raised."""
        return bool(self.error_type)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, about to happen to the activity of a phase."""

    activity: str
    kind: str
    when: str
    phase: str

    def happen(self) -> Outcome:
        """Answer in the activity's place, or kill this process."""
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "transient":
            return Outcome(error_type="TransientError", message=f"injected: transient fault in {self.activity}")
        message = "bug: injected" if self.kind == "bug" else f"injected: permanent fault in {self.activity}"
        failed = {"phase": self.phase, "state": "failed", "message": message, "hint": ""}
        return Outcome(result=json.dumps(failed | {"needs_operator": False, "result": None}))


class Faults:
    """The faults of one file; without a file there are none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path:
            check_faults(path)

    def take(self, activity: str, given: str) -> Fault | None:
        """Use up the first fault that is meant for this activity and input, if there is one left."""
        if self._path is None:
            return None
        entries = _read(self._path)
        decoded = _decode(given)
        for entry in entries:
            if entry["activity"] == activity and _left(entry) and _is_part(entry.get("input", {}), decoded):
                entry["used"] = entry.get("used", 0) + 1
                replace_file(self._path, json.dumps(entries, indent=2))
                phase = entry.get("phase") or _phase_of(decoded) or activity
                return Fault(activity, entry["kind"], entry.get("when", "before"), phase)
        return None


def check_faults(path: Path) -> None:
    """Raise ConfigurationError with everything that is wrong with a faults file."""
    problems = []
    for number, entry in enumerate(_read(path), start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("activity"), str):
            problems.append(f"entry {number} names no activity")
            continue
        if entry.get("kind") not in KINDS:
            problems.append(f"entry {number}: kind is {entry.get('kind')!r}, not one of {', '.join(KINDS)}")
        if entry.get("when", "before") not in MOMENTS:
            problems.append(f"entry {number}: when is {entry.get('when')!r}, not one of {', '.join(MOMENTS)}")
    if problems:
        raise ConfigurationError(f"{path}: {'; '.join(problems)}")


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text()) if path.exists() else []
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ConfigurationError(f"{path} is not a list of faults")
    return entries


def _decode(given: str) -> object:
    try:
        return json.loads(given) if given else None
    except ValueError:
        return None


def _left(entry: Mapping[str, Any]) -> bool:
    return int(entry.get("used", 0)) < int(entry.get("times", 1))


def _is_part(wanted: Mapping[str, Any], given: object) -> bool:
    return not wanted or (isinstance(given, dict) and all(given.get(key) == value for key, value in wanted.items()))


def _phase_of(given: object) -> str:
    phase = given.get("phase") if isinstance(given, dict) else None
    return phase if isinstance(phase, str) else ""
