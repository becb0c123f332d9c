"""Takes uploads and cache back from the share to the disk: only what was written, changed or deleted since the switch.

The manifest on the share says what was copied to it, so it also tells what has changed there since. Each file that is
taken back gets its line, each deletion too: afterwards the manifest says again that disk and share are equal. That
makes a rerun go on where it stood, and the undo of the copy removes these files from the share as well.
"""

from pathlib import Path

from ..errors import ConfigurationError
from ..progress import Progress, silent
from .files import copy_entry, delete_entries, digest_of, io_errors, list_entries, require_folders
from .manifest import LINK, CopiedFile, Manifest

_CLOCK_NS = 1000
"""SMB keeps times in steps of 100 ns."""


def carry_files(share: Path, disk: Path, *, progress: Progress = silent) -> dict[str, int]:
    """Bring the disk to what the share holds; return how many files were added, changed and deleted."""
    with io_errors():
        require_folders(share, disk)
        manifest = Manifest(share)
        known = manifest.read()
        if not known:
            raise ConfigurationError(
                f"there is no record on {share} of what was copied to it", hint="is the share of this run mounted?"
            )
        found, _ = list_entries(share)
        counts = {"files_added": 0, "files_changed": 0, "files_deleted": 0}
        for at, (path, entry) in enumerate(found.items()):
            before = known.get(path)
            if not _is_unchanged(share / path, entry, before):
                manifest.append(copy_entry(share / path, disk / path, disk, entry))
                counts["files_changed" if before else "files_added"] += entry.digest != ""
            progress("carry files back", at + 1, len(found), "files")
        gone = [entry for path, entry in known.items() if path not in found]
        delete_entries(disk, manifest, gone)
        counts["files_deleted"] = sum(1 for entry in gone if entry.digest != "")
        manifest.compact()
        Manifest(disk).forget()  # what was partial when an earlier attempt was killed
        return counts


def _is_unchanged(path: Path, entry: CopiedFile, before: CopiedFile | None) -> bool:
    """By size and time as the copy set it; where the share does not keep times, by checksum."""
    if before is None or (entry.digest != before.digest and "" in (entry.digest, before.digest)):
        return False
    if entry.digest == "":
        return True
    if LINK in {entry.digest, before.digest}:
        return (entry.digest, entry.link) == (before.digest, before.link)
    if entry.size != before.size:
        return False
    return abs(entry.mtime_ns - before.mtime_ns) < _CLOCK_NS or digest_of(path) == before.digest
