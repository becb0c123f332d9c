"""A root file system of a process's own: mounts at their own paths, and a machine that notices nothing."""

import asyncio
import os
from pathlib import Path

import pytest

from local.kubernetes.kubelet.process import own_root
from local.kubernetes.kubelet.process.image import Image
from local.kubernetes.kubelet.process.process_spec import ProcessSpec, Surroundings, decide
from local.kubernetes.kubelet.process.spawn import make_scratch, start_process
from local.kubernetes.kubelet.storage.volumes import Mount

needs_own_root = pytest.mark.skipif(own_root.problem() is not None, reason=f"{own_root.problem()}")
HOME = "/scaleout-test/backend"
IMAGE = Image(("sh",), (), {"PATH": os.environ["PATH"], "DATA": f"{HOME}/data"}, (f"{HOME}/own",), HOME, own_root=True)


def spec(scratch: Path, *mounts: Mount, **container: object) -> ProcessSpec:
    around = Surroundings("ollama", "pod-1", "127.64.0.9", scratch, {}, ("127.0.0.1", 6443))
    made = decide(dict(container), IMAGE, {"MODEL": f"{HOME}/data/model"}, mounts, around)
    make_scratch(made)
    return made


def ran(made: ProcessSpec, script: str) -> str:
    async def run() -> str:
        process = await start_process(made, ("sh", "-c", script), stdin=False)
        output, errors = await process.communicate()
        return (output + errors).decode()

    return asyncio.run(run())


def test_no_path_is_rewritten_where_a_container_has_its_own_root(tmp_path: Path) -> None:
    made = spec(tmp_path / "scratch", Mount(f"{HOME}/data", tmp_path, read_only=False), args=[f"{HOME}/data/x"])
    assert made.command == ("sh", f"{HOME}/data/x")
    assert made.environment["MODEL"] == f"{HOME}/data/model"
    assert made.environment["DATA"] == f"{HOME}/data"
    assert made.own_root is not None
    assert made.own_root.directory == HOME
    assert made.rewrite_command(["cat", f"{HOME}/data/x"], {}) == ("cat", f"{HOME}/data/x")


@needs_own_root
def test_a_mount_lies_at_its_own_path_and_nowhere_on_the_machine(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "upload").write_text("kept")
    made = spec(tmp_path / "scratch", Mount(f"{HOME}/data", volume, read_only=False))
    said = ran(
        made, f"pwd; cat {HOME}/data/upload; echo new > {HOME}/data/new; echo ours > {HOME}/own/file; pwd > here"
    )
    assert said == f"{HOME}\nkept"
    assert (volume / "new").read_text() == "new\n"
    assert (tmp_path / "scratch" / HOME[1:] / "own" / "file").read_text() == "ours\n"
    assert not Path("/scaleout-test").exists()
    assert ran(made, "cat here own/file") == f"{HOME}\nours\n", "the container's own files outlive one process"


@needs_own_root
def test_a_read_only_mount_of_a_claim_that_is_also_written_stays_read_only(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").touch()
    mounts = [Mount("/scaleout-test/in", volume, read_only=True), Mount("/scaleout-test/out", volume, read_only=False)]
    made = spec(tmp_path / "scratch", *mounts)
    assert "Read-only file system" in ran(made, "touch /scaleout-test/in/new")
    assert "Read-only file system" in ran(made, "rm /scaleout-test/in/file")
    assert ran(made, "touch /scaleout-test/out/other; ls /scaleout-test/in") == "file\nother\n"


@needs_own_root
def test_mounts_nest_and_may_lie_within_the_machines_own_directories(tmp_path: Path) -> None:
    outer, inner, token = tmp_path / "outer", tmp_path / "inner", tmp_path / "token"
    outer.mkdir()
    inner.mkdir()
    (inner / "x").write_text("inner")
    token.write_text("secret")
    secrets = "/var/run/secrets/scaleout-test"
    mounts = [Mount(f"{HOME}/data", outer, read_only=False), Mount(f"{HOME}/data/cache", inner, read_only=False)]
    mounts += [
        Mount(f"{secrets}/token", token, read_only=True),
        Mount("/etc/scaleout-test.conf", token, read_only=True),
    ]
    made = spec(tmp_path / "scratch", *mounts)
    passwd = Path("/etc/passwd").read_text()
    said = ran(made, f"cat {HOME}/data/cache/x {secrets}/token /etc/scaleout-test.conf /etc/passwd")
    assert said == f"innersecretsecret{passwd}"
    assert ran(made, "echo why > /dev/termination-log; echo > /dev/null") == ""
    assert made.termination_log.read_text() == "why\n"
    assert not any(Path(path).exists() for path in (secrets, "/etc/scaleout-test.conf", "/dev/termination-log"))
