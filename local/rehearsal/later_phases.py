"""The phases after a migration, in a rehearsal: what they left is fetched and looked at, and one is run alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.rehearsal.app_client import AppClient
from shared.errors import VerificationFailed

OPTIONS = {"autoscaling": True, "handbook": True}
HANDBOOKS = {"html": "handbook.html", "markdown": "handbook.md"}


def check(app: AppClient, run: str, build: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the handbook into `build`, then run the last phase alone as an operator would days later."""
    build.mkdir(parents=True, exist_ok=True)
    for format_, name in HANDBOOKS.items():
        (build / name).write_text(app.handbook(run, format_))
    say("the handbook once more, alone")
    later = app.start({"mode": "phases", "phases": ["write_handbook"]})
    ended = app.follow(later, lambda state: None, patience_seconds=120)
    if ended["state"] != "applied":
        raise VerificationFailed(f"run {later} ended as {ended['state']}: {(ended['report'] or {}).get('failure')}")
    same = _without_times(app.handbook(later, "markdown")) == _without_times(app.handbook(run, "markdown"))
    return {"handbook": sorted(HANDBOOKS.values()), "run_alone": later, "handbook_stands": same}


def _without_times(text: str) -> list[str]:
    """Its headings: figures move between two readings."""
    return [line for line in text.splitlines() if line.startswith("#")]
