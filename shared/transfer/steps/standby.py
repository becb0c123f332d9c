"""Stand by: a Job whose pod is scheduled, mounted and loaded before Open WebUI is stopped, and begins when it is told.

Whoever stopped Open WebUI makes the file (`touch`, by exec in this pod); to make it twice is harmless. A pod that is
never told ends after a while, and with it its hold on the disk.
"""

import time
from pathlib import Path

from ..errors import TransientError
from ..progress import Progress, silent

STEP = "waiting for the stop"
"""What the log's last line says meanwhile."""
_LOOK_AGAIN_SECONDS = 0.02
LONGEST_SECONDS = 3600.0


def wait_for(file: Path, *, longest_seconds: float = LONGEST_SECONDS, progress: Progress = silent) -> None:
    """Return when the file is there; TransientError when it does not come."""
    end = time.monotonic() + longest_seconds
    progress(STEP, 0, 0, "")
    while not file.exists():
        if time.monotonic() > end:
            raise TransientError(f"{file} was not made within {longest_seconds:g} s", hint="run the same command again")
        time.sleep(_LOOK_AGAIN_SECONDS)
