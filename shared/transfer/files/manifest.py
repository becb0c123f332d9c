"""What was copied to a target, `.scaleout/files.jsonl` there: one JSON line a file, appended after the file got its
final name. A line is only trusted when it is whole."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

OWN_FOLDER = ".scaleout"
LINK = "link"
"""Digest of a link that was copied as a link."""

_MANIFEST = "files.jsonl"


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One manifest line. `digest`: blake2b of the content, '' for a directory, LINK for a link, None when not known."""

    path: str
    size: int
    mtime_ns: int
    digest: str | None
    gone: bool = False
    """Removed again."""
    link: str = ""
    """Where the source points, when it is a link; with a digest of its own where the target takes no links."""


class Manifest:
    """The lines of one target."""

    def __init__(self, target: Path) -> None:
        self._path = target / OWN_FOLDER / _MANIFEST

    def read(self) -> dict[str, CopiedFile]:
        """Return the entries by path, the last line of a path counting."""
        entries: dict[str, CopiedFile] = {}
        if self._path.is_file():
            for line in self._path.read_text("ascii").splitlines():
                try:
                    entry = CopiedFile(**json.loads(line))
                except ValueError:
                    continue  # the line that was being written when the process was killed
                entries.pop(entry.path, None)
                if not entry.gone:
                    entries[entry.path] = entry
        return entries

    def append(self, entry: CopiedFile) -> None:
        """Add one entry. A torn last line is closed first, so that it cannot swallow this one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(b"\n" + json.dumps(asdict(entry)).encode("ascii") + b"\n")

    def compact(self) -> None:
        """Rewrite the manifest with one line a path."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in self.read().values())
        fresh = self._path.with_suffix(".new")
        fresh.write_text(lines, "ascii")
        fresh.replace(self._path)

    def forget(self) -> None:
        """Remove the manifest and everything partial."""
        for folder in (self._path.parent / "partial", self._path.parent):
            if folder.is_dir():
                for path in folder.iterdir():
                    if path.name == _MANIFEST or folder.name == "partial":
                        path.unlink()
                with suppress(OSError):
                    folder.rmdir()
