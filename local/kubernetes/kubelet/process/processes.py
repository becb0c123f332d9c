"""The processes that this kubelet started, written down so that the next one can end what a killed kubelet left behind.

A record is a file named after the process and holds when it started: a process counts as ours only if both agree, so a
number that the system gave to somebody else since is never touched. Nothing is ever looked up by name.
"""

import contextlib
import os
import signal
from pathlib import Path


def start_time(process: int) -> str | None:
    """Return when a process started, with the boot that counts from; None when it is gone.

    Source: proc_pid_stat(5), field 22.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + fields[19]
    except OSError:
        return None


def kill_session(leader: int) -> None:
    """Kill every process of a container: its group, which it leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Register:
    """The records of running processes in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, process: int) -> None:
        (self._directory / str(process)).write_text(start_time(process) or "")

    def remove(self, process: int) -> None:
        (self._directory / str(process)).unlink(missing_ok=True)

    def end_leftovers(self) -> list[int]:
        """Kill what an earlier kubelet recorded and is still the same process; returns what was killed."""
        killed = []
        for record in self._directory.iterdir():
            process = int(record.name)
            if record.read_text() and start_time(process) == record.read_text():
                kill_session(process)
                killed.append(process)
            record.unlink()
        return killed


def usage(leaders: set[int]) -> dict[int, tuple[float, int]]:
    """Measure containers: process group → (CPU seconds so far, resident bytes), summed over the group's processes."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    totals = dict.fromkeys(leaders, (0.0, 0))
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        leader = int(fields[2])
        if leader in totals:
            seconds, resident = totals[leader]
            totals[leader] = (seconds + sum(map(int, fields[11:15])) / tick, resident + int(fields[21]) * page)
    return totals
