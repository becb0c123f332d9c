"""Container logs on disk, in the line format of CRI: `<time> stdout F|P <text>`; F ends a line, P goes on.

They lie in `DIR/logs/<namespace>_<pod>_<uid>/<container>/<run>.log`. They outlive their pod there, for whoever
reads up on a rehearsal afterwards, though no longer through the API.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

_LONGEST_LINE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log is asked for; None is everything."""

    tail_lines: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    follow: bool = False


@dataclass(slots=True)
class ContainerLog:
    """The output of one run of a container, being written or complete."""

    path: Path
    closed: bool = False
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def record(self, stream: asyncio.StreamReader) -> None:
        """Write what the process prints, line by line, until it prints no more."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pending = b""
        with self.path.open("ab", buffering=0) as file:
            while chunk := await stream.read(65536):
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > _LONGEST_LINE:
                    lines, pending = [*lines, pending], b""
                if lines:
                    file.write(b"".join(_entry(line, b"F") for line in lines))
                    self._wake()
            if pending:
                file.write(_entry(pending, b"P"))
        self.close()

    def close(self) -> None:
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    def entries(self, offset: int = 0) -> list[bytes]:
        """Return the log's entries as they lie on disk, from a byte on. They are written whole, so none is cut."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.readlines()

    async def read(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Yield the log as the API serves it; with follow, until the container's run is over."""
        entries = self.entries()
        seen = sum(map(len, entries))
        yield b"".join(_served(_choose(entries, wanted), wanted.timestamps))[: wanted.limit_bytes]
        while wanted.follow:
            grown, closed = self._grown, self.closed
            entries = self.entries(seen)
            seen += sum(map(len, entries))
            if entries:
                yield b"".join(_served(entries, wanted.timestamps))
            if closed:
                return
            await grown.wait()

    def tail(self, lines: int, most_bytes: int) -> str:
        """Return the last lines without their times, for a termination message."""
        text = b"".join(_served(self.entries()[-lines:], timestamps=False))
        return text[-most_bytes:].decode("utf-8", "replace")


def _entry(line: bytes, tag: bytes) -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    return now + b" stdout " + tag + b" " + line.replace(b"\r", b"\\r") + b"\n"


def _choose(entries: list[bytes], wanted: Wanted) -> list[bytes]:
    if wanted.since is not None:
        first = wanted.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        entries = [entry for entry in entries if entry.split(b" ", 1)[0] >= first]
    if wanted.tail_lines is not None:
        entries = entries[-wanted.tail_lines :] if wanted.tail_lines > 0 else []
    return entries


def _served(entries: list[bytes], timestamps: bool) -> Iterator[bytes]:
    for entry in entries:
        time, _, tag, text = entry.rstrip(b"\n").split(b" ", 3)
        yield (time + b" " if timestamps else b"") + text + (b"\n" if tag == b"F" else b"")


def since_seconds(seconds: int) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
