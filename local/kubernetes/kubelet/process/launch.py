"""Start a container's process: tie its life to the kubelet's, confine what it may write, become the command.

Run as `python -I -S launch.py PLAN COMMAND …`, standard library only, so that it costs a few milliseconds. The plan is
JSON: `keep_out`, the directories mounted read-only; `writable`; `own_root`, null or what `own_root.enter` takes;
`failure`, a pipe's handle that closes when the command has taken over and takes the reason when it cannot; `parent`,
the kubelet's process, whose end is to be this one's.

Landlock is an allow list, so with anything in `keep_out` the process may write only beneath `writable`; a read-only
mount that lies within a writable one (the same claim mounted both ways) stays writable.

Source: landlock(7), and linux/landlock.h for the bits and structures.
"""

import ctypes
import json
import os
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on x86-64 and arm64
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_CHANGES = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))  # write, remove and make of every kind


def landlock_version() -> int:
    """Return the kernel's Landlock ABI, or 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def allowed(writable: Iterable[str], keep_out: Iterable[str]) -> list[str]:
    """Choose where a process may write: the writable directories without any that contains a read-only mount."""
    kept = [Path(path) for path in keep_out]
    return [path for path in writable if not any(Path(path) in each.parents for each in kept)]


def confine(writable: Iterable[str]) -> None:
    """Let this process and its children write only beneath these directories."""
    version = landlock_version()
    if version == 0:
        return
    access = _CHANGES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    ruleset = _checked(
        _libc().syscall(_CREATE_RULESET, struct.pack("=Q", access), ctypes.c_size_t(8), ctypes.c_uint32(0))
    )
    for path in writable:
        if not Path(path).exists():
            continue
        granted = access if Path(path).is_dir() else access & (_WRITE_FILE | _TRUNCATE)
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", granted, handle)
        _checked(_libc().syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, ctypes.c_uint32(0)))
        os.close(handle)
    _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_libc().syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    os.close(ruleset)


def enter_own_root(arguments: list[Any]) -> None:
    """Call `own_root.enter`, found beside this file, because there is no package path."""
    import runpy  # few containers need it

    runpy.run_path(str(Path(__file__).with_name("own_root.py")))["enter"](*arguments)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def main(arguments: list[str]) -> None:
    plan = json.loads(arguments[0])
    command = arguments[1:]
    try:
        os.set_inheritable(plan["failure"], False)
        if plan["own_root"]:
            enter_own_root(plan["own_root"])
        # After that, because new credentials, which a user namespace brings, clear it. Source: prctl(2).
        if sys.platform.startswith("linux"):
            _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != plan["parent"]:
            return
        if plan["keep_out"] and not plan["own_root"]:  # there the mounts themselves are read-only
            confine(allowed(plan["writable"], plan["keep_out"]))
        os.execvpe(command[0], command, os.environ)  # noqa: S606
    except OSError as error:
        os.write(plan["failure"], f'exec: "{command[0]}": {error.strerror or error}'.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
