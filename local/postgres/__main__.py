"""`python -m local.postgres`: serve PostgreSQL from a directory until SIGTERM."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from local.postgres.installation import installation
from local.postgres.server import Postgres
from shared.errors import MigrationError


def main(arguments: list[str] | None = None) -> int:
    """Start, print one line `ready {json}`, wait for SIGTERM or Ctrl-C, stop."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.prepare:
        return _prepare()
    if options.dir is None:
        parser.error("--dir is missing")
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    allowed = (
        None if options.azure_extensions is None else [name for name in options.azure_extensions.split(",") if name]
    )
    server = Postgres(
        options.dir,
        port=options.port,
        max_connections=options.max_connections,
        reserved=options.reserved,
        allowed_extensions=allowed,
        host_names=options.host_name,
    )
    try:
        with server:
            print("ready " + json.dumps(_ready(server)), flush=True)
            while not stopping.wait(0.5):
                if server.exit_code is not None:
                    print(
                        f"error: PostgreSQL ended by itself with {server.exit_code}; see {options.dir}/postgres.log",
                        file=sys.stderr,
                    )
                    return 1
    except MigrationError as problem:
        print(f"error: {problem.message} {problem.hint}".strip(), file=sys.stderr)
        return 1
    return 0


def _prepare() -> int:
    try:
        installation()
    except MigrationError as problem:
        print(f"error: {problem.message} {problem.hint}".strip(), file=sys.stderr)
        return 1
    return 0


def _ready(server: Postgres) -> dict[str, object]:
    return {
        "admin_url": server.admin_url(),
        "app_url": server.app_url(),
        "superuser_url": server.superuser_url(),  # for what stands in for Azure itself, which sets parameters
        "port": server.port,
        "ca_file": str(server.certificate_authority),
        "password_file": str(server.password_file),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.postgres", description="Serve PostgreSQL, as Azure's Flexible Server, until SIGTERM."
    )
    parser.add_argument("--dir", type=Path, help="the server's directory; kept for the next start")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--max-connections", type=int, default=50, help="all connections (default: 50, as B1ms)")
    parser.add_argument("--reserved", type=int, default=15, help="connections that users cannot have (default: 15)")
    parser.add_argument(
        "--azure-extensions", metavar="LIST", help="enforce this allow-list, comma-separated (default: none enforced)"
    )
    parser.add_argument(
        "--host-name", action="append", default=[], help="one more name for the server's certificate; may be repeated"
    )
    parser.add_argument("--prepare", action="store_true", help="only unpack PostgreSQL for this machine, and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
