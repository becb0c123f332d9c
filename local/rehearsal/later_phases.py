"""The phases after a migration, in a rehearsal: what they left is looked at; then they are run alone and taken back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.rehearsal.app_client import AppClient
from shared.errors import VerificationFailed
from shared.model import LATER_PHASES
from shared.monitoring import METRICS

PHASES = ("enable_autoscaling", "install_monitoring", "write_handbook")
OPTIONS = {LATER_PHASES[phase]: True for phase in PHASES}
HANDBOOKS = {"html": "handbook.html", "markdown": "handbook.md"}


def check(app: AppClient, run: str, build: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the handbook into `build`, then run the phases alone, as an operator would days later, and undo that."""
    build.mkdir(parents=True, exist_ok=True)
    for format_, name in HANDBOOKS.items():
        (build / name).write_text(app.handbook(run, format_))
    exposition = app.metrics()
    exposed = {name for name, source in METRICS.items() if source == "guard" and f"# TYPE {name} " in exposition}
    say("the later phases once more, alone")
    later = app.start({"mode": "phases", "phases": list(PHASES)})
    _expect(app, later, "applied")
    if _headings(app.handbook(later, "markdown")) != _headings(app.handbook(run, "markdown")):
        raise VerificationFailed(f"the handbook of run {later} is not that of the migration")
    say("and taken back")
    _expect(app, app.act(later, "rollback")["id"], "rolled_back")
    return {"handbook": sorted(HANDBOOKS.values()), "run_alone": later, "metrics": sorted(exposed)}


def _expect(app: AppClient, run: str, state: str) -> None:
    ended = app.follow(run, lambda _: None, patience_seconds=120)
    if ended["state"] != state:
        why = (ended["report"] or {}).get("failure")
        raise VerificationFailed(f"run {run} ended as {ended['state']}, not {state}: {why}")


def _headings(text: str) -> list[str]:
    """Figures move between two readings; what is told does not."""
    return [line for line in text.splitlines() if line.startswith("#")]
