"""The phases after a migration, in a rehearsal: what they left is fetched and looked at, and one is run alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.rehearsal.app_client import AppClient
from shared.errors import VerificationFailed
from shared.monitoring import METRICS

OPTIONS = {"autoscaling": True, "monitoring": True, "handbook": True}
HANDBOOKS = {"html": "handbook.html", "markdown": "handbook.md"}


def check(app: AppClient, run: str, build: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the handbook into `build`, then run the last phase alone as an operator would days later."""
    build.mkdir(parents=True, exist_ok=True)
    for format_, name in HANDBOOKS.items():
        (build / name).write_text(app.handbook(run, format_))
    exposed = {name for name, source in METRICS.items() if source == "guard" and f"# TYPE {name} " in app.metrics()}
    say("the handbook once more, alone")
    later = app.start({"mode": "phases", "phases": ["write_handbook"]})
    ended = app.follow(later, lambda state: None, patience_seconds=120)
    if ended["state"] != "applied":
        raise VerificationFailed(f"run {later} ended as {ended['state']}: {(ended['report'] or {}).get('failure')}")
    if _headings(app.handbook(later, "markdown")) != _headings(app.handbook(run, "markdown")):
        raise VerificationFailed(f"the handbook of run {later} is not that of the migration")
    return {"handbook": sorted(HANDBOOKS.values()), "run_alone": later, "metrics": sorted(exposed)}


def _headings(text: str) -> list[str]:
    """Figures move between two readings; what is told does not."""
    return [line for line in text.splitlines() if line.startswith("#")]
