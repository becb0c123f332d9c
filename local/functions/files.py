"""Write small state files so that a kill at any moment leaves the old or the new content, never half of it."""

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Write the whole content beside the file and move it into place; only the owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
