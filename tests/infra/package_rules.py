"""What a deployment packs: the files of a folder that `.funcignore` does not keep out, by git's rules and by azd's.

`func azure functionapp publish` reads the file as git does. azd reads it with github.com/denormal/go-gitignore: a name
behind a leading slash is matched with the whole path by an fnmatch whose `*` crosses slashes, so `/*` is everything;
a folder that is kept out is not entered, so nothing below it comes back; and azd 1.18 to 1.23.12 took every match for
an exclusion, one by a line with `!` too. Source: Azure/azure-dev, cli/azd/pkg/project/project_utils.go and
pkg/rzip/rzip.go, 1.23.12 and 1.28; go-gitignore, pattern.go and gitignore.go; the same files came out of that library.
"""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pathspec

type Excluded = Callable[[str, bool], bool]
"""Whether a path (from the root, with slashes) is kept out; the second says whether it is a folder."""

NEVER_PACKED = {".azure", ".funcignore", "local.settings.json"}
"""By azd, whatever the file says."""


def by_git(lines: list[str]) -> Excluded:
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    return lambda path, is_folder: spec.match_file(f"{path}/" if is_folder else path)


def by_azd(lines: list[str], *, negations_exclude: bool = False) -> Excluded:
    """`negations_exclude`: as azd 1.18 to 1.23.12."""
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def excluded(path: str, is_folder: bool) -> bool:
        last = next((p for p in reversed(patterns) if _matches(p.removeprefix("!"), path, is_folder)), None)
        return last is not None and (negations_exclude or not last.startswith("!"))

    return lambda path, is_folder: path.rpartition("/")[2] in NEVER_PACKED or excluded(path, is_folder)


def packed(root: Path, excluded: Excluded, below: str = "") -> Iterator[str]:
    """The files that are packed; a folder that is kept out is not entered."""
    for entry in sorted((root / below).iterdir()):
        path = f"{below}/{entry.name}" if below else entry.name
        if excluded(path, entry.is_dir()):
            continue
        if entry.is_dir():
            yield from packed(root, excluded, path)
        else:
            yield path


def _matches(pattern: str, path: str, is_folder: bool) -> bool:
    assert "**" not in pattern, "not modelled"
    if pattern.endswith("/") and not is_folder:
        return False
    anchored, bare = pattern.startswith("/"), pattern.strip("/")
    if "/" in bare:
        steps, parts = bare.split("/"), path.split("/")
        return len(steps) == len(parts) and all(map(fnmatchcase, parts, steps))
    return fnmatchcase(path if anchored else path.rpartition("/")[2], bare)
