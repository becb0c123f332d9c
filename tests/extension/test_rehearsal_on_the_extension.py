"""The whole rehearsal with the real Durable Task extension in our engine's place."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from local.rehearsal.rehearse import Wishes, rehearse

pytestmark = [pytest.mark.extension, pytest.mark.timeout(900)]


def rehearsed(home: Path, **wishes: Any) -> dict[str, Any]:
    """The report of a rehearsal that ended well."""
    said = io.StringIO()
    code = rehearse(Wishes(real_extension=True, **wishes), Console(file=said))
    assert code == 0, said.getvalue()
    report: dict[str, Any] = json.loads((home / "build" / "report.json").read_text())
    return report


def test_it_migrates(home: Path) -> None:
    report = rehearsed(home)
    assert report["state"] == "migrated"
    assert all(criterion["met"] for criterion in report["criteria"])


def test_the_guard_passes_its_trial(home: Path) -> None:
    found = rehearsed(home, guard=True)["guard"]
    assert "back to revision" in found["bad_rollout"]["verdict"]
    assert found["heal"]["replicas"] == 3
