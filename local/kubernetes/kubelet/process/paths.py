"""Rewrite mount paths: what a container sees as `/app/backend/data` is a directory somewhere else on this machine.

There is no chroot, so every occurrence of a mount path in a command, an argument or an environment value is replaced
by the directory behind it. A mount path counts only as a whole path prefix: `/data` is found in `/data/x`,
`KEY=/data`, `/bin:/data/bin`, `open('/data/x')` and `sqlite:////data/x`, not in `/database`, `/srv/data`,
`http://host/data` or `$(pwd)/data`. Of two mounts the longer path wins. The text is read once, so a directory put in
is never rewritten again.
"""

import posixpath
import re
from collections.abc import Mapping

# What may stand right before an absolute path. An opening quote counts, a closing one ("$x"/data) does not.
_BEFORE = r"""(?:(?<=file://)|(?<=sqlite:///)|(?<![\w./~$*?+%@)}\]"'-])|(?<=(?<![\w)}\]"'])["'])|(?<=\\["']))"""
_AFTER = r"(?![\w.~%+@*?-])"


def rewrite(text: str, mounts: Mapping[str, str]) -> str:
    """Replace every mount path in `text` by its directory."""
    paths = {posixpath.normpath(path): directory for path, directory in mounts.items() if path.strip("/")}
    if not paths:
        return text
    longest_first = sorted(paths, key=len, reverse=True)
    pattern = _BEFORE + "(" + "|".join(map(re.escape, longest_first)) + ")" + _AFTER
    return re.sub(pattern, lambda found: paths[found.group(1)], text)


def locate(path: str, mounts: Mapping[str, str]) -> str | None:
    """Find the directory behind one path, or None when it lies in no mount."""
    path = posixpath.normpath(path)
    for mount in sorted(map(posixpath.normpath, mounts), key=len, reverse=True):
        if path == mount or path.startswith(mount + "/"):
            return mounts.get(mount, mounts.get(mount + "/", "")) + path[len(mount) :]
    return None


def unsafe_characters(directory: str) -> str:
    """List the characters of a directory's name that would break a shell command it is put into."""
    return "".join(sorted(set(re.findall(r"[^\w./@%+=:,-]", directory))))
