"""Real processes without a cluster: confinement, leftovers of an earlier kubelet, logs on disk."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.kubernetes.kubelet.logs import ContainerLog, Wanted
from local.kubernetes.kubelet.process.launch import landlock_version
from local.kubernetes.kubelet.process.process_spec import ProcessSpec
from local.kubernetes.kubelet.process.processes import Register, start_time, usage
from local.kubernetes.kubelet.process.spawn import StartError, make_scratch, start_process


def spec(scratch: Path, *, writable: tuple[str, ...] = (), keep_out: tuple[str, ...] = ()) -> ProcessSpec:
    scratch.mkdir(parents=True, exist_ok=True)
    made = ProcessSpec(
        command=(),
        environment={"PATH": os.environ["PATH"], "TMPDIR": str(scratch / "tmp")},
        directory=scratch,
        mounts={},
        writable=(str(scratch), *writable, "/dev"),
        keep_out=keep_out,
        namespace="ollama",
        termination_log=scratch / "termination-log",
    )
    make_scratch(made)
    return made


def ran(made: ProcessSpec, *command: str) -> tuple[int | None, str]:
    async def run() -> tuple[int | None, str]:
        process = await start_process(made, command, stdin=False)
        output, errors = await process.communicate()
        return process.returncode, (output + errors).decode()

    return asyncio.run(run())


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
def test_a_read_only_mount_can_be_read_and_not_be_written(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for directory in (source, target):
        directory.mkdir()
    (source / "file").write_text("kept")
    made = spec(tmp_path / "scratch", writable=(str(target),), keep_out=(str(source),))
    script = f"cat {source}/file; cp {source}/file {target}/; echo new > {source}/new; rm {source}/file; mv {source} x"
    _, output = ran(made, "sh", "-c", script)
    assert output.startswith("kept")
    assert output.count("Permission denied") == 3
    assert [path.name for path in source.iterdir()] == ["file"]
    assert (target / "file").read_text() == "kept"


def test_without_read_only_mounts_nothing_is_confined(tmp_path: Path) -> None:
    assert ran(spec(tmp_path / "scratch"), "touch", str(tmp_path / "anywhere")) == (0, "")


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartError, match='exec: "no-such-command": No such file'):
        ran(spec(tmp_path), "no-such-command")
    with pytest.raises(StartError, match="no command"):
        ran(spec(tmp_path))


def test_an_exit_code_is_the_commands_own(tmp_path: Path) -> None:
    assert ran(spec(tmp_path), "sh", "-c", "exit 125") == (125, "")


def test_a_process_dies_with_the_kubelet_that_started_it(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from tests.local_kubelet.test_kubelet_processes import spec
from local.kubernetes.kubelet.process.spawn import start_process
async def main():
    process = await start_process(spec(Path({str(tmp_path)!r})), ("sleep", "60"), stdin=False)
    print(process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    kubelet = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert kubelet.stdout is not None
    child = int(kubelet.stdout.readline())
    assert start_time(child) is not None
    kubelet.kill()
    kubelet.wait()
    for _ in range(100):
        if start_time(child) is None:
            return
        signal.sigtimedwait([], 0.02)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the process outlived its kubelet")


def test_leftovers_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    ours, stranger = (subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2))
    try:
        register = Register(tmp_path)
        register.add(ours.pid)
        (tmp_path / str(stranger.pid)).write_text("another boot 123")  # the number was somebody else's then
        assert Register(tmp_path).end_leftovers() == [ours.pid]
        assert ours.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()


def test_usage_is_summed_over_a_containers_processes() -> None:
    busy = "import time; x = [0] * 4_000_000; t = time.process_time()\nwhile time.process_time() - t < 0.2: pass\n"
    process = subprocess.Popen(
        [sys.executable, "-c", busy + "print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        seconds, resident = usage({process.pid})[process.pid]
        assert seconds >= 0.2
        assert resident > 30 << 20
    finally:
        process.kill()
        process.wait()


def recorded(path: Path, *chunks: bytes) -> ContainerLog:
    async def record() -> ContainerLog:
        log, stream = ContainerLog(path), asyncio.StreamReader()
        for chunk in chunks:
            stream.feed_data(chunk)
        stream.feed_eof()
        await log.record(stream)
        return log

    return asyncio.run(record())


def served(log: ContainerLog, wanted: Wanted) -> bytes:
    async def read() -> bytes:
        return b"".join([part async for part in log.read(wanted)])

    return asyncio.run(read())


def test_a_log_is_served_as_it_was_printed(tmp_path: Path) -> None:
    log = recorded(tmp_path / "0.log", b"one\ntw", b"o\n\n", "drei ünd\n".encode(), b"no end")
    assert served(log, Wanted()) == "one\ntwo\n\ndrei ünd\nno end".encode()
    assert served(log, Wanted(tail_lines=2)) == "drei ünd\nno end".encode()
    assert served(log, Wanted(tail_lines=0)) == b""
    assert served(log, Wanted(limit_bytes=5)) == b"one\nt"
    assert served(log, Wanted(since=datetime.now(UTC) + timedelta(seconds=9))) == b""
    assert served(log, Wanted(since=datetime.now(UTC) - timedelta(seconds=9), tail_lines=1)) == b"no end"
    first = served(log, Wanted(timestamps=True)).splitlines()[0].split(b" ")
    assert datetime.fromisoformat(first[0].decode()) <= datetime.now(UTC)
    assert first[1] == b"one"


def test_following_a_log_ends_with_the_container(tmp_path: Path) -> None:
    async def follow() -> list[bytes]:
        log, stream = ContainerLog(tmp_path / "0.log"), asyncio.StreamReader()
        recording = asyncio.create_task(log.record(stream))
        parts: list[bytes] = []

        async def read() -> None:
            parts.extend([part async for part in log.read(Wanted(follow=True, tail_lines=0)) if part])

        stream.feed_data(b"before\n")
        await asyncio.sleep(0.01)
        reading = asyncio.create_task(read())
        for line in (b"a\n", b"b\n"):
            await asyncio.sleep(0.01)
            stream.feed_data(line)
        stream.feed_eof()
        await asyncio.wait_for(asyncio.gather(reading, recording), 5)
        return parts

    assert asyncio.run(follow()) == [b"a\n", b"b\n"]
