"""A picture of a page, taken by the Chromium of this machine, where there is one."""

import shutil
import subprocess
import tempfile
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
"""It asks nobody on the network, and runs as root in a container too."""


def find_browser() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def photograph(page: Path, picture: Path, width: int, height: int) -> bool:
    """Write what the page looks like as PNG; False where there is no browser, or it could not."""
    browser = find_browser()
    if browser is None:
        return False
    with tempfile.TemporaryDirectory() as profile:
        window = [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={picture.absolute()}"]
        done = subprocess.run(
            [browser, *QUIET, *window, page.absolute().as_uri()], capture_output=True, check=False, timeout=120
        )
    return done.returncode == 0 and picture.exists()
