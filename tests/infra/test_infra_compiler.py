"""The real Bicep compiler takes the templates: where SCALEOUT_BICEP names it, or it is on the path.

The Azure CLI brings one along (`az bicep install`); NuGet has it as Azure.Bicep.CommandLine.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from project import MAIN, ROOT

BICEP = os.environ.get("SCALEOUT_BICEP") or shutil.which("bicep") or ""
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "infra").rglob("*.bicep"))

pytestmark = pytest.mark.skipif(not BICEP, reason="no Bicep compiler: SCALEOUT_BICEP is not set, none is on the path")


def bicep(*arguments: str) -> subprocess.CompletedProcess[str]:
    """On a machine without ICU too; it asks for no newer version."""
    environment = os.environ | {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    return subprocess.run([BICEP, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_it_builds_them_without_a_warning(tmp_path: Path) -> None:
    done = bicep("build", MAIN, "--outfile", str(tmp_path / "main.json"))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("file", FILES)
def test_its_linter_says_nothing(file: str) -> None:
    done = bicep("lint", file)
    assert (done.returncode, (done.stdout + done.stderr).strip()) == (0, "")


@pytest.mark.parametrize("file", FILES)
def test_they_are_formatted(file: str) -> None:
    assert bicep("format", file, "--stdout").stdout == (ROOT / file).read_text()
